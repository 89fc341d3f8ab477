package monitor_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/monitor"
)

const answered = "claude-haiku-5-5"

var caller = &gateway.Caller{KeyID: "key_1", ProjectID: "alpha"}

// open makes a call that is served from now on.
func open(m *monitor.Monitor, id string) *gateway.Call {
	call := &gateway.Call{RequestID: id, Endpoint: "/v1/messages", Caller: caller, Request: &message.Request{Model: "haiku"}, Clock: latency.Start()}
	call.Clock.Mark(latency.Auth)
	call.Clock.Mark(latency.Decode)
	m.Opened(call)
	return call
}

// end ends a call as a gateway does.
func end(m *monitor.Monitor, call *gateway.Call, change func(e *gateway.Entry)) {
	call.Clock.Finish()
	cost := int64(25)
	e := gateway.Entry{
		RequestID: call.RequestID, Time: call.Clock.StartTime(), Endpoint: call.Endpoint, Address: "192.0.2.1", Caller: call.Caller,
		Backend: call.Backend, Requested: call.Asked(), Routed: call.Model, Status: 200, Clock: &call.Clock, Part: call.Part,
		Result: gateway.Result{Summary: message.Summary{Model: call.Model, Usage: message.Usage{InputTokens: 3, OutputTokens: 5}}, CostMicroUSD: &cost},
	}
	if change != nil {
		change(&e)
	}
	m.Observe(e)
	m.Closed(call)
}

func routed(m *monitor.Monitor, call *gateway.Call, backend string) {
	call.Backend, call.Model = backend, answered
	m.Routed(call)
}

// serve has a call take so long.
func serve(m *monitor.Monitor, took time.Duration, change func(e *gateway.Entry)) {
	call := open(m, "req")
	routed(m, call, gateway.BackendDirect)
	time.Sleep(took / 4)
	call.Clock.Mark(latency.FirstByte)
	time.Sleep(took - took/4)
	call.Clock.Mark(latency.Generate)
	end(m, call, change)
}

func failure(category string) func(e *gateway.Entry) {
	return func(e *gateway.Entry) {
		e.Status, e.Category, e.Result = 502, category, gateway.Result{}
	}
}

func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{})
		before := m.Changes()
		call := open(m, "req_1")
		if m.Changes() == before {
			t.Error("a request that begins is no change")
		}
		see := func(want latency.Stage, took time.Duration) monitor.Request {
			t.Helper()
			live := m.Live()
			if len(live) != 1 {
				t.Fatalf("%d requests run", len(live))
			}
			r := live[0]
			if r.Stage != want || r.Took[want] != took || !r.Known[want] || r.Status != 0 {
				t.Errorf("it is in %v for %v, want %v for %v", r.Stage, r.Took[r.Stage], want, took)
			}
			return r
		}
		time.Sleep(time.Millisecond)
		r := see(latency.Admit, time.Millisecond)
		if r.ID != "req_1" || r.Endpoint != "/v1/messages" || r.KeyID != "key_1" || r.Project != "alpha" || r.Requested != "haiku" || r.Backend != "" {
			t.Errorf("%+v", r)
		}
		call.Clock.Mark(latency.Admit)
		routed(m, call, gateway.BackendDirect)
		see(latency.FirstByte, 0) // no queue there
		routed(m, call, gateway.BackendCLI)
		time.Sleep(2 * time.Second)
		r = see(latency.Queue, 2*time.Second)
		if r.Backend != gateway.BackendCLI || r.Routed != answered {
			t.Errorf("%+v", r)
		}
		call.Clock.Mark(latency.Queue)
		call.Clock.Mark(latency.Bind)
		time.Sleep(time.Second)
		if r = see(latency.FirstByte, time.Second); r.Elapsed != 3*time.Second+time.Millisecond {
			t.Errorf("it runs for %v", r.Elapsed)
		}
		if _, ok := r.FirstToken(); ok {
			t.Error("the first token came before it came")
		}
		call.Clock.Mark(latency.FirstByte)
		time.Sleep(time.Second)
		r = see(latency.Generate, time.Second)
		if first, ok := r.FirstToken(); !ok || first != 3*time.Second+time.Millisecond {
			t.Errorf("first token after %v (%t)", first, ok)
		}
		call.Clock.Mark(latency.Generate)
		call.Clock.Mark(latency.Record)
		see(latency.Record, 0)
		end(m, call, nil)
		if live := m.Live(); len(live) != 0 {
			t.Errorf("it still runs: %+v", live)
		}
		recent := m.Recent(0, 10)
		if len(recent) != 1 {
			t.Fatalf("%d have ended", len(recent))
		}
		r = recent[0]
		if r.ID != "req_1" || r.Status != 200 || r.Answered != answered || r.InputTokens != 3 || *r.CostMicroUSD != 25 || r.Took[latency.Queue] != 2*time.Second ||
			r.Elapsed != 4*time.Second+time.Millisecond || r.KeyID != "key_1" {
			t.Errorf("%+v", r)
		}
		if more := m.Recent(r.Seq, 10); len(more) != 0 {
			t.Errorf("since the last one: %+v", more)
		}
	})
}

// A call of which nobody is told what became doesn't run for ever.
func TestClosedWithoutAWord(t *testing.T) {
	m := monitor.New(monitor.Options{})
	call := open(m, "req_1")
	m.Closed(call)
	m.Routed(call) // a mistake that does no harm
	if len(m.Live())+len(m.Recent(0, 10)) != 0 {
		t.Error("it is there")
	}
}

func TestRecentIsBounded(t *testing.T) {
	m := monitor.New(monitor.Options{})
	for i := range monitor.MostRecent + 7 {
		end(m, open(m, fmt.Sprint(i)), nil)
	}
	all := m.Recent(0, 10_000)
	if len(all) != monitor.MostRecent || all[0].ID != fmt.Sprint(monitor.MostRecent+6) || all[len(all)-1].ID != "7" {
		t.Errorf("%d, from %s to %s", len(all), all[0].ID, all[len(all)-1].ID)
	}
	if some := m.Recent(all[2].Seq, 10); len(some) != 2 {
		t.Errorf("%d since the third", len(some))
	}
	if some := m.Recent(0, 4); len(some) != 4 || some[0].Seq != all[0].Seq {
		t.Errorf("%d of four", len(some))
	}
}

func TestLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{})
		for i := range 100 {
			serve(m, time.Duration(i+1)*10*time.Millisecond, nil)
		}
		serve(m, 100*time.Millisecond, failure("upstream_error"))
		serve(m, 100*time.Millisecond, failure("client_closed"))
		// It takes no minute to be looked up, and neither the fast nor the slow ring has lost one.
		for _, window := range []time.Duration{time.Minute, 5 * time.Minute, 15 * time.Minute} {
			all := m.Latency(window)
			if len(all) != 1 {
				t.Fatalf("%d series: %+v", len(all), all)
			}
			p := all[0]
			if p.Endpoint != "/v1/messages" || p.Backend != gateway.BackendDirect || p.Model != answered || p.Count != 102 || p.Errors != 1 || p.Max != time.Second {
				t.Errorf("%+v", p)
			}
			near := func(what string, got, want time.Duration) {
				t.Helper()
				if got < want*15/16 || got > want*17/16 {
					t.Errorf("%s = %v, want %v within a sixteenth", what, got, want)
				}
			}
			near("p50", p.P50, 490*time.Millisecond)
			near("p95", p.P95, 950*time.Millisecond)
			near("p99", p.P99, 990*time.Millisecond)
			near("first token p50", p.FirstP50, 125*time.Millisecond)
			near("generate p95", p.Stages[latency.Generate].P95, 715*time.Millisecond)
			if p.Stages[latency.Queue].Count != 0 {
				t.Error("the direct path has a queue")
			}
		}
	})
}

// What was long ago isn't in a window any more, and what comes then is counted anew.
func TestSlicesAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := monitor.New(monitor.Options{})
		count := func(window time.Duration) (n int64) {
			for _, p := range m.Latency(window) {
				n += p.Count
			}
			return n
		}
		serve(m, time.Millisecond, nil)
		for _, test := range []struct {
			after              time.Duration // the one before
			minute, five, most int64
		}{
			{0, 1, 1, 1},
			{50 * time.Second, 1, 1, 1},
			{25 * time.Second, 0, 1, 1},
			{5 * time.Minute, 0, 0, 1},
			{11 * time.Minute, 0, 0, 0},
		} {
			time.Sleep(test.after)
			if minute, five, most := count(time.Minute), count(5*time.Minute), count(15*time.Minute); minute != test.minute || five != test.five || most != test.most {
				t.Errorf("%v later: %d, %d, %d; want %d, %d, %d", test.after, minute, five, most, test.minute, test.five, test.most)
			}
		}
		// The rings have gone round several times.
		for range 60 {
			time.Sleep(time.Minute)
			serve(m, time.Millisecond, nil)
		}
		if minute, most := count(time.Minute), count(15*time.Minute); minute < 1 || minute > 2 || most < 15 || most > 16 {
			t.Errorf("one a minute: %d in a minute, %d in fifteen", minute, most)
		}
		time.Sleep(time.Hour)
		if n := count(15 * time.Minute); n != 0 {
			t.Errorf("an hour later: %d", n)
		}
	})
}

// However many models callers invent, and however many are answered: what is remembered
// is bounded.
func TestSeriesAreBounded(t *testing.T) {
	m := monitor.New(monitor.Options{})
	one := func(i int, change func(e *gateway.Entry)) {
		call := open(m, "req")
		call.Backend, call.Model = gateway.BackendDirect, fmt.Sprintf("claude-%d", i)
		m.Routed(call)
		end(m, call, change)
	}
	for i := range 200 {
		one(i, failure("bad_request"))
	}
	if all := m.Latency(time.Minute); len(all) != 1 || all[0].Model != monitor.Other || all[0].Count != 200 {
		t.Errorf("invented models: %d series", len(all))
	}
	for i := range 1_000 {
		one(i, nil)
	}
	all := m.Latency(time.Minute)
	if len(all) > monitor.MostSeries {
		t.Errorf("%d series", len(all))
	}
	var count int64
	for _, p := range all {
		count += p.Count
	}
	if count != 1_200 {
		t.Errorf("%d requests are in them", count)
	}
	if !slices.ContainsFunc(all, func(p monitor.Percentiles) bool { return p.Endpoint == monitor.Other }) {
		t.Error("those without a series of their own have none in common")
	}
}

func TestTimeline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := monitor.New(monitor.Options{})
		time.Sleep(100 * time.Second)
		for range 10 {
			serve(m, 100*time.Millisecond, nil) // ten of them a second
		}
		serve(m, 0, failure("timeout"))
		part := open(m, "part")
		part.Part = true
		routed(m, part, gateway.BackendDirect)
		if live := m.Live(); len(live) != 1 || !live[0].Part {
			t.Errorf("a part is seen as %+v", live)
		}
		end(m, part, nil)

		start, step, steps := m.Timeline(2)
		if step != time.Second || len(steps) != 120 || !start.Equal(began.Add(101*time.Second-119*time.Second)) {
			t.Errorf("%d steps of %v from %v", len(steps), step, start.Sub(began))
		}
		// The tenth ended, with the others, as the next second began.
		last, before := steps[119], steps[118]
		if before.Requests != 9 || before.Tokens != 72 || before.CostMicroUSD != 225 || before.Errors != 0 {
			t.Errorf("the second before: %+v", before)
		}
		if last.Requests != 2 || last.Errors != 1 || last.Tokens != 16 || last.CostMicroUSD != 50 {
			t.Errorf("the last second: %+v", last)
		}
		if before.P50 < 93*time.Millisecond || before.P95 > 108*time.Millisecond {
			t.Errorf("percentiles: %v, %v", before.P50, before.P95)
		}
		if _, step, steps = m.Timeline(15); step != 5*time.Second || len(steps) != 180 || steps[179].Requests+steps[178].Requests != 11 {
			t.Errorf("%d steps of %v: %+v", len(steps), step, steps[178:])
		}
		time.Sleep(time.Second) // rates are of whole seconds
		r := m.Rates()
		if r.Requests != 11.0/60 || r.Errors != 1.0/60 || r.Tokens != 88.0/60 || r.CostMicroUSD != 275 || r.ErrorRatio != 1.0/11 {
			t.Errorf("%+v", r)
		}
		time.Sleep(time.Minute)
		if r := m.Rates(); r != (monitor.Rates{}) {
			t.Errorf("a minute later: %+v", r)
		}
		time.Sleep(20 * time.Minute)
		_, _, steps = m.Timeline(15)
		if slices.ContainsFunc(steps, func(s monitor.Step) bool { return s != monitor.Step{} }) {
			t.Error("what was long ago is there")
		}
	})
}

// told keeps what the observer behind a Monitor hears.
type told []gateway.Entry

func (t *told) Observe(e gateway.Entry) { *t = append(*t, e) }

func TestNextIsTold(t *testing.T) {
	var next told
	m := monitor.New(monitor.Options{Next: &next})
	// Refused before it was served: nobody has opened it.
	clock := latency.Start()
	m.Observe(gateway.Entry{RequestID: "r", Endpoint: "/v1/messages", Status: 401, Category: "auth_error", Refused: true, Clock: &clock})
	if len(next) != 1 || len(m.Recent(0, 1)) != 1 || len(m.Latency(time.Minute)) != 0 {
		t.Errorf("%d told", len(next))
	}
}

// Calls run, and are looked at, at the same time: the race detector watches it, and
// nothing is lost.
func TestRace(t *testing.T) {
	m := monitor.New(monitor.Options{})
	var calls, looks sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		looks.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				for _, r := range m.Live() {
					if r.Elapsed < 0 || r.Took[r.Stage] < 0 {
						t.Errorf("%+v", r)
					}
				}
				m.Recent(0, 100)
				m.Latency(time.Minute)
				m.Timeline(1)
				m.Rates()
			}
		})
	}
	const workers, each = 8, 200
	for w := range workers {
		calls.Go(func() {
			for i := range each {
				call := open(m, fmt.Sprintf("%d-%d", w, i))
				call.Clock.Mark(latency.Admit)
				routed(m, call, []string{gateway.BackendCLI, gateway.BackendDirect}[rand.IntN(2)])
				for s := latency.Queue; s <= latency.Record; s++ {
					call.Clock.Mark(s)
				}
				end(m, call, nil)
			}
		})
	}
	calls.Wait()
	close(done)
	looks.Wait()
	var count int64
	for _, p := range m.Latency(15 * time.Minute) {
		count += p.Count
	}
	if last := m.Recent(0, 1)[0].Seq; count != workers*each || last != workers*each || len(m.Live()) != 0 {
		t.Errorf("%d counted, %d ended, %d run", count, last, len(m.Live()))
	}
}
