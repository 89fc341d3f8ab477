package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/postgres/pgtest"
)

// TestKeysPage runs every command of docs/keys.md on both databases, in the order
// of the page, in one shell that ends at the first failure.
func TestKeysPage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "keys.md"))
	if err != nil {
		t.Fatal(err)
	}
	var script strings.Builder
	blocks := strings.Split(string(page), "```sh\n")[1:]
	for _, block := range blocks {
		commands, _, closed := strings.Cut(block, "```")
		if !closed {
			t.Fatalf("a block has no end: %s", block)
		}
		script.WriteString(commands)
	}
	if len(blocks) < 8 {
		t.Fatalf("%d blocks were found", len(blocks))
	}
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	run := func(t *testing.T, variables ...string) {
		t.Helper()
		sh := exec.CommandContext(t.Context(), "/bin/sh", "-euxc", script.String())
		sh.Env = append(environment(t, variables...), "PATH="+filepath.Dir(path)+":/usr/bin:/bin")
		sh.Dir = t.TempDir()
		if out, err := sh.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	t.Run("SQLite", func(t *testing.T) { run(t) })
	t.Run("PostgreSQL", func(t *testing.T) { run(t, "CLAUDE_API_DATABASE_URL="+pgtest.Database(t)) })
}

func TestExitCodes(t *testing.T) {
	env := environment(t)
	for _, tt := range []struct {
		args string
		want int
	}{
		{"keys list", 0},
		{"keys test key_0000000000000000", 1},
		{"keys list --sing", 80},
		{"budgets set --project-id shop --period day --usd much", 80},
	} {
		if got := start(t, env, strings.Fields(tt.args)...).exit(t); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.args, got, tt.want)
		}
	}
}
