package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// TestRelativePaths names the data folder and the CLI as seen from the working
// folder, which isn't the one that the CLI's processes have.
func TestRelativePaths(t *testing.T) {
	cli := clitest.Path(t, install.Version)
	folder := t.TempDir()
	if err := os.Symlink(cli, filepath.Join(folder, "claude")); err != nil {
		t.Fatal(err)
	}
	up := newUpstream(t)
	env := environment(t, "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+up.url)
	p := startIn(t, folder, env, "serve", "--listen=127.0.0.1:0", "--data-dir=data", "--claude-path=./claude", "--max-workers=1")
	s := connect(t, p)
	s.data, s.env = filepath.Join(folder, "data"), environment(t)
	s.key = s.createKey(t)
	s.ready(t)
	if a := s.post(t, "/v1/chat/completions", chat("hello"), "X-Claude-Backend", "cli"); a.status != 200 || !strings.Contains(a.body, "Echo: hello") {
		t.Errorf("%d %s", a.status, a.body)
	}
}
