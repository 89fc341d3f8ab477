package route

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

const recovery = 30 * time.Second

func newBreaker(threshold int) *breaker {
	return &breaker{threshold: threshold, recovery: recovery, changed: func(State, State) {}}
}

// enters lets a call through, or fails the test.
func enters(t *testing.T, b *breaker) ticket {
	t.Helper()
	ticket, wait, ok := b.enter()
	if !ok {
		t.Fatalf("refused for %v in the state %v", wait, b.state)
	}
	return ticket
}

func refused(t *testing.T, b *breaker, want time.Duration) {
	t.Helper()
	if _, wait, ok := b.enter(); ok || wait != want {
		t.Fatalf("let in: %t, wait %v, want %v", ok, wait, want)
	}
}

// opened gives a breaker that has just opened.
func opened(t *testing.T) *breaker {
	t.Helper()
	b := newBreaker(5)
	for range 5 {
		b.leave(enters(t, b), failure)
	}
	refused(t, b, recovery)
	return b
}

func TestBreakerOpensAfterFailuresInARow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(5)
		for range 4 {
			b.leave(enters(t, b), failure)
		}
		b.leave(enters(t, b), neither) // counts neither way
		b.leave(enters(t, b), success)
		for range 4 {
			b.leave(enters(t, b), failure)
		}
		b.leave(enters(t, b), neither)
		b.leave(enters(t, b), failure)
		refused(t, b, recovery)
		time.Sleep(12 * time.Second)
		refused(t, b, recovery-12*time.Second)
	})
}

func TestBreakerLetsOneProbeThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t)
		time.Sleep(recovery)
		probe := enters(t, b)
		if b.state != HalfOpen {
			t.Errorf("state %v", b.state)
		}
		refused(t, b, busyProbe)
		b.leave(probe, failure)
		refused(t, b, recovery)

		time.Sleep(recovery)
		b.leave(enters(t, b), neither) // its caller left
		probe = enters(t, b)
		refused(t, b, busyProbe)
		b.leave(probe, success)
		if b.state != Closed {
			t.Errorf("state %v", b.state)
		}
		// It starts to count anew.
		for range 4 {
			b.leave(enters(t, b), failure)
		}
		enters(t, b)
	})
}

func TestAProbeHasSucceededWhenItBeginsToAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t)
		time.Sleep(recovery)
		probe := enters(t, b)
		b.answers(probe)
		if b.state != Closed {
			t.Errorf("state %v", b.state)
		}
		b.leave(probe, failure) // of another time
		if b.failures != 0 {
			t.Errorf("%d failures", b.failures)
		}
	})
}

func TestASilentProbeDoesNotKeepOthersFromTrying(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := opened(t)
		time.Sleep(recovery)
		silent := enters(t, b)
		time.Sleep(recovery - busyProbe/2)
		refused(t, b, busyProbe/2)
		time.Sleep(busyProbe / 2)
		second := enters(t, b)
		refused(t, b, busyProbe)
		b.leave(silent, neither) // isn't the one that is waited for any more
		refused(t, b, busyProbe)
		b.leave(second, success)
		enters(t, b)
	})
}

func TestCallsOfAnotherTimeDoNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBreaker(1)
		old, bad := enters(t, b), enters(t, b)
		b.leave(bad, failure)
		b.leave(old, success)
		refused(t, b, recovery)
		time.Sleep(recovery)
		probe := enters(t, b)
		b.leave(old, failure)
		b.leave(probe, success)
		if b.state != Closed {
			t.Errorf("state %v", b.state)
		}
	})
}

// The model is what a breaker promises, without its way of counting.
func TestBreakerModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		threshold := rapid.IntRange(1, 4).Draw(rt, "threshold")
		// Time is the model's: the breaker's own is moved back instead of waiting.
		b := newBreaker(threshold)
		var changes []State
		b.changed = func(from, to State) {
			if len(changes) > 0 && changes[len(changes)-1] != from || from == to {
				rt.Fatalf("changed from %v to %v after %v", from, to, changes)
			}
			changes = append(changes, to)
		}
		type running struct {
			ticket
			epoch int // of the model, when it entered
		}
		var calls []running
		state, failures, epoch, probing := Closed, 0, 0, false
		rt.Repeat(map[string]func(*rapid.T){
			"enter": func(rt *rapid.T) {
				ticket, wait, ok := b.enter()
				want := state == Closed || state == HalfOpen && !probing
				if ok != want || ok != (wait == 0) || wait > recovery {
					rt.Fatalf("let in: %t (%v) while %v, probing: %t", ok, wait, state, probing)
				}
				if ok {
					probing = state == HalfOpen
					calls = append(calls, running{ticket, epoch})
				}
			},
			"leave": func(rt *rapid.T) {
				if len(calls) == 0 {
					rt.Skip("none runs")
				}
				i := rapid.IntRange(0, len(calls)-1).Draw(rt, "call")
				o := outcome(rapid.IntRange(int(neither), int(failure)).Draw(rt, "outcome"))
				c := calls[i]
				calls = append(calls[:i], calls[i+1:]...)
				b.leave(c.ticket, o)
				if c.epoch != epoch {
					return
				}
				switch {
				case state == HalfOpen && o == neither:
					probing = false
				case state == HalfOpen:
					state, failures, probing = map[outcome]State{success: Closed, failure: Open}[o], 0, false
					epoch++
				case o == success:
					failures = 0
				case o == failure:
					if failures++; failures == threshold {
						state, failures = Open, 0
						epoch++
					}
				}
			},
			"recover": func(rt *rapid.T) {
				if state != Open {
					rt.Skip("not open")
				}
				b.since = b.since.Add(-recovery)
				ticket, _, ok := b.enter() // the probe
				if !ok {
					rt.Fatal("no probe after the time to recover")
				}
				epoch++
				state, probing = HalfOpen, true
				calls = append(calls, running{ticket, epoch})
			},
			"": func(rt *rapid.T) {
				if got, _, in := b.now(); got != state || in != failures {
					rt.Fatalf("state %v after %d failures, want %v after %d", got, in, state, failures)
				}
			},
		})
	})
}

// failing is a backend that counts how many are in it.
type failing struct {
	err          error
	inside, most atomic.Int64
	asked        atomic.Int64
	hold         chan struct{} // nil: it answers at once
	begin        bool          // it begins to answer before it holds
}

func (f *failing) Generate(ctx context.Context, _ *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	f.asked.Add(1)
	f.most.Store(max(f.most.Load(), f.inside.Add(1)))
	defer f.inside.Add(-1)
	if f.begin {
		_ = out.Event(message.Event{})
	}
	if f.hold != nil {
		select {
		case <-f.hold:
		case <-ctx.Done():
			return gateway.Result{}, ctx.Err()
		}
	}
	return gateway.Result{}, f.err
}

// nowhere is an EventWriter that writes nothing.
type nowhere struct{}

func (nowhere) Event(message.Event) error { return nil }
func (nowhere) Flush() error              { return nil }
func (nowhere) Message([]byte) error      { return nil }
func (nowhere) End(gateway.Result) error  { return nil }

func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{err: apierror.FromUpstream(529, "")}
		breakers := NewBreakers(BreakersOptions{Threshold: 5, Recovery: recovery})
		g := breakers.Guard("direct", f)
		ask := func(model string) error {
			_, err := g.Generate(t.Context(), &gateway.Call{Model: model}, nowhere{})
			return err
		}
		for range 5 {
			_ = ask("claude-opus-5-5")
		}
		time.Sleep(10 * time.Second)
		e := apierror.From(ask("claude-opus-4"))
		if !errors.Is(e, ErrOpen) || e.Status() != 503 || e.RetryAfter != 20*time.Second || f.asked.Load() != 5 {
			t.Errorf("asked %d times: %v, retry after %v", f.asked.Load(), e, e.RetryAfter)
		}
		// Another family, another backend and counting go on.
		if err := ask("claude-haiku-5-5"); errors.Is(err, ErrOpen) {
			t.Error(err)
		}
		if _, err := breakers.Guard("cli", f).Generate(t.Context(), &gateway.Call{Model: "claude-opus-5-5"}, nowhere{}); errors.Is(err, ErrOpen) {
			t.Error(err)
		}
		if _, err := g.Generate(t.Context(), &gateway.Call{Model: "claude-opus-5-5", CountOnly: true}, nowhere{}); errors.Is(err, ErrOpen) {
			t.Error(err)
		}
		want := map[string]State{"haiku": Closed, "sonnet": Closed, "opus": Open, "other": Closed}
		for _, s := range breakers.Of("direct") {
			if s.State != want[s.Family] {
				t.Errorf("%s is %v", s.Family, s.State)
			}
		}
		f.err = nil
		time.Sleep(20 * time.Second)
		if err := errors.Join(ask("claude-opus-5-5"), ask("claude-opus-5-5")); err != nil {
			t.Error(err)
		}
	})
}

func TestManyCallersGetOneProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{err: apierror.FromUpstream(500, "")}
		g := NewBreakers(BreakersOptions{Threshold: 1, Recovery: recovery}).Guard("cli", f)
		_, _ = g.Generate(t.Context(), &gateway.Call{Model: "claude-x"}, nowhere{})
		time.Sleep(recovery)
		f.err, f.hold = nil, make(chan struct{})
		f.asked.Store(0)
		var open atomic.Int64
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if _, err := g.Generate(t.Context(), &gateway.Call{Model: "claude-x"}, nowhere{}); errors.Is(err, ErrOpen) {
					open.Add(1)
				}
			})
		}
		synctest.Wait()
		if f.inside.Load() != 1 || open.Load() != 99 {
			t.Errorf("%d are inside, %d were refused", f.inside.Load(), open.Load())
		}
		close(f.hold)
		callers.Wait()
	})
}

// A probe that streams for long doesn't keep the others out.
func TestAStreamingProbeClosesTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &failing{err: apierror.FromUpstream(500, "")}
		g := NewBreakers(BreakersOptions{Threshold: 1, Recovery: recovery}).Guard("cli", f)
		_, _ = g.Generate(t.Context(), &gateway.Call{}, nowhere{})
		time.Sleep(recovery)
		f.err, f.hold, f.begin = nil, make(chan struct{}), true
		var callers sync.WaitGroup
		for n := range int64(2) {
			callers.Go(func() { _, _ = g.Generate(t.Context(), &gateway.Call{}, nowhere{}) })
			synctest.Wait()
			if f.inside.Load() != n+1 {
				t.Errorf("%d are inside, want %d", f.inside.Load(), n+1)
			}
		}
		close(f.hold)
		callers.Wait()
	})
}

func TestWhatCounts(t *testing.T) {
	gone, leave := context.WithCancel(t.Context())
	leave()
	for _, test := range []struct {
		name string
		ctx  context.Context
		err  error
		want outcome
	}{
		{"an answer", t.Context(), nil, success},
		{"the request's fault", t.Context(), apierror.FromUpstream(400, ""), neither},
		{"our credential", t.Context(), apierror.FromUpstream(401, ""), neither},
		{"no such model", t.Context(), apierror.FromUpstream(404, ""), neither},
		{"a rate limit", t.Context(), apierror.FromUpstream(429, ""), failure},
		{"overloaded", t.Context(), apierror.FromUpstream(529, ""), failure},
		{"a full queue", t.Context(), apierror.New(apierror.Overloaded, ""), neither},
		{"no connection", t.Context(), apierror.New(apierror.ConnectionError, ""), failure},
		{"silence", t.Context(), apierror.New(apierror.Timeout, ""), failure},
		{"a worker that died", t.Context(), apierror.New(apierror.CLIError, ""), failure},
		{"a caller who can't be written to", t.Context(), fmt.Errorf("write the answer: broken pipe"), neither},
		{"a caller who left", gone, apierror.New(apierror.ConnectionError, ""), neither},
	} {
		if got := judge(test.ctx, test.err); got != test.want {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestAPanicDoesNotKeepTheProbe(t *testing.T) {
	b := NewBreakers(BreakersOptions{Threshold: 1, Recovery: time.Nanosecond})
	f := &failing{err: apierror.FromUpstream(500, "")}
	_, _ = b.Guard("cli", f).Generate(t.Context(), &gateway.Call{}, nowhere{})
	func() {
		defer func() {
			if recover() == nil {
				t.Error("no panic")
			}
		}()
		_, _ = b.Guard("cli", nil).Generate(t.Context(), &gateway.Call{}, nowhere{}) // a probe
	}()
	if br := b.of[place{"cli", Other}]; br.state != HalfOpen || br.probing {
		t.Errorf("state %v, probing: %t", br.state, br.probing)
	}
}

func TestNoBreakers(t *testing.T) {
	b := NewBreakers(BreakersOptions{})
	f := &failing{}
	if b != nil || b.Guard("cli", f) != gateway.Backend(f) || b.Of("cli") != nil || !b.admits("cli", "m") {
		t.Error("a threshold of 0 has breakers")
	}
}
