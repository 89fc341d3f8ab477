package usage_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"
	"unicode/utf8"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/usage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store whose commits a test can hold up and make fail.
type memory struct {
	usage.Store // only AppendUsage is called

	gate chan struct{} // when not nil, each commit takes one from it

	mu      sync.Mutex
	batches [][]usage.Row
	sums    []usage.Sum
	fail    map[string]error // by request id: the batch that holds it fails
}

func (m *memory) AppendUsage(ctx context.Context, rows []usage.Row, sums []usage.Sum) error {
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, row := range rows {
		if err := m.fail[row.RequestID]; err != nil {
			return err
		}
	}
	m.batches = append(m.batches, append([]usage.Row(nil), rows...)) // the ledger uses rows again
	m.sums = append(m.sums, sums...)
	return nil
}

func (m *memory) sizes() []int {
	m.mu.Lock()
	defer m.mu.Unlock()
	var sizes []int
	for _, batch := range m.batches {
		sizes = append(sizes, len(batch))
	}
	return sizes
}

func (m *memory) rows() int {
	total := 0
	for _, n := range m.sizes() {
		total += n
	}
	return total
}

func entry(id string) gateway.Entry { return gateway.Entry{RequestID: id} }

func closeLedger(t *testing.T, l *usage.Ledger) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestALoneRowIsCommittedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		l := usage.NewLedger(usage.Options{Store: store})
		before := time.Now()
		for i := range 3 {
			if err := l.Record(t.Context(), entry("lone")); err != nil {
				t.Fatal(err)
			}
			if got := len(store.sizes()); got != i+1 {
				t.Errorf("%d commits after %d records", got, i+1)
			}
		}
		if waited := time.Since(before); waited != 0 {
			t.Errorf("waited %v for company", waited)
		}
		closeLedger(t, l)
	})
}

func TestRowsGatherWhileACommitRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})}
		l := usage.NewLedger(usage.Options{Store: store, Batch: 4})
		var wg sync.WaitGroup
		record := func(id string) {
			wg.Go(func() {
				if err := l.Record(t.Context(), entry(id)); err != nil {
					t.Errorf("%s: %v", id, err)
				}
			})
		}
		record("first")
		synctest.Wait() // its commit has begun
		for i := range 10 {
			record(fmt.Sprint(i))
		}
		synctest.Wait()
		for range 4 {
			store.gate <- struct{}{}
		}
		wg.Wait()
		if got, want := fmt.Sprint(store.sizes()), "[1 4 4 2]"; got != want {
			t.Errorf("batches of %s, want %s", got, want)
		}
		closeLedger(t, l)
	})
}

func TestRecordReturnsOnlyWhenDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})}
		l := usage.NewLedger(usage.Options{Store: store})
		ctx, cancel := context.WithCancel(t.Context())
		cancel() // the caller has left: it must be recorded all the same
		returned := make(chan error, 1)
		go func() { returned <- l.Record(ctx, entry("one")) }()
		synctest.Wait()
		select {
		case err := <-returned:
			t.Fatalf("Record returned before the commit: %v", err)
		default:
		}
		store.gate <- struct{}{}
		if err := <-returned; err != nil || len(store.sizes()) != 1 {
			t.Errorf("Record = %v, commits %v", err, store.sizes())
		}
		closeLedger(t, l)
	})
}

func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})}
		l := usage.NewLedger(usage.Options{Store: store, Backlog: 3})
		var wg sync.WaitGroup
		for i := range 10 {
			wg.Go(func() {
				if err := l.Record(t.Context(), entry(fmt.Sprint(i))); err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for store.rows() < 10 {
			store.gate <- struct{}{}
			synctest.Wait()
		}
		wg.Wait()
		for _, n := range store.sizes() {
			if n > 3 {
				t.Errorf("a batch of %d beyond the backlog of 3", n)
			}
		}
		closeLedger(t, l)
	})
}

func TestAFailedCommitFailsItsBatchOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk full")
		store := &memory{gate: make(chan struct{}), fail: map[string]error{"bad": broken}}
		l := usage.NewLedger(usage.Options{Store: store})
		results := map[string]error{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		record := func(id string) {
			wg.Go(func() {
				err := l.Record(t.Context(), entry(id))
				mu.Lock()
				defer mu.Unlock()
				results[id] = err
			})
			synctest.Wait()
		}
		record("before")
		record("bad")
		record("beside")
		store.gate <- struct{}{}
		synctest.Wait()
		record("after")
		store.gate <- struct{}{}
		store.gate <- struct{}{}
		wg.Wait()
		for id, want := range map[string]error{"before": nil, "bad": broken, "beside": broken, "after": nil} {
			if !errors.Is(results[id], want) {
				t.Errorf("%s: %v, want %v", id, results[id], want)
			}
		}
		closeLedger(t, l)
	})
}

func TestCloseFlushes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})}
		l := usage.NewLedger(usage.Options{Store: store, Backlog: 6})
		var stored, refused int
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 8 { // two wait for room
			wg.Go(func() {
				err := l.Record(t.Context(), entry(fmt.Sprint(i)))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					stored++
				case errors.Is(err, usage.ErrClosed):
					refused++
				default:
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		for range 3 {
			wg.Go(func() { closeLedger(t, l) })
		}
		synctest.Wait()
		close(store.gate)
		wg.Wait()
		if stored != 6 || refused != 2 || store.rows() != 6 {
			t.Errorf("%d stored, %d refused, %d in the store; want 6, 2, 6", stored, refused, store.rows())
		}
		if err := l.Record(t.Context(), entry("late")); !errors.Is(err, usage.ErrClosed) {
			t.Errorf("Record after Close = %v, want ErrClosed", err)
		}
	})
}

func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})} // never lets a commit pass
		l := usage.NewLedger(usage.Options{Store: store, Batch: 1})
		var wg sync.WaitGroup
		for i := range 3 {
			wg.Go(func() {
				if err := l.Record(t.Context(), entry(fmt.Sprint(i))); !errors.Is(err, context.Canceled) {
					t.Errorf("Record = %v, want the cancelled commit's error", err)
				}
			})
		}
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("Close = %v, want its deadline", err)
		}
		wg.Wait()
		closeLedger(t, l) // the committer has ended
	})
}

func TestManyCallers(t *testing.T) {
	store := &memory{}
	l := usage.NewLedger(usage.Options{Store: store, Batch: 8, Backlog: 16})
	var wg sync.WaitGroup
	for w := range 64 {
		wg.Go(func() {
			for n := range 50 {
				if err := l.Record(t.Context(), entry(fmt.Sprintf("%d-%d", w, n))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	closeLedger(t, l)
	seen := map[string]int{}
	for _, batch := range store.batches {
		for _, row := range batch {
			seen[row.RequestID]++
		}
	}
	if len(seen) != 64*50 {
		t.Errorf("%d rows, want %d", len(seen), 64*50)
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s is stored %d times", id, n)
		}
	}
}

func TestNewRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		clock := latency.Start()
		started := time.Now()
		for _, s := range []latency.Stage{latency.Auth, latency.Decode, latency.FirstByte, latency.Generate} {
			time.Sleep(time.Duration(s+1) * time.Millisecond)
			clock.Mark(s)
		}
		cost := int64(42)
		tokens := message.Usage{InputTokens: 1, OutputTokens: 2, CacheReadInputTokens: 3, CacheCreationInputTokens: 4}
		row := usage.NewRow(gateway.Entry{
			RequestID: "id", Time: clock.StartTime(), Endpoint: "/v1/messages", Caller: &gateway.Caller{KeyID: "key_1", ProjectID: "alpha"},
			Backend: "direct", Requested: "haiku", Routed: "routed", Status: 200, Clock: &clock,
			Result: gateway.Result{Summary: message.Summary{Model: "answered", StopReason: "end_turn", Usage: tokens}, CostMicroUSD: &cost},
		})
		want := usage.Row{
			RequestID: "id", Time: started, Endpoint: "/v1/messages", KeyID: "key_1", ProjectID: "alpha", Backend: "direct",
			Requested: "haiku", Routed: "routed", Answered: "answered", Usage: tokens, CostMicroUSD: &cost, StopReason: "end_turn", Status: 200,
			Micros: [latency.Count]int64{1000, 2000, -1, -1, -1, 6000, 7000, -1, 16000},
		}
		if row != want {
			t.Errorf("row is\n%+v, want\n%+v", row, want)
		}
	})
}

func TestNewRowMakesTextsStorable(t *testing.T) {
	row := usage.NewRow(gateway.Entry{
		RequestID: "a\x00b", Requested: strings.Repeat("ü", 10_000), Routed: "bad \xff byte", Category: "bad_request", Status: 404,
		Result: gateway.Result{Summary: message.Summary{Model: "\x1b[2Jclear\r\n\u009b31m"}},
	})
	if row.RequestID != "ab" || row.Routed != "bad ? byte" || row.Category != "bad_request" {
		t.Errorf("row is %+v", row)
	}
	if row.Answered != "[2Jclear31m" {
		t.Errorf("a name that steers a terminal became %q", row.Answered)
	}
	if len(row.Requested) != 256 || !utf8.ValidString(row.Requested) {
		t.Errorf("a long model name became %d bytes", len(row.Requested))
	}
	for stage, us := range row.Micros {
		if us != usage.NotMeasured {
			t.Errorf("stage %d is %d without a clock", stage, us)
		}
	}
}

func FuzzNewRow(f *testing.F) {
	f.Add("claude-haiku-5-5")
	f.Add("\x00\xff" + strings.Repeat("€", 100))
	f.Fuzz(func(t *testing.T, s string) {
		got := usage.NewRow(gateway.Entry{Requested: s}).Requested
		if !utf8.ValidString(got) || strings.ContainsFunc(got, unicode.IsControl) || len(got) > 256 {
			t.Errorf("%q became %q", s, got)
		}
		if utf8.ValidString(s) && !strings.ContainsFunc(s, unicode.IsControl) && len(s) <= 256 && got != s {
			t.Errorf("%q was changed to %q", s, got)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	for _, callers := range []int{1, 32} {
		b.Run(fmt.Sprint(callers), func(b *testing.B) {
			l := usage.NewLedger(usage.Options{Store: discard{}})
			defer func() {
				if err := l.Close(context.Background()); err != nil {
					b.Error(err)
				}
			}()
			b.SetParallelism(callers)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					if err := l.Record(context.Background(), entry("id")); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

type discard struct{ usage.Store }

func (discard) AppendUsage(context.Context, []usage.Row, []usage.Sum) error { return nil }

// What a commit's rows have spent is added up by owner and period, in the
// project's own calendar.
func TestSpendsGoWithTheirRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{}, 10)}
		l := usage.NewLedger(usage.Options{Store: store})
		tokyo := time.FixedZone("JST", 9*3600)
		record := func(key string, at time.Time, tokens, micros int64) {
			t.Helper()
			e := gateway.Entry{Time: at, Requested: "m", Caller: &gateway.Caller{KeyID: key, ProjectID: "p", Location: tokyo}}
			e.Result.Usage.OutputTokens = tokens
			if micros > 0 {
				e.Result.CostMicroUSD = &micros
			} else if tokens > 0 {
				e.Charged.MicroUSD = 7
			}
			go func() {
				if err := l.Record(t.Context(), e); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
		}
		evening := time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC) // the second of March in Tokyo, a Monday
		record("a", evening, 1, 10)
		record("a", evening, 2, 20)
		record("b", evening, 4, 0)
		record("a", evening.Add(-10*time.Hour), 8, 80)
		record("a", evening, 0, 0)
		for range 5 {
			store.gate <- struct{}{}
		}
		// What a request consists of isn't a request.
		for range 2 {
			go func() {
				e := gateway.Entry{Time: evening, Requested: "m", Caller: &gateway.Caller{KeyID: "d", ProjectID: "p", Location: tokyo}, Part: true}
				e.Result.Usage.OutputTokens, e.Result.CostMicroUSD = 3, new(int64(4))
				if err := l.Record(t.Context(), e); err != nil {
					t.Error(err)
				}
			}()
			synctest.Wait()
			store.gate <- struct{}{}
		}
		// Budgets are charged in memory for what has a usage without tokens.
		go func() {
			e := gateway.Entry{Time: evening, Requested: "m", Caller: &gateway.Caller{KeyID: "c", ProjectID: "p", Location: tokyo}, Charged: budget.Amount{MicroUSD: 7}}
			if err := l.Record(t.Context(), e); err != nil {
				t.Error(err)
			}
		}()
		synctest.Wait()
		store.gate <- struct{}{}
		closeLedger(t, l)
		type sum struct{ requests, tokens, micros, unpriced, charged int64 }
		got := map[string]sum{}
		for _, s := range store.sums {
			name := fmt.Sprintf("%s %s %s %s", s.Day.In(tokyo).Format("01-02 15:04"), s.ProjectID, s.KeyID, s.Model)
			before := got[name]
			got[name] = sum{before.requests + s.Requests, before.tokens + s.Usage.Total(), before.micros + s.CostMicroUSD, before.unpriced + s.Unpriced, before.charged + s.Charged.MicroUSD}
		}
		want := map[string]sum{
			"03-02 00:00 p a m": {2, 3, 30, 0, 0},
			"03-02 00:00 p b m": {1, 4, 0, 1, 7},
			"03-02 00:00 p c m": {1, 0, 0, 1, 7},
			"03-02 00:00 p d m": {0, 6, 8, 0, 0},
			"03-01 00:00 p a m": {1, 8, 80, 0, 0},
		}
		if !maps.Equal(got, want) {
			t.Errorf("the sums are %v, want %v", got, want)
		}
	})
}
