package app

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// bare is every room of a gateway that does nothing but answer after a while.
type bare struct {
	answerAfter time.Duration
	took        time.Duration // of the last answer
	caller      *gateway.Caller
}

func (b *bare) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	return b.caller, nil
}
func (b *bare) Admit(context.Context, *gateway.Call) error   { return nil }
func (b *bare) Reserve(context.Context, *gateway.Call) error { return nil }
func (b *bare) Release(*gateway.Call, gateway.Result)        {}
func (b *bare) Record(context.Context, gateway.Entry) error  { return nil }
func (b *bare) Observe(gateway.Entry)                        {}
func (b *bare) Event(message.Event) error                    { return nil }
func (b *bare) Flush() error                                 { return nil }
func (b *bare) Message([]byte) error                         { return nil }
func (b *bare) End(gateway.Result) error                     { return nil }

func (b *bare) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = gateway.BackendDirect, "claude-haiku-5-5"
	return b, nil
}

func (b *bare) Generate(_ context.Context, call *gateway.Call, _ gateway.EventWriter) (gateway.Result, error) {
	began := time.Now()
	if b.answerAfter > 0 {
		time.Sleep(b.answerAfter) // what is measured is the rest
	}
	b.took = time.Since(began)
	cost := int64(35)
	return gateway.Result{
		Summary:      message.Summary{Model: call.Model, StopReason: "end_turn", Usage: message.Usage{InputTokens: 20, OutputTokens: 3}},
		CostMicroUSD: &cost,
	}, nil
}

// BenchmarkWalk measures what keys' limits, two budgets and the ledger on disk add
// to a request: the own time of the walk with them, and with rooms that do
// nothing, one after the other by the same callers. The 32 callers' upstream takes
// 5 ms, which no model does; the saturated ones' takes none, so that each request
// waits for the processor.
func BenchmarkWalk(b *testing.B) {
	for _, bench := range []struct {
		name        string
		callers     int
		answerAfter time.Duration
	}{{"1", 1, 0}, {"32", 32, 5 * time.Millisecond}, {"32 saturated", 32, 0}, {"256 saturated", 256, 0}} {
		b.Run(bench.name, func(b *testing.B) { benchmarkWalk(b, bench.callers, bench.answerAfter) })
	}
}

func benchmarkWalk(b *testing.B, callers int, answerAfter time.Duration) {
	db, err := sqlite.Open(b.Context(), sqlite.Options{Path: filepath.Join(b.TempDir(), "bench.db")})
	if err != nil {
		b.Fatal(err)
	}
	ledger := usage.NewLedger(usage.Options{Store: db})
	defer func() { _ = ledger.Close(context.Background()); _ = db.Close() }()
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		b.Fatal(err)
	}
	limits := gateway.RateLimits{RequestsPerMinute: 1 << 40, TokensPerMinute: 1 << 40, ConcurrentRequests: 1 << 20}
	admitter := admission.New(admission.Options{Store: db, Models: dearest{func() *pricing.Catalogue { return catalogue }}})
	request, err := message.ParseRequest([]byte(`{"model":"haiku","max_tokens":100,"messages":[{"role":"user","content":"hello"}]}`))
	if err != nil {
		b.Fatal(err)
	}
	own := make([][2][]time.Duration, callers)
	for i := range own {
		own[i] = [2][]time.Duration{make([]time.Duration, 0, b.N/callers+1), make([]time.Duration, 0, b.N/callers+1)}
	}
	b.ReportAllocs()
	b.ResetTimer()
	var tasks sync.WaitGroup
	for i := range callers {
		tasks.Go(func() {
			rooms := &bare{answerAfter: answerAfter, caller: &gateway.Caller{
				KeyID: fmt.Sprint("key_", i%8), ProjectID: "project", Key: limits, Project: limits,
				Budgets: []budget.Limit{
					{Owner: budget.Owner{Kind: budget.Key, ID: fmt.Sprint("key_", i%8)}, Period: budget.Month, Unit: budget.Tokens, Hard: 1 << 50},
					{Owner: budget.Owner{Kind: budget.Project, ID: "project"}, Period: budget.Day, Unit: budget.USD, Hard: 1 << 50},
				},
			}}
			walks := [2]*gateway.Gateway{
				gateway.New(gateway.Options{Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms}),
				gateway.New(gateway.Options{Authenticator: rooms, Admitter: admitter, Router: rooms, Recorder: ledger, Observer: rooms}),
			}
			for n := i; n < b.N; n += callers {
				for which, g := range walks {
					took, err := walk(g, request, rooms)
					if err != nil {
						b.Error(err)
						return
					}
					own[i][which] = append(own[i][which], took)
				}
			}
		})
	}
	tasks.Wait()
	b.StopTimer()
	var all [2][]time.Duration
	for _, o := range own {
		all[0], all[1] = append(all[0], o[0]...), append(all[1], o[1]...)
	}
	for i := range all {
		slices.Sort(all[i])
	}
	p := func(which int, q float64) float64 {
		return float64(all[which][int(q*float64(len(all[which])-1))].Nanoseconds()) / 1e3
	}
	b.ReportMetric(p(1, 0.5)-p(0, 0.5), "added-p50-µs")
	b.ReportMetric(p(1, 0.99), "p99-µs")
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "requests/s")
}

// walk serves one call and gives how long all but the upstream took.
func walk(g *gateway.Gateway, request *message.Request, rooms *bare) (time.Duration, error) {
	call, err := g.Open(context.Background(), "0123456789abcdef0123456789abcdef", "/v1/chat/completions", "key", "127.0.0.1")
	if err != nil {
		return 0, err
	}
	call.Request = request
	begin := time.Now()
	err = g.Serve(context.Background(), call, rooms)
	return time.Since(begin) - rooms.took, err
}
