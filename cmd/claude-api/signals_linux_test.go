package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/simulator"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestHangup has a service read its configuration and the file of its credential
// again, and shows that a broken configuration changes nothing.
func TestHangup(t *testing.T) {
	up := newUpstream(t)
	dir := t.TempDir()
	settings, credential := filepath.Join(dir, "config.yaml"), filepath.Join(dir, "key")
	write(t, settings, "model-map: {house: haiku}\n")
	write(t, credential, "sk-first\n")
	s := serve(t, up.url, "off", "--config="+settings, "ANTHROPIC_API_KEY=", "ANTHROPIC_API_KEY_FILE="+credential).ready(t)
	asks := func(model, want string, status int) {
		t.Helper()
		prompt := "asked for " + model + " with " + want
		body := strings.Replace(chat(prompt), `"haiku"`, `"`+model+`"`, 1)
		if a := s.post(t, "/v1/chat/completions", body); a.status != status {
			t.Fatalf("%s: %d %s", model, a.status, a.body)
		}
		for _, r := range up.messages(prompt) {
			if got := r.Header.Get("X-Api-Key"); got != want {
				t.Errorf("the upstream got the credential %q, want %q", got, want)
			}
		}
	}
	asks("house", "sk-first", http.StatusOK)
	asks("garden", "sk-first", http.StatusNotFound)

	write(t, settings, "model-map: {garden: haiku}\nmax-workers: 7\n")
	write(t, credential, "sk-second\n")
	s.signal(t, syscall.SIGHUP)
	s.expect(t, &s.stderr, "msg=\"the configuration is read again\" new_credential=true")
	// The test's own --max-workers wins over the file's: nothing needs a new start.
	if strings.Contains(s.stderr.String(), "new start") {
		t.Errorf("a new start is asked for: %s", s.stderr.String())
	}
	asks("garden", "sk-second", http.StatusOK)
	asks("house", "sk-second", http.StatusNotFound)

	for i, broken := range []string{"model-map: [", "no-such-setting: 1\n", "max-body-bytes: 0\n", "prices: " + settings + "\n"} {
		write(t, settings, broken)
		s.signal(t, syscall.SIGHUP)
		s.expect(t, &s.stderr, fmt.Sprintf("(?s)(the configuration can't be used: the former one stays.*?){%d}", i+1))
		asks("garden", "sk-second", http.StatusOK)
	}
	if strings.Contains(s.stderr.String(), "sk-first") || strings.Contains(s.stderr.String(), "sk-second") {
		t.Error("a credential is in the log")
	}
	s.signal(t, syscall.SIGTERM)
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr.String())
	}
}

// TestHangupRotatesTheWorkersCredential: a worker that is busy finishes with the
// credential that it was started with, and whoever comes afterwards is served by one
// that has the new one.
func TestHangupRotatesTheWorkersCredential(t *testing.T) {
	cli := clitest.Path(t, install.Version)
	up := newUpstream(t)
	credential := filepath.Join(t.TempDir(), "key")
	write(t, credential, "sk-ant-first\n")
	s := serve(t, up.url, cli, "ANTHROPIC_API_KEY=", "ANTHROPIC_API_KEY_FILE="+credential).ready(t)
	with := func(prompt string) string {
		t.Helper()
		for _, r := range up.messages(prompt) {
			return r.Header.Get("X-Api-Key") + r.Header.Get("Authorization")
		}
		t.Fatalf("%q hasn't reached the upstream", prompt)
		return ""
	}
	const long = "a long story [[tokens=40 interval=25ms]]"
	lines, _ := s.open(t, "/v1/chat/completions", chat(long, `"stream":true`), "X-Claude-Backend", "cli")
	until(t, lines, `"content":"`)
	write(t, credential, "sk-ant-second\n")
	s.signal(t, syscall.SIGHUP)
	s.expect(t, &s.stderr, "new_credential=true")
	for _, prompt := range []string{"one of the next", "another of the next", "the last of the next"} {
		if a := s.post(t, "/v1/chat/completions", chat(prompt), "X-Claude-Backend", "cli"); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
		if got := with(prompt); !strings.Contains(got, "sk-ant-second") {
			t.Errorf("%q was asked with %q", prompt, got)
		}
	}
	body, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(body), "data: [DONE]") {
		t.Errorf("the running stream ended with %v: %.300s", err, body)
	}
	if got := with(long); !strings.Contains(got, "sk-ant-first") {
		t.Errorf("the running stream was asked with %q", got)
	}
}

// TestDrain stops a service with a running stream: it says so to whoever comes,
// also on a connection that was kept, until the stream has ended.
func TestDrain(t *testing.T) {
	up := newUpstream(t)
	s := serve(t, up.url, "off", "--shutdown-timeout=20").ready(t)
	lines, _ := s.open(t, "/v1/chat/completions", chat("a story [[tokens=40 interval=50ms]]", `"stream":true`))
	until(t, lines, `"content":"`)
	up.await(t, "the stream", func(stats simulator.Stats) bool { return stats.InFlight == 1 })
	// The terminal and whatever started the service may tell it both, at once.
	s.signal(t, syscall.SIGTERM)
	s.signal(t, syscall.SIGINT)
	s.expect(t, &s.stderr, "msg=stopping")
	for range 2 { // on the connection that the client has kept, and on a new one
		a := s.post(t, "/v1/chat/completions", chat("too late"))
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("X-Error-Category") != "overloaded" {
			t.Errorf("a new request: %d %v %s", a.status, a.header, a.body)
		}
	}
	if a := s.get(t, "/ready"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "stopping") {
		t.Errorf("/ready: %d %s", a.status, a.body)
	}
	if a := s.get(t, "/health"); a.status != http.StatusOK {
		t.Errorf("/health: %d", a.status)
	}
	if len(up.messages("too late")) > 0 {
		t.Error("a request that was refused reached the upstream")
	}
	body, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(body), "data: [DONE]") {
		t.Errorf("the running stream ended with %v: %.300s", err, body)
	}
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr.String())
	}
}
