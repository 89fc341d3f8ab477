package clipool_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/clipool"
)

func TestDeadBinaryIsRefusedAtOnce(t *testing.T) {
	for _, test := range []struct{ name, path, script, reason string }{
		{"missing", "/nonexistent/claude", "", "can't be started"},
		{"dies at start", "", "die", "ended unexpectedly"},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := newPool(t, func(o *clipool.Options) {
				if test.path != "" {
					o.Process.Path = test.path
				}
			}, test.script)
			started := time.Now()
			_, err := ask(t, p, "a", "", "x")
			e := apierror.From(err)
			if e == nil || e.Category != apierror.Overloaded || !strings.Contains(e.Message, test.reason) || strings.Contains(e.Message, "/nonexistent") {
				t.Errorf("err = %v", err)
			}
			if took := time.Since(started); took > 5*time.Second {
				t.Errorf("it took %v", took)
			}
			waitFor(t, p, func(s clipool.Status) bool { return strings.Contains(s.Reason, test.reason) })
		})
	}
}

func TestFailedProbe(t *testing.T) {
	p := clipool.New(clipool.Options{})
	t.Cleanup(p.Close)
	waiting := make(chan error, 1)
	go func() { _, err := ask(t, p, "a", "", "x"); waiting <- err }()
	waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
	p.Fail(apierror.New(apierror.CLIError, "no mode works"))
	if err := <-waiting; err == nil || !strings.Contains(err.Error(), "no mode works") {
		t.Errorf("err = %v", err)
	}
}

func TestIdleDeathIsNoticed(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	pid := mustAsk(t, p, "a", "", "x")
	var n int
	if _, err := fmt.Sscan(pid, &n); err != nil {
		t.Fatal(err)
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 1 })
	process, err := os.FindProcess(n)
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Kill(); err != nil {
		t.Fatal(err)
	}
	if second := mustAsk(t, p, "a", "", "y"); second == pid {
		t.Errorf("the dead worker %s answered", pid)
	}
}

// newBreakablePool makes a pool whose binary can be taken away.
func newBreakablePool(t *testing.T, change func(*clipool.Options)) (p *clipool.Pool, takeAway func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "claude")
	if err := os.Symlink(self, link); err != nil {
		t.Fatal(err)
	}
	p = newPool(t, func(o *clipool.Options) {
		o.Process.Path = link
		change(o)
	})
	return p, func() {
		if err := os.Remove(link); err != nil {
			t.Fatal(err)
		}
	}
}

func TestWorkersAreKeptWhileNoneCanBeStarted(t *testing.T) {
	p, takeAway := newBreakablePool(t, func(o *clipool.Options) { o.Workers = 2 })
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	release := blocked(t, p) // of project a
	mustAsk(t, p, "a", "", "a second worker for a")
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 1 })
	takeAway()
	// One worker is given up for b before it is known that none can be started.
	for range 2 {
		if _, err := ask(t, p, "b", "", "x"); apierror.From(err) == nil || apierror.From(err).Category != apierror.Overloaded {
			t.Errorf("b got %v", err)
		}
	}
	release()
	mustAsk(t, p, "a", "", "the blocked worker is still there")
}

func TestThePoolDoesNotShrinkWhileNoneCanBeStarted(t *testing.T) {
	p, takeAway := newBreakablePool(t, func(o *clipool.Options) {
		o.Workers, o.SpareAfter, o.InspectEvery, o.MaxAge = 3, time.Hour, 5*time.Millisecond, 300*time.Millisecond
	})
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 3 })
	takeAway()
	// One ages and can't be replaced; the others, as old, are kept.
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	for range 100 {
		mustAsk(t, p, "a", "", "x")
	}
}

func TestCloseEndsWhatRuns(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	running := make(chan struct{})
	ended := make(chan error, 1)
	var once sync.Once
	out := &collector{onEvent: func() error { once.Do(func() { close(running) }); return nil }}
	call := newCall(t, "a", `{"model":"haiku","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"[[hang]]"}]}`)
	go func() { _, err := p.Generate(t.Context(), call, out); ended <- err }()
	<-running
	p.Close()
	if e := apierror.From(<-ended); e == nil || e.Category != apierror.CLIError {
		t.Errorf("err = %v", e)
	}
	if _, err := ask(t, p, "a", "", "x"); apierror.From(err) == nil || apierror.From(err).Category != apierror.Overloaded {
		t.Errorf("after Close: %v", err)
	}
}
