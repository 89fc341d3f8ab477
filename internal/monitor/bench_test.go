package monitor_test

import (
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/monitor"
)

// BenchmarkCall is what being watched costs a request from its beginning to its end.
func BenchmarkCall(b *testing.B) {
	cost := int64(25)
	one := func(m *monitor.Monitor, call *gateway.Call) {
		m.Opened(call)
		m.Routed(call)
		m.Observe(gateway.Entry{
			RequestID: call.RequestID, Time: call.Clock.StartTime(), Endpoint: call.Endpoint, Caller: call.Caller, Backend: call.Backend,
			Requested: "haiku", Routed: call.Model, Status: 200, Clock: &call.Clock,
			Result: gateway.Result{Summary: message.Summary{Model: answered, Usage: message.Usage{InputTokens: 3, OutputTokens: 5}}, CostMicroUSD: &cost},
		})
		m.Closed(call)
	}
	made := func() *gateway.Call {
		call := &gateway.Call{
			RequestID: "req_1", Endpoint: "/v1/messages", Caller: caller, Request: &message.Request{Model: "haiku"}, Clock: latency.Start(),
			Backend: gateway.BackendCLI, Model: answered,
		}
		for s := range latency.Total {
			call.Clock.Mark(s)
		}
		call.Clock.Finish()
		return call
	}
	b.Run("alone", func(b *testing.B) {
		m, call := monitor.New(monitor.Options{}), made()
		b.ReportAllocs()
		for b.Loop() {
			one(m, call)
		}
	})
	b.Run("together", func(b *testing.B) {
		m := monitor.New(monitor.Options{})
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			for call := made(); pb.Next(); {
				one(m, call)
			}
		})
	})
}

// BenchmarkLook is what a look at a full Monitor takes.
func BenchmarkLook(b *testing.B) {
	m := monitor.New(monitor.Options{})
	for range monitor.MostRecent {
		serve(m, 0, nil)
	}
	for range 100 {
		open(m, "live")
	}
	b.Run("requests", func(b *testing.B) {
		for b.Loop() {
			_, _ = m.Live(), m.Recent(0, 100)
		}
	})
	b.Run("timeline", func(b *testing.B) {
		for b.Loop() {
			m.Timeline(15)
		}
	})
}
