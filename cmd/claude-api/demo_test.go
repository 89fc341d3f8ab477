package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// checkTable looks for the stages of a request and for values beside them.
func checkTable(t *testing.T, out string, columns ...string) {
	t.Helper()
	head := ""
	for line := range strings.Lines(out) {
		if strings.Contains(line, "direct API") {
			head = line
		}
	}
	for _, column := range columns {
		if !strings.Contains(head, column) {
			t.Errorf("no column %q in %q", column, head)
		}
	}
	for _, stage := range stageNames {
		if !strings.Contains(out, "\n  "+stage+" ") {
			t.Errorf("no row %s in\n%s", stage, out)
		}
	}
	if !strings.Contains(out, "\n  as the client sees it ") {
		t.Errorf("no row of the client in\n%s", out)
	}
	if !strings.Contains(out, "curl -sN http://127.0.0.1:") || !strings.Contains(out, "Authorization: Bearer cc_") {
		t.Errorf("no curl in\n%s", out)
	}
	if !regexp.MustCompile(`See it at http://127\.0\.0\.1:\d+/dashboard, signed in with cc_[0-9a-f]{40}\n`).MatchString(out) {
		t.Errorf("no dashboard in\n%s", out)
	}
}

// TestDemo runs the demo with the CLI from the cache folder, as on a machine that
// has none of its own.
func TestDemo(t *testing.T) {
	clitest.Path(t, install.Version)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	env := environment(t, "XDG_CACHE_HOME="+cache)
	temporary := t.TempDir()
	env = append(env, "TMPDIR="+temporary)
	p := start(t, env, "demo", "--once", "--listen=127.0.0.1:0", "--requests=5", "--cold=2")
	if code := p.exit(t); code != 0 {
		t.Fatalf("exit code %d\n%s", code, p.stderr.String())
	}
	out := p.stdout.String()
	checkTable(t, out, "new process", "warm CLI", "direct API")
	if !strings.Contains(out, "times faster than a new process") {
		t.Errorf("no comparison in\n%s", out)
	}
	if left, err := filepath.Glob(filepath.Join(temporary, "claude-api-*")); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind", left)
	}
	t.Log(out)
}

// TestDemoDoesTasks, with the key that it shows.
func TestDemoDoesTasks(t *testing.T) {
	clitest.Path(t, install.Version)
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	temporary := t.TempDir()
	env := append(environment(t, "XDG_CACHE_HOME="+cache), "TMPDIR="+temporary)
	p := start(t, env, "demo", "--listen=127.0.0.1:0", "--requests=1", "--cold=1")
	p.expect(t, &p.stdout, "Ctrl-C ends it")
	s := &service{
		process: p, key: p.expect(t, &p.stdout, `Bearer (cc_[0-9a-f]{40})`), url: p.expect(t, &p.stdout, `curl -sN (http://[^/]+)/`),
		client: &http.Client{Transport: &http.Transport{}},
	}
	t.Cleanup(s.client.CloseIdleConnections)
	if a := s.post(t, "/v1/task", `{"description":"Say hello"}`); a.status != http.StatusOK || !strings.Contains(a.body, `"status":"completed"`) {
		t.Errorf("a task: %d %s", a.status, a.body)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
	if left, err := filepath.Glob(filepath.Join(temporary, "claude-api-*")); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind", left)
	}
}

// TestDemoWithoutCLI leaves the service up, whose curl then works, until it is
// stopped.
func TestDemoWithoutCLI(t *testing.T) {
	temporary := t.TempDir()
	p := start(t, append(environment(t), "TMPDIR="+temporary), "demo", "--listen=127.0.0.1:0", "--claude-path=off", "--requests=5")
	p.expect(t, &p.stdout, "Ctrl-C ends it")
	out := p.stdout.String()
	checkTable(t, out, "direct API")
	if strings.Contains(out, "warm CLI") || strings.Contains(out, "new process") {
		t.Errorf("without a CLI the table shows one:\n%s", out)
	}
	begin := strings.Index(out, "curl -sN")
	words := out[begin:strings.Index(out, "\n\nCtrl-C")]
	if curl, err := exec.LookPath("curl"); err == nil {
		cmd := exec.CommandContext(within(t), "/bin/sh", "-c", words)
		cmd.Env = []string{"PATH=" + filepath.Dir(curl)}
		answer, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(answer), "data: [DONE]") {
			t.Errorf("the curl answers %v: %s", err, answer)
		}
	} else {
		key := p.expect(t, &p.stdout, `Bearer (cc_[0-9a-f]{40})`)
		s := &service{process: p, key: key, url: p.expect(t, &p.stdout, `curl -sN (http://[^/]+)/`), client: &http.Client{Transport: &http.Transport{}}}
		t.Cleanup(s.client.CloseIdleConnections)
		if a := s.post(t, "/v1/chat/completions", chat("Hello!")); a.status != http.StatusOK {
			t.Errorf("the printed key and address: %d %s", a.status, a.body)
		}
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
	if left, err := filepath.Glob(filepath.Join(temporary, "claude-api-*")); err != nil || len(left) > 0 {
		t.Errorf("the demo left %v behind", left)
	}
}

// TestSimulatorCommand serves the imitated API until it is stopped.
func TestSimulatorCommand(t *testing.T) {
	p := start(t, environment(t), "simulator", "--listen=127.0.0.1:0")
	s := &service{process: p, url: p.expect(t, &p.stdout, `listens on (http://127\.0\.0\.1:\d+)`), client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(s.client.CloseIdleConnections)
	a := s.post(t, "/v1/messages", strings.Replace(messagesBody("hello"), "haiku", "claude-haiku-5-5", 1),
		"Anthropic-Version", "2023-06-01", "X-Api-Key", "any")
	if a.status != http.StatusOK || !strings.Contains(a.body, "Echo: hello") {
		t.Errorf("%d %s", a.status, a.body)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}
