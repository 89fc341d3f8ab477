package app

import (
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/config"
)

// TestProbeCLI probes the real CLI, and leaves nothing behind.
func TestProbeCLI(t *testing.T) {
	path := clitest.Path(t, install.Version)
	t.Setenv("TMPDIR", t.TempDir())
	mode, fresh, err := ProbeCLI(t.Context(), &config.Config{SDKTimeout: config.Seconds(1e9)}, path)
	if err != nil || fresh || !strings.Contains(mode, install.Version) {
		t.Errorf("%q, %t, %v", mode, fresh, err)
	}
	if left, err := os.ReadDir(os.TempDir()); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, _, err := ProbeCLI(t.Context(), &config.Config{SDKTimeout: config.Seconds(1e9)}, "/nowhere/claude"); err == nil {
		t.Error("a CLI that isn't there was probed")
	}
}

// TestLeftRuns finds a run that was killed and what it has left, and not one that goes
// on.
func TestLeftRuns(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	run, err := newRunFolder(os.TempDir(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if left, err := LeftRuns(); err != nil || len(left) > 0 {
		t.Errorf("while it runs: %+v, %v", left, err)
	}
	process := exec.Command("/bin/sleep", "600")
	process.Env = []string{"CLAUDE_API_WORKER=" + run.marker}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = process.Process.Kill()
		_ = process.Wait()
	}()
	if err := run.lock.Close(); err != nil { // as its end does
		t.Fatal(err)
	}
	left, err := LeftRuns()
	if err != nil || len(left) != 1 || left[0].Folder != run.path {
		t.Fatalf("%+v, %v", left, err)
	}
	// Elsewhere another process's environment can't be read.
	if _, err := os.Stat("/proc/self/environ"); err == nil && !slices.Equal(left[0].Processes, []int{process.Process.Pid}) {
		t.Errorf("processes %v, want %d", left[0].Processes, process.Process.Pid)
	}
	if _, err := os.Stat(filepath.Join(run.path, lockName)); err != nil {
		t.Error("the look has removed it")
	}
	if process.ProcessState != nil || len(claudecli.Marked(run.marker)) != len(left[0].Processes) {
		t.Error("the look has ended it")
	}
}

func TestCheckSettings(t *testing.T) {
	good := config.Config{LogLevel: "info"}
	if err := CheckSettings(&good); err != nil {
		t.Error(err)
	}
	for want, change := range map[string]func(c *config.Config){
		"--log-level":   func(c *config.Config) { c.LogLevel = "loud" },
		"--prices":      func(c *config.Config) { c.Prices = "/nowhere" },
		"--model-map":   func(c *config.Config) { c.ModelMap = map[string]string{"x": "nobody"} },
		"--fallback":    func(c *config.Config) { c.Fallback = []string{"cli:nowhere"} },
		"--webhook-url": func(c *config.Config) { c.WebhookURL = "https://hook.example" },
	} {
		c := good
		change(&c)
		if err := CheckSettings(&c); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}
