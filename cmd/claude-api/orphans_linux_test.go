package main

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// TestOrphansOfAFormerRun kills a service whose workers have started programs of
// their own, in their group and out of it. The kernel ends the workers; the next
// start ends the rest, and a service that is stopped leaves nothing either.
func TestOrphansOfAFormerRun(t *testing.T) {
	// A CLI that starts two programs and then is the real one.
	cli := filepath.Join(t.TempDir(), "claude")
	script := "#!/bin/sh\nsleep 600 </dev/null >/dev/null 2>&1 &\nsetsid sleep 600 </dev/null >/dev/null 2>&1 &\nexec '" + clitest.Path(t, install.Version) + "' \"$@\"\n"
	if err := os.WriteFile(cli, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	up := newUpstream(t)
	killed := serve(t, up.url, cli, "--confine=off").ready(t)
	for range 2 {
		lines, _ := killed.open(t, "/v1/chat/completions", chat("a long story [[tokens=5000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli")
		until(t, lines, `"content":"`)
	}
	workers, mark := killed.workers(t)
	if len(workers) < 2 || mark == "" {
		t.Fatalf("the service has the workers %v with the mark %q", workers, mark)
	}
	killed.signal(t, syscall.SIGKILL)
	killed.exit(t)
	eventually(t, patience, "only what the workers started is left", func() bool {
		for _, pid := range marked(t, mark) {
			name, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "cmdline"))
			if err == nil && !strings.HasPrefix(string(name), "sleep") {
				return false
			}
		}
		return true
	})
	if left := marked(t, mark); len(left) < 4 {
		t.Fatalf("the workers have left %v: this test shows nothing", left)
	}

	next := serve(t, up.url, cli, "--confine=off", "TMPDIR="+killed.variable("TMPDIR"))
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("after the next start there are still %v", left)
	}
	if !strings.Contains(next.stderr.String(), "ended processes that a former run of the service had left") {
		t.Error("the log doesn't say so")
	}
	next.ready(t)
	(&stand{service: next}).idle(t)
	_, mark = next.workers(t)
	if len(marked(t, mark)) < 6 {
		t.Fatalf("the next service's workers have started %v", marked(t, mark))
	}
	next.signal(t, syscall.SIGTERM)
	if code := next.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, next.stderr.String())
	}
	if left := marked(t, mark); len(left) > 0 {
		t.Errorf("a service that was stopped has left %v", left)
	}
}
