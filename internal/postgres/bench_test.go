package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// share does b.N pieces of work among callers.
func share(b *testing.B, callers int, do func() error) {
	var left atomic.Int64
	left.Store(int64(b.N))
	done := make(chan error, callers)
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		go func() {
			for left.Add(-1) >= 0 {
				if err := do(); err != nil {
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

// benchmarkLedger records from callers spread over nodes.
func benchmarkLedger(b *testing.B, address string, nodes, callers int) {
	var ledgers []*usage.Ledger
	for range nodes {
		ledgers = append(ledgers, usage.NewLedger(usage.Options{Store: openURL(b, address)}))
	}
	clock := latency.Start()
	clock.Mark(latency.Auth)
	clock.Mark(latency.Generate)
	cost := int64(1234)
	entry := gateway.Entry{
		RequestID: "0123456789abcdef0123456789abcdef", Time: time.Now(), Endpoint: "/v1/chat/completions", Backend: "direct",
		Caller:    &gateway.Caller{KeyID: "key_0123456789abcdef", ProjectID: "project"},
		Requested: "haiku", Routed: "claude-haiku-5-5", Status: 200, Clock: &clock,
		Result: gateway.Result{CostMicroUSD: &cost, Summary: message.Summary{Usage: message.Usage{InputTokens: 10, OutputTokens: 20}}},
	}
	var next atomic.Int64
	share(b, callers, func() error {
		return ledgers[int(next.Add(1))%nodes].Record(context.Background(), entry)
	})
	b.StopTimer()
	for _, ledger := range ledgers {
		if err := ledger.Close(context.Background()); err != nil {
			b.Error(err)
		}
	}
}

// BenchmarkLedger writes to the disk as an operator's server does, unless its name
// says "nosync".
func BenchmarkLedger(b *testing.B) {
	synced := pgtest.Start(b)
	for _, callers := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("fsync/%d", callers), func(b *testing.B) { benchmarkLedger(b, synced.Database(b), 1, callers) })
		b.Run(fmt.Sprintf("nosync/%d", callers), func(b *testing.B) { benchmarkLedger(b, pgtest.Database(b), 1, callers) })
	}
	b.Run("fsync/2nodes/32", func(b *testing.B) { benchmarkLedger(b, synced.Database(b), 2, 32) })
}

func BenchmarkAccountByHash(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			db := open(b)
			text, _, err := apikey.NewKeys(apikey.Options{Store: db}).Create(context.Background(), apikey.Create{ProjectID: "p"})
			if err != nil {
				b.Fatal(err)
			}
			hash := apikey.HashOf(text)
			share(b, callers, func() error {
				_, err := db.AccountByHash(context.Background(), hash)
				return err
			})
		})
	}
}

func BenchmarkKeysVersion(b *testing.B) {
	db := open(b)
	share(b, 1, func() error {
		_, err := db.KeysVersion(context.Background())
		return err
	})
}

// BenchmarkPutDocument stores what a caller waits for on /v1/responses.
func BenchmarkPutDocument(b *testing.B) {
	synced := pgtest.Start(b)
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			db := openURL(b, synced.Database(b))
			body := make([]byte, 8<<10)
			var next atomic.Int64
			share(b, callers, func() error {
				id := fmt.Sprint(next.Add(1))
				return db.PutDocument(context.Background(), archive.Document{Kind: "response", KeyID: "k", ID: id, Body: body, Created: then, Expires: then})
			})
		})
	}
}

func BenchmarkOpen(b *testing.B) {
	address := pgtest.Database(b)
	openURL(b, address) // makes the tables
	for b.Loop() {
		db, err := postgres.Open(context.Background(), postgres.Options{URL: address})
		if err != nil {
			b.Fatal(err)
		}
		if err := db.Close(); err != nil {
			b.Error(err)
		}
	}
}

// counted counts the exchanges of a node.
type counted struct {
	admission.Shares
	exchanges *atomic.Int64
}

func (c counted) Exchange(ctx context.Context, node string, turn int64, asks []admission.Ask) ([]admission.Answer, int, error) {
	c.exchanges.Add(1)
	return c.Shares.Exchange(ctx, node, turn, asks)
}

// BenchmarkSharedLimits admits a thousand requests a second, of twenty keys of one project
// with limits and budgets of all kinds, and tells what a request waits for its admission and
// how many exchanges there are for one. A request lasts 50 ms.
func BenchmarkSharedLimits(b *testing.B) {
	for _, nodes := range []int{1, 3} {
		b.Run(fmt.Sprintf("%dnodes", nodes), func(b *testing.B) {
			address := pgtest.Database(b)
			var exchanges atomic.Int64
			var all []*limiter
			for range nodes {
				all = append(all, newLimiterWith(b, address, func(s admission.Shares) admission.Shares { return counted{s, &exchanges} }))
			}
			callers := make([]*gateway.Caller, 20)
			for i := range callers {
				id := fmt.Sprint("key_", i)
				limits := gateway.RateLimits{RequestsPerMinute: 20_000, TokensPerMinute: 100_000_000, ConcurrentRequests: 200}
				callers[i] = &gateway.Caller{KeyID: id, ProjectID: "p", Key: limits, Project: gateway.RateLimits{RequestsPerMinute: 400_000}, Budgets: []budget.Limit{
					{Owner: budget.Owner{Kind: budget.Key, ID: id}, Period: budget.Month, Unit: budget.Tokens, Hard: 1_000_000_000},
					{Owner: budget.Owner{Kind: budget.Project, ID: "p"}, Period: budget.Day, Unit: budget.USD, Hard: 100_000_000_000},
				}}
			}
			took := make([]time.Duration, b.N)
			var wg sync.WaitGroup
			b.ResetTimer()
			tick := time.NewTicker(time.Millisecond)
			defer tick.Stop()
			for i := range b.N {
				<-tick.C
				wg.Go(func() {
					n := all[i%nodes]
					began := time.Now()
					call, err := n.begin(callers[i%len(callers)])
					took[i] = time.Since(began)
					if err != nil {
						b.Error(err)
						return
					}
					<-time.After(50 * time.Millisecond)
					n.end(call, 10)
				})
			}
			wg.Wait()
			b.StopTimer()
			slices.Sort(took)
			b.ReportMetric(float64(exchanges.Load())/float64(b.N), "exchanges/op")
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "p50-µs")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "p99-µs")
		})
	}
}

// BenchmarkExchange has one node ask for many resources at once, or for one of which a
// thousand other nodes have something.
func BenchmarkExchange(b *testing.B) {
	synced := pgtest.Start(b)
	for _, test := range []struct {
		name          string
		address       string
		asks, holders int
	}{
		{"nosync/1", pgtest.Database(b), 1, 0}, {"nosync/64", pgtest.Database(b), 64, 0}, {"nosync/1000nodes", pgtest.Database(b), 1, 1000},
		{"fsync/1", synced.Database(b), 1, 0}, {"fsync/64", synced.Database(b), 64, 0},
	} {
		b.Run(test.name, func(b *testing.B) {
			db, raw := openURL(b, test.address), connect(b, test.address)
			if err := errors.Join(db.LeaveNode(context.Background(), "one"), db.JoinNode(context.Background(), "one", time.Hour)); err != nil {
				b.Fatal(err)
			}
			execute(b, raw, `INSERT INTO nodes SELECT 'other' || n, now(), now() + interval '1 hour' FROM generate_series(1, $1) n ON CONFLICT DO NOTHING`, test.holders)
			execute(b, raw, `INSERT INTO share_leases SELECT 'other' || n, 'key', '0', 'requests', '-infinity', 'infinity', '', 1, 10, 10, 0, 0, 0
				FROM generate_series(1, $1) n ON CONFLICT DO NOTHING`, test.holders)
			execute(b, raw, `ANALYZE`)
			shares := db.Shares(func() string { return "one" })
			asks := make([]admission.Ask, test.asks)
			for i := range asks {
				asks[i] = admission.Ask{Owner: budget.Owner{Kind: budget.Key, ID: fmt.Sprint(i)}, Resource: "requests", Limit: 1 << 30, Want: 1, Like: 1}
			}
			turn := time.Now().UnixNano() // later than what a former run of this benchmark has written
			for b.Loop() {
				turn++
				if _, _, err := shares.Exchange(context.Background(), "one", turn, asks); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
