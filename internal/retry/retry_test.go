package retry

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func longest(limit time.Duration) time.Duration { return limit }

func TestPause(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name     string
		attempt  int
		asked    time.Duration
		known    bool
		deadline time.Duration
		again    bool
		took     time.Duration
	}{
		{name: "first", again: true, took: s / 2},
		{name: "fourth", attempt: 3, again: true, took: 4 * s},
		{name: "too often", attempt: 4},
		{name: "asked for", asked: 3 * s, known: true, again: true, took: 3 * s},
		{name: "at once", known: true, again: true},
		{name: "asked for too much", asked: 11 * s, known: true},
		{name: "beyond the deadline", asked: 3 * s, known: true, deadline: 2 * s},
		{name: "the backoff is beyond it", attempt: 3, deadline: 4 * s},
		{name: "within the deadline", asked: 3 * s, known: true, deadline: 4 * s, again: true, took: 3 * s},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, began, heard := t.Context(), time.Now(), 0
				if test.deadline > 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
					defer cancel()
				}
				p := Policy{Retries: 4, Jitter: longest, Budget: NewBudget(), Retried: func() { heard++ }}
				again := p.Pause(ctx, test.attempt, test.asked, test.known)
				if took := time.Since(began); again != test.again || took != test.took || (heard == 1) != test.again {
					t.Errorf("again: %t after %v, heard %d times", again, took, heard)
				}
			})
		})
	}
}

func TestNothingIsRepeatedForACallerWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, leave := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, leave)
		began := time.Now()
		p := Policy{Retries: 4}
		if p.Pause(ctx, 0, 9*time.Second, true) || time.Since(began) != time.Second {
			t.Errorf("after %v", time.Since(began))
		}
	})
}

func TestBackoff(t *testing.T) {
	for attempt, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 8000, 8000} {
		if got := backoff(attempt); got != want*time.Millisecond {
			t.Errorf("backoff(%d) = %v", attempt, got)
		}
	}
	p := Policy{}
	for range 1000 {
		if d := p.jitter(time.Second); d < 0 || d > time.Second {
			t.Fatalf("jitter %v", d)
		}
	}
}

// An upstream that fails for a long time gets a fifth more than its calls, and one
// more a second, whatever each call would like.
func TestAFailingUpstreamIsNotMultiplied(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		p := Policy{Retries: 4, Budget: b}
		const calls = 10_000
		began, retries := time.Now(), 0
		for range calls {
			b.Call()
			for attempt := 0; p.Pause(t.Context(), attempt, 0, true); attempt++ {
				retries++
			}
			time.Sleep(10 * time.Millisecond)
		}
		allowed := most + share*calls + time.Since(began).Seconds()*perSecond
		if retries > int(allowed)+1 || retries < int(allowed)-2 {
			t.Errorf("%d retries for %d calls, want %.0f", retries, calls, allowed)
		}
	})
}

func TestAQuietServiceHasRetriesAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := NewBudget()
		for b.spend() {
		}
		if b.spend() {
			t.Error("a retry beyond the budget")
		}
		time.Sleep(time.Second)
		if !b.spend() || b.spend() {
			t.Error("a second is not one retry")
		}
		time.Sleep(time.Hour)
		n := 0
		for b.spend() {
			n++
		}
		if n != most {
			t.Errorf("%d retries were saved up", n)
		}
	})
}
