package clipool_test

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// workerIn waits for a worker in a state and gives it.
func workerIn(t *testing.T, p *clipool.Pool, state clipool.State) clipool.Worker {
	t.Helper()
	var found clipool.Worker
	waitFor(t, p, func(clipool.Status) bool {
		for _, w := range p.Workers() {
			if w.State == state {
				found = w
				return true
			}
		}
		return false
	})
	return found
}

func twoIdle(s clipool.Status) bool { return s.Idle == 2 }

func TestWorkersAreSeen(t *testing.T) {
	p := newPool(t, nil)
	waitFor(t, p, twoIdle)
	for _, w := range p.Workers() {
		if w.State != clipool.StateIdle || w.PID == 0 || w.ID == "" || w.Turns != 0 || w.ProjectID != "" || w.RequestID != "" || w.Age < w.Idle {
			t.Errorf("a new worker is %+v", w)
		}
		if runtime.GOOS == "linux" && w.ResidentBytes < 1<<20 {
			t.Errorf("a process has %d bytes", w.ResidentBytes)
		}
	}
	mustAsk(t, p, "alpha", "s", "hi")
	waitFor(t, p, twoIdle)
	var served []clipool.Worker
	for _, w := range p.Workers() {
		if w.Turns > 0 {
			served = append(served, w)
		}
	}
	if len(served) != 1 || served[0].Turns != 1 || served[0].ProjectID != "alpha" || served[0].Model != model || served[0].RequestID != "" {
		t.Errorf("after one request: %+v", served)
	}
	if least, most := p.Limits(); least != 2 || most != 2 {
		t.Errorf("between %d and %d", least, most)
	}
}

// start has a request run that is called req_1.
func start(t *testing.T, p *clipool.Pool, prompt string, fresh bool) (call *gateway.Call, ended <-chan error) {
	t.Helper()
	call = newCall(t, "alpha", body("s", prompt))
	call.RequestID, call.Fresh = "req_1", fresh
	end := make(chan error, 1)
	go func() {
		_, err := p.Generate(t.Context(), call, &collector{})
		end <- err
	}()
	return call, end
}

func TestKill(t *testing.T) {
	p := newPool(t, nil)
	waitFor(t, p, twoIdle)

	idle := p.Workers()[0]
	if err := p.Kill(idle.ID); err != nil {
		t.Fatal(err)
	}
	waitFor(t, p, twoIdle)
	for _, w := range p.Workers() {
		if w.ID == idle.ID || w.PID == idle.PID {
			t.Errorf("it is still there: %+v", w)
		}
	}
	if err := p.Kill(idle.ID); !errors.Is(err, clipool.ErrNoWorker) {
		t.Errorf("killed twice: %v", err)
	}

	// In the middle of an answer.
	call, ended := start(t, p, "[[hang]]", false)
	// Without an event another worker would serve the request.
	waitFor(t, p, func(clipool.Status) bool { _, began := call.Clock.Took(latency.FirstByte); return began })
	busy := workerIn(t, p, clipool.StateBusy)
	if busy.RequestID != "req_1" || busy.ProjectID != "alpha" || busy.Idle != 0 {
		t.Errorf("busy: %+v", busy)
	}
	if err := p.Kill(busy.ID); err != nil {
		t.Fatal(err)
	}
	if e := apierror.From(<-ended); e == nil || e.Category != apierror.CLIError || strings.Contains(e.Message, "pid") {
		t.Errorf("a request whose worker was ended: %v", e)
	}
	waitFor(t, p, twoIdle)
	mustAsk(t, p, "alpha", "s", "hi")
}

// A worker that is ended before it has answered leaves its request to another one.
func TestKilledBeforeTheAnswer(t *testing.T) {
	p := newPool(t, nil)
	waitFor(t, p, twoIdle)
	_, ended := start(t, p, "[[delay=3s]]", false)
	if err := p.Kill(workerIn(t, p, clipool.StateBusy).ID); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// Whoever ends new workers one after the other hasn't shown that they can't live.
func TestKilledWorkersAreNoCrashes(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1 })
	for range 12 {
		waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 1 })
		if err := p.Kill(p.Workers()[0].ID); err != nil {
			t.Fatal(err)
		}
		if s := p.Status(); s.Failed {
			t.Fatalf("the pool has failed: %s", s.Reason)
		}
	}
}
