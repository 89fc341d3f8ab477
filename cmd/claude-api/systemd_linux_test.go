package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// freePort gives a port of 127.0.0.1 that nobody listens on now.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// activate has systemd's own program listen on the addresses, as systemd does, and
// start the service when the first caller comes.
func activate(t *testing.T, env, options, serve []string) *process {
	t.Helper()
	args := options
	for _, pair := range env {
		args = append(args, "--setenv="+pair)
	}
	args = append(append(args, own(t)), serve...)
	return launch(t, t.TempDir(), env, tool(t, "systemd-socket-activate"), args...)
}

// TestSocketActivation: whoever calls before the service runs is answered by it, on
// both sockets, with TLS on the one that is an address; --listen isn't looked at.
func TestSocketActivation(t *testing.T) {
	certFile, keyFile, secure := selfSigned(t)
	up := newUpstream(t)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address, path := freePort(t), filepath.Join(t.TempDir(), "s")
	env := append(environment(t), "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+up.url)
	p := activate(t, env, []string{"--listen=" + address, "--listen=" + path, "--fdname=edge:local"}, []string{
		"serve", "--claude-path=off", "--data-dir=" + t.TempDir(), "--listen=" + taken.Addr().String(), "--tls-cert=" + certFile, "--tls-key=" + keyFile,
	})
	p.expect(t, &p.stderr, `Listening on `+regexp.QuoteMeta(path))
	local := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", path)
	}}}
	defer local.CloseIdleConnections()
	for _, tt := range []struct {
		url    string
		client *http.Client
	}{
		{"https://" + address, secure},
		{"http://service", local},
	} {
		r, err := http.NewRequestWithContext(within(t), http.MethodGet, tt.url+"/ready", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := tt.client.Do(r)
		if err != nil {
			t.Fatalf("%s: %v\n%s", tt.url, err, p.stderr.String())
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK || (response.TLS != nil) != strings.HasPrefix(tt.url, "https:") {
			t.Errorf("%s: %d, TLS %v", tt.url, response.StatusCode, response.TLS != nil)
		}
	}
	if got := p.expect(t, &p.stderr, `msg=serving url=(\S+)`); got != "https://"+address+",unix:"+path {
		t.Errorf("it serves at %s", got)
	}
	p.signal(t, syscall.SIGTERM)
	if code := p.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
	// systemd listens on it further, for whoever comes until the next start.
	if info, err := os.Lstat(path); err != nil || info.Mode().Type() != os.ModeSocket {
		t.Errorf("the socket has gone: %v", err)
	}
}

// What doesn't listen is named.
func TestSocketActivationRefuses(t *testing.T) {
	address := freePort(t)
	p := activate(t, append(environment(t), "ANTHROPIC_API_KEY="+plantedKey), []string{"--datagram", "--listen=" + address, "--fdname=edge"},
		[]string{"serve", "--claude-path=off", "--data-dir=" + t.TempDir()})
	p.expect(t, &p.stderr, `Listening on `)
	c, err := net.Dial("udp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.String(), "the socket edge that was handed over: it doesn't listen") {
		t.Errorf("exit code %d\n%s", code, p.stderr.String())
	}
}

// manager is what a service manager hears on its NOTIFY_SOCKET.
type manager struct {
	conn *net.UnixConn
	path string
}

func newManager(t *testing.T) *manager {
	t.Helper()
	m := &manager{path: filepath.Join(t.TempDir(), "notify")}
	var err error
	if m.conn, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: m.path, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.conn.Close() })
	return m
}

// hear gives the next message that is one of what is waited for, and what came before.
func (m *manager) hear(t *testing.T, pattern string) (message string, before []string) {
	t.Helper()
	fits := regexp.MustCompile(pattern)
	if err := m.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	for {
		var b [4096]byte
		n, err := m.conn.Read(b[:])
		if err != nil {
			t.Fatalf("no %s after %q: %v", pattern, before, err)
		}
		if message = string(b[:n]); fits.MatchString(message) {
			return message, before
		}
		before = append(before, message)
	}
}

// uptime is the machine's monotonic clock in microseconds, from /proc.
func uptime(t *testing.T) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		t.Fatal(err)
	}
	seconds, err := strconv.ParseFloat(string(bytes.Fields(text)[0]), 64)
	if err != nil {
		t.Fatal(err)
	}
	return int64(seconds * 1e6)
}

// TestNotifications follows a service on the real CLI as systemd does.
func TestNotifications(t *testing.T) {
	cli := clitest.Path(t, install.Version)
	m := newManager(t)
	up := newUpstream(t)
	s := serve(t, up.url, cli, "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=200000")
	first, before := m.hear(t, "^READY=1\n")
	if !strings.Contains(first, "STATUS=serving at "+s.url+"; not ready: ") || len(before) > 0 {
		t.Errorf("it begins with %q, %q", before, first)
	}
	m.hear(t, "^WATCHDOG=1$") // also while /ready says no
	m.hear(t, "^STATUS=serving at "+regexp.QuoteMeta(s.url)+"; ready$")
	if a := s.get(t, "/ready"); a.status != http.StatusOK {
		t.Errorf("/ready says %d %s", a.status, a.body)
	}
	testManagersAreUnknown(t, s.cmd.Process.Pid)

	began := time.Now()
	const signs = 6
	for range signs {
		m.hear(t, "^WATCHDOG=1$")
	}
	if took := time.Since(began); took < (signs-2)*100*time.Millisecond {
		t.Errorf("%d signs of life in %v: it is asked for one each 200 ms", signs, took)
	}

	earliest := uptime(t)
	s.signal(t, syscall.SIGHUP)
	reloading, _ := m.hear(t, "^RELOADING=1\n")
	found := regexp.MustCompile(`^RELOADING=1\nMONOTONIC_USEC=(\d+)\nSTATUS=.+$`).FindStringSubmatch(reloading)
	if found == nil {
		t.Fatalf("a reload is told as %q", reloading)
	}
	// /proc/uptime counts sleep too and is rounded to 10 ms.
	if at, err := strconv.ParseInt(found[1], 10, 64); err != nil || at > uptime(t)+10_000 || earliest-at > 10_000 && earliest-at < 1_000_000_000 {
		t.Errorf("MONOTONIC_USEC=%s between %d and %d", found[1], earliest, uptime(t))
	}
	m.hear(t, "^READY=1\n")

	// A stop that takes its time goes on giving signs of life.
	lines, leave := s.open(t, "/v1/chat/completions", chat("a story [[tokens=1000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "direct")
	defer leave()
	until(t, lines, `"content":"`)
	s.signal(t, syscall.SIGTERM)
	m.hear(t, "^STOPPING=1\nSTATUS=stopping")
	_, before = m.hear(t, "^WATCHDOG=1$")
	if len(before) > 0 {
		t.Errorf("after STOPPING=1 it says %q", before)
	}
	leave()
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr.String())
	}
}

// A watchdog of another process, and a manager that has gone, are no business of the
// service's.
func TestNotificationsThatNobodyHears(t *testing.T) {
	m := newManager(t)
	up := newUpstream(t)
	s := serve(t, up.url, "off", "NOTIFY_SOCKET="+m.path, "WATCHDOG_USEC=20000", fmt.Sprintf("WATCHDOG_PID=%d", os.Getpid())).ready(t)
	m.hear(t, "^READY=1\n")
	s.signal(t, syscall.SIGHUP)
	if _, before := m.hear(t, "^RELOADING=1\n"); strings.Contains(strings.Join(before, " "), "WATCHDOG") {
		t.Errorf("another's watchdog is told %q", before)
	}
	if err := os.Remove(m.path); err != nil {
		t.Fatal(err)
	}
	s.signal(t, syscall.SIGHUP)
	s.expect(t, &s.stderr, "nobody listens at NOTIFY_SOCKET")
	s.signal(t, syscall.SIGTERM)
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d\n%s", code, s.stderr.String())
	}
}

// testManagersAreUnknown holds what a process has started to knowing nothing of the service
// manager: a worker could speak to it in the service's name.
func testManagersAreUnknown(t *testing.T, pid int) {
	t.Helper()
	workers := descendants(t, pid)
	if len(workers) == 0 {
		t.Error("it has started nothing")
	}
	for _, worker := range workers {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", worker))
		if err != nil {
			continue // it has ended
		}
		for pair := range strings.SplitSeq(string(text), "\x00") {
			switch name, _, _ := strings.Cut(pair, "="); name {
			case "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES":
				t.Errorf("process %d has %s", worker, name)
			}
		}
	}
}
