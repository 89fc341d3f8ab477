package clipool_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/simulator"
)

// left is a caller who goes away, on the real CLI.
type left struct {
	p        *clipool.Pool
	upstream *simulator.Simulator
}

// run makes a request whose caller leaves when leave is called, and gives what it
// ended with.
func (l *left) run(t testing.TB, body string, onEvent func(n int)) (leave func(), ended <-chan outcome) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	end := make(chan outcome, 1)
	n := 0
	out := &collector{onEvent: func() error {
		if n++; onEvent != nil {
			onEvent(n)
		}
		return nil
	}}
	call := newCall(t, "p", body)
	call.Caller.KeyID = "key"
	go func() {
		result, err := l.p.Generate(ctx, call, out)
		end <- outcome{result, err}
	}()
	return cancel, end
}

type outcome struct {
	result gateway.Result
	err    error
}

func (l *left) await(t testing.TB, what string, done func(simulator.Stats) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := l.upstream.Wait(ctx, done); err != nil {
		t.Fatalf("the upstream doesn't see %s: %v (%+v)", what, err, l.upstream.Stats())
	}
}

// closed waits until the call of one who has left is over at the upstream. It takes
// milliseconds (BenchmarkLeave); the bound is for a machine that does other things
// too.
func (l *left) closed(t testing.TB, began time.Time, cancelled int64) {
	t.Helper()
	l.await(t, "that the caller left", func(s simulator.Stats) bool { return s.InFlight == 0 && s.Cancelled == cancelled+1 })
	if took := time.Since(began); took > 3*time.Second {
		t.Errorf("the call went on for %v", took)
	}
}

// reached says whether a body with the word has reached the upstream.
func (l *left) reached(word string) bool {
	for _, body := range l.upstream.Bodies() {
		if bytes.Contains(body, []byte(word)) {
			return true
		}
	}
	return false
}

const (
	leftWord = "word-of-the-one-who-left"
	quick    = " [[tokens=2 interval=0s]]"
)

func leftBody(prompt string) string {
	return fmt.Sprintf(`{"model":"haiku","max_tokens":9000,"stream":true,"messages":[{"role":"user","content":%q}]}`, leftWord+" "+prompt)
}

// TestTheCallerLeavesAtEveryStage looks at the upstream's connection and at the
// worker's process after a caller has gone.
func TestTheCallerLeavesAtEveryStage(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			// An answer takes ten seconds, unless the prompt says otherwise.
			l := &left{upstream: simulator.New(simulator.Options{KeepBodies: 1_000, Tokens: 2_000, Interval: 5 * time.Millisecond})}
			if _, err := l.upstream.Start(""); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(l.upstream.Close)
			l.p = newRealPool(t, version, l.upstream, func(o *clipool.Options) { o.Workers, o.ParkFor = 1, time.Hour })
			waitFor(t, l.p, idle(1))
			for _, stage := range []struct {
				name string
				test func(t *testing.T, l *left)
			}{
				{"queued", leaveQueued},
				{"binding", leaveBinding},
				{"before the first token", leaveEarly},
				{"in the middle of the stream", leaveStream},
				{"parked on a tool", leaveParked},
			} {
				t.Run(stage.name, func(t *testing.T) {
					stage.test(t, l)
					waitFor(t, l.p, func(s clipool.Status) bool { return s.Idle == 1 && s.Queued == 0 })
					if wrong := l.p.Account(); wrong != "" {
						t.Error(wrong)
					}
					next := "next-after-" + stage.name
					if _, err := ask(t, l.p, "p", "", next+quick); err != nil {
						t.Errorf("the next request: %v", err)
					}
					waitFor(t, l.p, func(s clipool.Status) bool { return s.Idle == 1 && s.Held == 0 })
					for _, body := range l.upstream.Bodies() {
						if bytes.Contains(body, []byte(next)) && bytes.Contains(body, []byte(leftWord)) {
							t.Errorf("the next request carries the former one's words: %s", body)
						}
					}
				})
			}
		})
	}
}

// gone waits for the end of a request whose caller has left.
func gone(t testing.TB, ended <-chan outcome) outcome {
	t.Helper()
	o := <-ended
	if !errors.Is(o.err, context.Canceled) {
		t.Errorf("the request of the one who left ended with %v", o.err)
	}
	return o
}

func leaveQueued(t *testing.T, l *left) {
	release, blocking := l.run(t, leftBody("[[hang]]"), nil)
	l.await(t, "the one in front", func(s simulator.Stats) bool { return s.InFlight == 1 })
	leave, ended := l.run(t, leftBody("queued-one"), nil)
	waitFor(t, l.p, func(s clipool.Status) bool { return s.Queued == 1 })
	leave()
	gone(t, ended)
	if s := l.p.Status(); s.Queued != 0 || s.Busy != 1 || l.upstream.Stats().InFlight != 1 {
		t.Errorf("status = %+v", s)
	}
	release()
	gone(t, blocking)
	l.await(t, "that the one in front left", func(s simulator.Stats) bool { return s.InFlight == 0 })
	if l.reached("queued-one") {
		t.Error("it reached the upstream")
	}
}

// leaveBinding has the worker stand still while the conversation is put into it.
func leaveBinding(t *testing.T, l *left) {
	pid := l.p.PIDs()[0]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	leave, ended := l.run(t, `{"model":"haiku","max_tokens":9,"stream":true,"messages":[{"role":"user","content":"`+leftWord+`"},{"role":"assistant","content":"b"},{"role":"user","content":"bound-one"}]}`, nil)
	waitFor(t, l.p, func(s clipool.Status) bool { return s.Busy == 1 })
	began := time.Now()
	leave()
	gone(t, ended)
	if took := time.Since(began); took > 4*time.Second { // the control request's own deadline is at five
		t.Errorf("it took %v", took)
	}
	_ = syscall.Kill(pid, syscall.SIGCONT) // or it was killed already
	if l.reached("bound-one") {
		t.Error("it reached the upstream")
	}
}

func leaveEarly(t *testing.T, l *left) {
	before := l.upstream.Stats().Cancelled
	leave, ended := l.run(t, leftBody("[[hang]]"), nil)
	l.await(t, "the request", func(s simulator.Stats) bool { return s.InFlight == 1 })
	began := time.Now()
	leave()
	gone(t, ended)
	l.closed(t, began, before)
}

func leaveStream(t *testing.T, l *left) {
	before := l.upstream.Stats().Cancelled
	arrived := make(chan struct{})
	leave, ended := l.run(t, leftBody("a long one"), func(n int) {
		if n == 50 {
			close(arrived)
		}
	})
	<-arrived
	began := time.Now()
	leave()
	l.closed(t, began, before)
	o := gone(t, ended)
	if u := o.result.Usage; u.InputTokens+u.CacheCreationInputTokens+u.CacheReadInputTokens == 0 || u.OutputTokens < 10 {
		t.Errorf("what was used of it is settled as %+v", o.result.Usage)
	}
}

// leaveParked leaves a call unanswered, while nothing is open at the upstream, and
// then in the middle of what follows it.
func leaveParked(t *testing.T, l *left) {
	c := &toolChat{p: l.p, project: "p", key: "key", tools: clock}
	ids := c.calls(t, leftWord+" [[tool=get_time]]")
	waitFor(t, l.p, parked(1))
	l.await(t, "that nothing runs", func(s simulator.Stats) bool { return s.InFlight == 0 })
	before := l.upstream.Stats().Cancelled
	body := fmt.Sprintf(`{"model":"haiku","max_tokens":200,"stream":true,"tools":%s,"messages":[{"role":"user","content":%q},{"role":"assistant","content":%s},{"role":"user","content":[{"type":"tool_result","tool_use_id":%q,"content":"noon"}]}]}`,
		clock, leftWord+" [[tool=get_time]]", c.turns[1].Content, ids[0])
	arrived := make(chan struct{})
	leave, ended := l.run(t, body, func(n int) {
		if n == 10 {
			close(arrived)
		}
	})
	<-arrived
	began := time.Now()
	leave()
	gone(t, ended)
	l.closed(t, began, before)
}

// BenchmarkLeave is the time from a caller's leaving to the end of the call at the
// upstream.
func BenchmarkLeave(b *testing.B) {
	for name, prompt := range map[string]string{"before the first token": "[[hang]]", "in the middle": "[[tokens=5000 interval=5ms]]"} {
		b.Run(name, func(b *testing.B) {
			l := &left{upstream: clitest.NewUpstream(b)}
			l.p = newRealPool(b, install.Version, l.upstream, func(o *clipool.Options) { o.Workers = 1 })
			var samples []time.Duration
			for b.Loop() {
				before := l.upstream.Stats().Cancelled
				arrived := make(chan struct{})
				leave, ended := l.run(b, leftBody(prompt), func(n int) {
					if n == 10 {
						close(arrived)
					}
				})
				if prompt == "[[hang]]" {
					l.await(b, "the request", func(s simulator.Stats) bool { return s.InFlight == 1 })
				} else {
					<-arrived
				}
				began := time.Now()
				leave()
				l.await(b, "that the caller left", func(s simulator.Stats) bool { return s.InFlight == 0 && s.Cancelled > before })
				samples = append(samples, time.Since(began))
				gone(b, ended)
			}
			reportQuantiles(b, samples)
		})
	}
}
