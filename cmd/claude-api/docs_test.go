package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeysPage runs every command of docs/keys.md, in the order of the page, in
// one shell that ends at the first failure.
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
	sh := exec.CommandContext(within(t), "/bin/sh", "-euxc", script.String())
	sh.Env = append([]string{"PATH=" + filepath.Dir(path) + ":/usr/bin:/bin"}, environment(t)[1:]...)
	sh.Dir = t.TempDir()
	if out, err := sh.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
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
