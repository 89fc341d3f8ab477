package clipool_test

import (
	"testing"

	"claude-code-api-service/internal/clipool"
)

// After Renew no new request is served by a worker of the former options, and
// the one that runs is answered all the same.
func TestRenew(t *testing.T) {
	p := newPool(t, func(*clipool.Options) {})
	old := map[string]bool{mustAsk(t, p, "a", "s", "x"): true}
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })

	type outcome struct {
		pid string
		err error
	}
	running := make(chan outcome, 1)
	go func() {
		pid, err := ask(t, p, "b", "s", "[[delay=300ms]]")
		running <- outcome{pid, err}
	}()
	waitFor(t, p, func(s clipool.Status) bool { return s.Busy == 1 })
	p.Renew(p.Process())
	if got := <-running; got.err != nil || got.pid == "" {
		t.Fatalf("the running request got %+v", got)
	} else {
		old[got.pid] = true
	}
	for range 3 {
		if pid := mustAsk(t, p, "b", "s", "x"); old[pid] {
			t.Errorf("worker %s serves on with the former options", pid)
		}
		if pid := mustAsk(t, p, "a", "s", "x"); old[pid] {
			t.Errorf("worker %s serves on with the former options", pid)
		}
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 })
	if wrong := p.Account(); wrong != "" {
		t.Error(wrong)
	}
}
