package admission

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/postgres/pgtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(pgtest.Main(m)) }

func callOf(key string, limit int) *gateway.Call {
	return &gateway.Call{Caller: &gateway.Caller{KeyID: key, Key: gateway.RateLimits{RequestsPerMinute: limit}}}
}

// admit asks once; retry is 0 when the request is admitted.
func admit(t testing.TB, l *Admitter, key string, limit int) (limits gateway.Limits, retry time.Duration) {
	t.Helper()
	call := callOf(key, limit)
	err := l.Admit(context.Background(), call)
	if err == nil {
		l.Release(call, gateway.Result{})
		return call.Limits, 0
	}
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.RateLimited || e.Status() != 429 || e.RetryAfter <= 0 {
		t.Fatalf("refusal is %v", err)
	}
	return call.Limits, e.RetryAfter
}

func TestWholeMinuteAtOnceThenOneAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{})
		const limit = 4 // one each 15 s
		for i := range limit {
			got, retry := admit(t, l, "k", limit)
			want := gateway.Limits{RequestsLimit: 4, RequestsRemaining: 3 - i, RequestsReset: time.Duration(i+1) * 15 * time.Second}
			if retry != 0 || got != want {
				t.Fatalf("request %d: %+v, retry %v; want %+v admitted", i, got, retry, want)
			}
		}
		time.Sleep(5 * time.Second)
		got, retry := admit(t, l, "k", limit)
		if want := (gateway.Limits{RequestsLimit: 4, RequestsReset: 55 * time.Second}); retry != 10*time.Second || got != want {
			t.Fatalf("the fifth: %+v, retry %v; want %+v, retry 10s", got, retry, want)
		}
		time.Sleep(retry - time.Nanosecond)
		if _, retry = admit(t, l, "k", limit); retry != time.Nanosecond {
			t.Errorf("a nanosecond early: retry %v", retry)
		}
		time.Sleep(retry)
		if _, retry = admit(t, l, "k", limit); retry != 0 {
			t.Errorf("at the promised time: retry %v", retry)
		}
		if _, retry = admit(t, l, "k", limit); retry != 15*time.Second {
			t.Errorf("and one more: retry %v, want 15s", retry)
		}
		time.Sleep(time.Hour)
		if got, _ := admit(t, l, "k", limit); got.RequestsRemaining != 3 {
			t.Errorf("after an idle hour %d remain, want 3: a limit isn't saved up", got.RequestsRemaining)
		}
	})
}

func TestKeysAreApartAndNoLimitIsNone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{})
		admit(t, l, "a", 1)
		if _, retry := admit(t, l, "a", 1); retry != time.Minute {
			t.Errorf("a again: retry %v, want a minute", retry)
		}
		if _, retry := admit(t, l, "b", 1); retry != 0 {
			t.Errorf("b pays for a: retry %v", retry)
		}
		for range 1000 {
			if got, retry := admit(t, l, "c", 0); retry != 0 || got != (gateway.Limits{}) {
				t.Fatalf("no limit: %+v, retry %v", got, retry)
			}
		}
	})
}

func TestALimitThatChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{})
		for range 100 {
			admit(t, l, "k", 100)
		}
		got, retry := admit(t, l, "k", 2)
		if got.RequestsLimit != 2 || got.RequestsRemaining != 0 || retry != 30*time.Second {
			t.Errorf("lowered: %+v, retry %v", got, retry)
		}
	})
}

func TestHugeLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{})
		for _, limit := range []int{7, 59_999, 1_000_000, 1 << 40} {
			if got, retry := admit(t, l, fmt.Sprint(limit), limit); retry != 0 || got.RequestsRemaining != limit-1 {
				t.Errorf("limit %d: %+v, retry %v", limit, got, retry)
			}
		}
	})
}

func TestExactUnderConcurrency(t *testing.T) {
	for _, limit := range []int{1, 10, 63} {
		synctest.Test(t, func(t *testing.T) { // time stands still
			l := New(Options{})
			var admitted atomic.Int64
			remaining := make([]atomic.Int64, limit)
			start := make(chan struct{})
			var wg sync.WaitGroup
			for range 64 {
				wg.Go(func() {
					<-start
					call := callOf("k", limit)
					if l.Admit(context.Background(), call) == nil {
						admitted.Add(1)
						remaining[call.Limits.RequestsRemaining].Add(1)
					}
				})
			}
			close(start)
			wg.Wait()
			if admitted.Load() != int64(limit) {
				t.Errorf("64 at once over a limit of %d: %d admitted", limit, admitted.Load())
			}
			for n := range remaining {
				if remaining[n].Load() != 1 {
					t.Errorf("%d callers were told that %d remain", remaining[n].Load(), n)
				}
			}
		})
	}
}

// Whatever the rhythm, no stretch of time t admits more than limit + t × limit
// a minute, and every RetryAfter is kept to the nanosecond.
func TestRateHoldsForAnyRhythm(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		limit := rapid.IntRange(1, 200).Draw(r, "limit")
		pauses := rapid.SliceOfN(rapid.Int64Range(0, int64(2*time.Second)), 1, 300).Draw(r, "pauses")
		synctest.Test(t, func(t *testing.T) {
			l := New(Options{})
			begin, admitted := time.Now(), 0
			each := time.Minute / time.Duration(limit)
			var promised time.Time
			for _, pause := range pauses {
				time.Sleep(time.Duration(pause))
				_, retry := admit(t, l, "k", limit)
				now := time.Now()
				if retry == 0 {
					admitted++
					if now.Before(promised) {
						t.Errorf("admitted %v before the promised time", promised.Sub(now))
					}
					promised = time.Time{}
				} else {
					if !promised.IsZero() && !promised.Equal(now.Add(retry)) {
						t.Errorf("the promise moved by %v", now.Add(retry).Sub(promised))
					}
					promised = now.Add(retry)
				}
				if most := limit + int(now.Sub(begin)/each); admitted > most {
					t.Fatalf("%d admitted in %v, at most %d may be", admitted, now.Sub(begin), most)
				}
			}
		})
	})
}

func TestIdleKeysAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := New(Options{})
		size := func() int {
			n := 0
			for i := range l.shards {
				n += len(l.shards[i].accounts)
			}
			return n
		}
		key := 0
		for range 20 { // each round lasts longer than a key is remembered
			for range 10_000 {
				admit(t, l, fmt.Sprint("key_", key), 100)
				key++
			}
			time.Sleep(12 * time.Minute)
		}
		if n := size(); n > 2*10_000+shardCount*sweepFloor {
			t.Errorf("%d of %d keys are kept, though 10,000 at most were busy at once", n, key)
		}
		// A busy key isn't forgotten with the idle ones.
		for range 100 {
			admit(t, l, "busy", 100)
		}
		for range 100_000 {
			admit(t, l, fmt.Sprint("key_", key), 100)
			key++
		}
		if _, retry := admit(t, l, "busy", 100); retry == 0 {
			t.Error("a used up key was forgotten")
		}
	})
}

func TestAdmissionAllocatesLittle(t *testing.T) {
	a, call := New(Options{}), callOf("k", 1_000_000)
	n := testing.AllocsPerRun(1000, func() {
		if a.Admit(context.Background(), call) == nil {
			a.Release(call, gateway.Result{})
		}
	})
	if n > 1 {
		t.Errorf("%v allocations", n)
	}
	a, call = New(Options{Store: nothingSpent{}, Models: priced{}}), requestOf(t, "k", 100)
	call.Caller.Key = gateway.RateLimits{TokensPerMinute: 1 << 40}
	call.Caller.Budgets = []budget.Limit{
		limitOf(budget.Key, "k", budget.Month, budget.Tokens, 1<<50), limitOf(budget.Project, "p", budget.Day, budget.USD, 1<<50),
	}
	n = testing.AllocsPerRun(1000, func() {
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		a.Release(call, gateway.Result{})
	})
	if n > 1 {
		t.Errorf("%v allocations with budgets", n)
	}
}

func BenchmarkAdmission(b *testing.B) {
	for _, budgets := range []bool{false, true} {
		b.Run(fmt.Sprintf("budgets %t", budgets), func(b *testing.B) {
			a := New(Options{Store: nothingSpent{}, Models: priced{}})
			var n atomic.Int64
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				call := requestOf(b, fmt.Sprint("key_", n.Add(1)), 100)
				call.Caller.Key = gateway.RateLimits{RequestsPerMinute: 1 << 40, TokensPerMinute: 1 << 40, ConcurrentRequests: 1 << 20}
				if budgets {
					call.Caller.Budgets = []budget.Limit{
						limitOf(budget.Key, call.Caller.KeyID, budget.Month, budget.Tokens, 1<<50), limitOf(budget.Project, "p", budget.Day, budget.USD, 1<<50),
					}
				}
				for pb.Next() {
					if err := a.Admit(context.Background(), call); err != nil {
						b.Fatal(err)
					}
					if err := a.Reserve(context.Background(), call); err != nil {
						b.Fatal(err)
					}
					a.Release(call, gateway.Result{})
				}
			})
		})
	}
}
