package capability_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/capability"
)

// TestChangesAreSeen changes a HOME and a project step by step; each step is seen
// without anybody asking for a reading.
func TestChangesAreSeen(t *testing.T) {
	home, project := t.TempDir(), t.TempDir()
	read := make(chan struct{}, 1)
	log := &record{}
	c := capability.New(capability.Heard(capability.Options{Home: home, Log: slog.New(slog.NewTextHandler(log, nil))}, func() {
		select {
		case read <- struct{}{}:
		default:
		}
	}))
	defer c.Close()
	c.Agents(project)
	await := func(step, directory, want string) {
		t.Helper()
		deadline := time.After(20 * time.Second)
		for {
			got := strings.Join(slices.Concat(agentNames(c.Agents(directory)), skillNames(c.Skills(directory))), " ")
			if got == want {
				return
			}
			select {
			case <-read:
			case <-deadline:
				t.Fatalf("%s: %q, want %q; %s", step, got, want, log)
			}
		}
	}
	remove := func(path string) {
		t.Helper()
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
	}
	first := agents(t, home, "a.md", "---\nname: a\ndescription: A.\n---\n")
	await("all folders appear", "", "a")
	agents(t, home, "deep/er/b.md", "---\nname: b\ndescription: B.\n---\n")
	await("folders appear in one that is watched", "", "a b")
	write(t, first, "---\nname: renamed\ndescription: A.\n---\n")
	await("a file changes", "", "b renamed")
	write(t, first, "---\nbroken")
	await("a file breaks", "", "b")
	path := skill(t, home, "s", "---\nname: s\ndescription: S.\n---\n")
	await("a skill appears", "", "b s")
	remove(path)
	await("a skill leaves", "", "b")
	skill(t, project, "p", "---\nname: p\ndescription: P.\n---\n")
	await("a project's folders appear", project, "b p")
	remove(filepath.Join(home, ".claude"))
	await("everything leaves", project, "p")
	agents(t, home, "again.md", "---\nname: again\ndescription: A.\n---\n")
	await("everything comes back", project, "again p")
}

// TestReadAgain has a system that watches nothing: all is read at intervals.
func TestReadAgain(t *testing.T) {
	home := t.TempDir()
	path := agents(t, home, "a.md", "---\nname: a\ndescription: A.\n---\n")
	read := make(chan struct{}, 1)
	c := capability.New(capability.Heard(capability.Blind(capability.Options{Home: home, Rescan: 10 * time.Millisecond}), func() {
		select {
		case read <- struct{}{}:
		default:
		}
	}))
	defer c.Close()
	write(t, path, "---\nname: b\ndescription: B.\n---\n")
	deadline := time.After(20 * time.Second)
	for !slices.Equal(agentNames(c.Agents("")), []string{"b"}) {
		select {
		case <-read:
		case <-deadline:
			t.Fatal(agentNames(c.Agents("")))
		}
	}
}
