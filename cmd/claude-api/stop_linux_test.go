package main

import (
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/simulator"
)

// workers gives the CLI processes of a service, and its mark on them.
func (s *service) workers(t *testing.T) (pids []int, mark string) {
	t.Helper()
	for _, pid := range descendants(t, s.cmd.Process.Pid) {
		for line := range strings.Lines(proc(t, pid, "environ")) {
			if value, ok := strings.CutPrefix(strings.TrimSpace(line), "CLAUDE_API_WORKER="); ok {
				pids, mark = append(pids, pid), value
			}
		}
	}
	return pids, mark
}

// marked gives the processes of the whole machine that bear a mark.
func marked(t *testing.T, mark string) []int {
	t.Helper()
	environments, err := filepath.Glob("/proc/[0-9]*/environ")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, path := range environments {
		data, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(data), "CLAUDE_API_WORKER="+mark+"\x00") {
			continue // it has ended, or isn't ours
		}
		if pid, _, alive := stat(filepath.Join(filepath.Dir(path), "stat")); alive {
			pids = append(pids, pid)
		}
	}
	return pids
}

func alive(pids []int) []int {
	var left []int
	for _, pid := range pids {
		if _, _, ok := stat("/proc/" + strconv.Itoa(pid) + "/stat"); ok {
			left = append(left, pid)
		}
	}
	return left
}

// TestStop ends services that have a busy and an idle worker. However it ends,
// no process of it may be left.
func TestStop(t *testing.T) {
	cli := clitest.Path(t, install.Version)
	const prompt = "a long story [[tokens=40 interval=25ms]]"
	for _, tt := range []struct {
		name string
		stop func(t *testing.T, s *service, rest io.Reader)
	}{
		{"SIGKILL", func(t *testing.T, s *service, _ io.Reader) {
			s.signal(t, syscall.SIGKILL)
			s.exit(t)
		}},
		{"SIGTERM", func(t *testing.T, s *service, rest io.Reader) {
			s.signal(t, syscall.SIGTERM)
			s.expect(t, &s.stderr, "msg=stopping")
			body, err := io.ReadAll(rest)
			if err != nil || !strings.Contains(string(body), "data: [DONE]") {
				t.Errorf("the running stream ended with %v: %.300s", err, body)
			}
			if code := s.exit(t); code != 0 {
				t.Errorf("exit code %d\n%s", code, s.stderr.String())
			}
			if left, err := filepath.Glob(filepath.Join(s.variable("TMPDIR"), "claude-api-run-*")); err != nil || len(left) > 0 {
				t.Errorf("the workers' folders are left: %v, %v", left, err)
			}
		}},
		{"SIGTERM and no time", func(t *testing.T, s *service, rest io.Reader) {
			s.signal(t, syscall.SIGTERM)
			body, err := io.ReadAll(rest)
			if strings.Contains(string(body), "data: [DONE]") || err == nil && !strings.Contains(string(body), `"error":`) {
				t.Errorf("a stream that was cut looks whole: %v, %s", err, body)
			}
			if code := s.exit(t); code != 1 {
				t.Errorf("exit code %d\n%s", code, s.stderr.String())
			}
		}},
		{"two SIGTERM", func(t *testing.T, s *service, _ io.Reader) {
			s.signal(t, syscall.SIGTERM)
			s.expect(t, &s.stderr, "msg=stopping")
			<-time.After(150 * time.Millisecond) // sooner it would be the same wish
			s.signal(t, syscall.SIGTERM)
			began := time.Now()
			if code := s.exit(t); code != 1 || !strings.Contains(s.stderr.String(), "ended at once by a second signal") {
				t.Errorf("exit code %d\n%s", code, s.stderr.String())
			}
			if took := time.Since(began); took > 500*time.Millisecond {
				t.Errorf("ended %v after the second signal", took)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			up := newUpstream(t)
			further := []string{"--max-workers=2"}
			if tt.name == "SIGTERM and no time" {
				further = append(further, "--shutdown-timeout=0.2")
			}
			s := serve(t, up.url, cli, further...).ready(t)
			(&stand{service: s}).idle(t)
			lines, _ := s.open(t, "/v1/chat/completions", chat(prompt, `"stream":true`), "X-Claude-Backend", "cli")
			until(t, lines, `"content":"`)
			up.await(t, "the stream", func(stats simulator.Stats) bool { return stats.InFlight == 1 })
			pids, mark := s.workers(t)
			all := descendants(t, s.cmd.Process.Pid)
			if len(pids) != 2 || mark == "" {
				t.Fatalf("the service has the workers %v with the mark %q", pids, mark)
			}
			tt.stop(t, s, lines)
			eventually(t, 2*time.Second, "no process of the service is alive", func() bool {
				return len(alive(all)) == 0 && len(marked(t, mark)) == 0
			})
		})
	}
}
