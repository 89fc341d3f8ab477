package sqlite_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

func benchmarkLedger(b *testing.B, callers int, synchronous string) {
	ledger := usage.NewLedger(usage.Options{Store: open(b, sqlite.Options{Synchronous: synchronous})})
	defer func() {
		if err := ledger.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}()
	clock := latency.Start()
	clock.Mark(latency.Auth)
	clock.Mark(latency.Generate)
	cost := int64(1234)
	entry := gateway.Entry{
		RequestID: "0123456789abcdef0123456789abcdef", Time: time.Now(), Endpoint: "/v1/chat/completions", Backend: "direct",
		Caller:    &gateway.Caller{KeyID: "key_0123456789abcdef", ProjectID: "project"},
		Requested: "haiku", Routed: "claude-haiku-5-5", Status: 200, Clock: &clock, Result: gateway.Result{CostMicroUSD: &cost},
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, callers)
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		go func() {
			for left.Add(-1) >= 0 {
				if err := ledger.Record(context.Background(), entry); err != nil {
					done <- err
					return
				}
			}
			done <- nil
		}()
	}
	for range callers {
		if err := <-done; err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkLedger(b *testing.B) {
	b.Run("normal/1", func(b *testing.B) { benchmarkLedger(b, 1, sqlite.SynchronousNormal) })
	b.Run("normal/32", func(b *testing.B) { benchmarkLedger(b, 32, sqlite.SynchronousNormal) })
	b.Run("full/1", func(b *testing.B) { benchmarkLedger(b, 1, sqlite.SynchronousFull) })
	b.Run("full/32", func(b *testing.B) { benchmarkLedger(b, 32, sqlite.SynchronousFull) })
}

func BenchmarkAccountByHash(b *testing.B) {
	db := open(b, sqlite.Options{})
	text, _, err := apikey.NewKeys(apikey.Options{Store: db}).Create(context.Background(), apikey.Create{ProjectID: "p"})
	if err != nil {
		b.Fatal(err)
	}
	hash := apikey.HashOf(text)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := db.AccountByHash(context.Background(), hash); err != nil {
			b.Fatal(err)
		}
	}
}
