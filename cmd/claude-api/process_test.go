package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait of these tests. It is long, because a machine that
// runs other things too makes each step slow, and nothing waits it out.
const patience = 60 * time.Second

// within gives a context that ends with the test or with patience.
func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// output collects what a process prints, for readers that wait for a text.
type output struct {
	mu      sync.Mutex
	text    bytes.Buffer
	changed chan struct{}
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func (o *output) wait() <-chan struct{} {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	return o.changed
}

// process is a running claude-api.
type process struct {
	cmd            *exec.Cmd
	stdout, stderr output
	ended          chan struct{} // closed when it has ended and was waited for
}

// environment is that of every process that these tests start: built from
// nothing, with a HOME of its own.
func environment(t testing.TB, further ...string) []string {
	t.Helper()
	return append([]string{"PATH=/usr/bin:/bin", "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), noRaceSleep}, further...)
}

// noRaceSleep keeps the race detector from sleeping a second at each exit.
const noRaceSleep = "GORACE=atexit_sleep_ms=0"

// start starts claude-api. What is still running at the test's end is killed.
func start(t testing.TB, env []string, args ...string) *process {
	t.Helper()
	return startIn(t, t.TempDir(), env, args...)
}

func startIn(t testing.TB, folder string, env []string, args ...string) *process {
	t.Helper()
	return launch(t, folder, env, own(t), args...)
}

// own is the path of claude-api.
func own(t testing.TB) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// launch starts any program as start does.
func launch(t testing.TB, folder string, env []string, path string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.Dir = folder
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, &p.stderr
	// What a process leaves behind must not hold the test up for ever.
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.cmd.Wait() // the state is kept in cmd
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.ended
		if strings.Contains(p.stderr.String(), "DATA RACE") {
			t.Errorf("the race detector spoke in %v:\n%s", args, p.stderr.String())
		}
		if t.Failed() && testing.Verbose() {
			t.Logf("standard error of %v:\n%s", args, p.stderr.String())
		}
	})
	return p
}

// signal sends a signal.
func (p *process) signal(t testing.TB, s syscall.Signal) {
	t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
}

// exit waits for the end and gives the exit code, -1 after a signal.
func (p *process) exit(t testing.TB) int {
	t.Helper()
	select {
	case <-p.ended:
		return p.cmd.ProcessState.ExitCode()
	case <-within(t).Done():
		t.Fatalf("%v doesn't end\n%s", p.cmd.Args, p.stderr.String())
		return 0
	}
}

// expect waits until a text that fits is printed, and gives the first group.
func (p *process) expect(t testing.TB, o *output, pattern string) string {
	t.Helper()
	fits := regexp.MustCompile(pattern)
	ctx := within(t)
	for {
		changed := o.wait()
		if found := fits.FindStringSubmatch(o.String()); found != nil {
			return found[len(found)-1]
		}
		select {
		case <-changed:
		case <-p.ended:
			if found := fits.FindStringSubmatch(o.String()); found != nil {
				return found[len(found)-1]
			}
			t.Fatalf("%v ended without printing %s\nstdout:\n%s\nstderr:\n%s", p.cmd.Args, pattern, p.stdout.String(), p.stderr.String())
		case <-ctx.Done():
			t.Fatalf("%v doesn't print %s\nstdout:\n%s\nstderr:\n%s", p.cmd.Args, pattern, p.stdout.String(), p.stderr.String())
		}
	}
}

// command runs claude-api to its end, which must be a good one, and gives what
// it printed.
func command(t testing.TB, env []string, args ...string) string {
	t.Helper()
	p := start(t, env, args...)
	if code := p.exit(t); code != 0 {
		t.Fatalf("%v: exit code %d\n%s", args, code, p.stderr.String())
	}
	return strings.TrimSpace(p.stdout.String())
}

// eventually waits until a condition of the outside world holds, of which no
// event tells.
func eventually(t testing.TB, limit time.Duration, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(limit)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", limit, what)
		}
		<-tick.C
	}
}
