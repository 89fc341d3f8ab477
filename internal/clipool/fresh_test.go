package clipool_test

import (
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/fakeclaude"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/latency"
)

// A call that asks for a process of its own gets one, whose start it sees, and which
// nobody gets after it.
func TestFresh(t *testing.T) {
	for _, test := range []struct {
		name        string
		least, most int
		parked      int // of the former workers that are still there
	}{
		{"there is room", 1, 2, 1},
		{"another one makes room", 1, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			const starts = 200 * time.Millisecond
			p := newPool(t, func(o *clipool.Options) { o.Workers, o.MinWorkers = test.most, test.least }, "sleep="+starts.String())
			atRest := func(s clipool.Status) bool { return s.Idle == int64(test.least) && s.Busy+s.Starting == 0 }
			waitFor(t, p, atRest)
			before := p.PIDs()
			call, ended := start(t, p, "[[delay=300ms]]", true)
			busy := workerIn(t, p, clipool.StateBusy)
			if slices.Contains(before, busy.PID) {
				t.Error("an old process serves the request")
			}
			if workers := p.Workers(); len(workers) > test.most {
				t.Errorf("%d workers", len(workers))
			}
			if err := <-ended; err != nil {
				t.Fatal(err)
			}
			warm := newCall(t, "alpha", body("s", "hi"))
			waitFor(t, p, atRest)
			if now := p.PIDs(); slices.Contains(now, busy.PID) {
				t.Error("its process is still there")
			} else if kept := slices.DeleteFunc(now, func(pid int) bool { return !slices.Contains(before, pid) }); len(kept) != test.parked {
				t.Errorf("%d of the former workers are there, want %d", len(kept), test.parked)
			}
			if _, err := p.Generate(t.Context(), warm, &collector{}); err != nil {
				t.Fatal(err)
			}
			if bind, _ := call.Clock.Took(latency.Bind); bind < starts {
				t.Errorf("a process starts in %v, and the call was bound in %v", starts, bind)
			}
			waitFor(t, p, atRest)
			if wrong := p.Account(); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// However many ask for one, there are never more workers than the most, and every
// request is served.
func TestFreshKeepsToTheLimit(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 2 })
	var requests sync.WaitGroup
	for i := range 8 {
		call := newCall(t, "p"+strconv.Itoa(i%2), body("s", "hi"))
		call.Fresh = i%4 != 0
		requests.Go(func() {
			if _, err := p.Generate(t.Context(), call, &collector{}); err != nil {
				t.Error(err)
			}
		})
	}
	done := make(chan struct{})
	go func() { requests.Wait(); close(done) }()
	for running := true; running; {
		select {
		case <-done:
			running = false
		case <-time.After(time.Millisecond):
			if n := len(p.Workers()); n > 2 {
				t.Errorf("%d workers", n)
			}
		}
	}
	waitFor(t, p, twoIdle)
	if wrong := p.Account(); wrong != "" {
		t.Error(wrong)
	}
}

// A process that can't be started fails the call, and the pool goes on.
func TestFreshThatDoesNotStart(t *testing.T) {
	p := newPool(t, nil)
	waitFor(t, p, twoIdle)
	good := p.Process()
	p.Renew(claudecli.Options{Path: "/nonexistent", Root: t.TempDir(), Model: model, Env: fakeclaude.Env()})
	call := newCall(t, "alpha", body("s", "hi"))
	call.Fresh = true
	if _, err := p.Generate(t.Context(), call, &collector{}); err == nil {
		t.Error("it was served")
	}
	p.Renew(good)
	waitFor(t, p, twoIdle)
	mustAsk(t, p, "alpha", "s", "hi")
}

// While workers can't be started, none is ended for a call that asks for a new one.
func TestFreshWhileNoneStarts(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	mustAsk(t, p, "alpha", "s", "hi")
	oneIdle := func(s clipool.Status) bool { return s.Idle == 1 }
	waitFor(t, p, oneIdle)
	before := p.PIDs()
	p.Fail(errors.New("the CLI is gone"))
	call := newCall(t, "alpha", body("s", "hi"))
	call.Fresh = true
	_, err := p.Generate(t.Context(), call, &collector{})
	if e := apierror.From(err); e == nil || e.Category != apierror.Overloaded {
		t.Errorf("a new one: %v", err)
	}
	if now := p.PIDs(); !slices.Equal(now, before) {
		t.Errorf("workers %v, before %v", now, before)
	}
	mustAsk(t, p, "alpha", "s", "hi")
	waitFor(t, p, oneIdle)
	if wrong := p.Account(); wrong != "" {
		t.Error(wrong)
	}
}
