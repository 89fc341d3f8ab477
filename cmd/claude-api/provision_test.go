package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Many that provision at once get one key, and only one is made.
func TestProvisionAtOnce(t *testing.T) {
	data, env := t.TempDir(), environment(t)
	var all []*process
	for range 8 {
		all = append(all, start(t, env, "keys", "provision", "--data-dir", data, "web", "-q"))
	}
	keys := map[string]int{}
	for _, p := range all {
		if code := p.exit(t); code != 0 {
			t.Fatalf("exit code %d\n%s", code, p.stderr.String())
		}
		keys[strings.TrimSpace(p.stdout.String())]++
	}
	if len(keys) != 1 {
		t.Errorf("they got %v", keys)
	}
	if list := strings.Fields(command(t, env, "keys", "list", "--data-dir", data, "-o", "csv")); len(list) != 2 {
		t.Errorf("there are %q", list)
	}
}

// The key's file and its folder are the owner's alone, also where they weren't,
// and what a killed process left is no hindrance.
func TestProvisionModes(t *testing.T) {
	data, env := t.TempDir(), environment(t)
	folder := filepath.Join(data, "keys")
	if err := os.Mkdir(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"web.key.new", "other.key.new"} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte("cc_half"), 0o666); err != nil {
			t.Fatal(err)
		}
	}
	modes := func() {
		t.Helper()
		for path, want := range map[string]fs.FileMode{
			folder: 0o700 | fs.ModeDir, filepath.Join(folder, "web.key"): 0o600, filepath.Join(folder, ".lock"): 0o600,
			filepath.Join(data, "claude-api.db"): 0o600,
		} {
			info, err := os.Stat(path)
			if err != nil || info.Mode() != want {
				t.Errorf("%s has the mode %v, %v; want %v", path, info.Mode(), err, want)
			}
		}
	}
	key := command(t, env, "keys", "provision", "--data-dir", data, "web", "-q")
	modes()
	if err := os.Chmod(filepath.Join(folder, "web.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if again := command(t, env, "keys", "provision", "--data-dir", data, "web", "-q"); again != key {
		t.Errorf("the second time it is %s, not %s", again, key)
	}
	modes()
	if _, err := os.Stat(filepath.Join(folder, "web.key.new")); !os.IsNotExist(err) {
		t.Errorf("the unfinished file is left: %v", err)
	}
}
