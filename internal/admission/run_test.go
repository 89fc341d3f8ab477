package admission

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// noRuns is a Store that must not be asked for what a run has spent.
type noRuns struct{ t *testing.T }

func (n noRuns) Spent(_ context.Context, owner budget.Owner, _ budget.Period, _ time.Time) (budget.Amount, error) {
	if owner.Kind == budget.Run {
		n.t.Errorf("the store is asked for %v", owner)
	}
	return budget.Amount{}, nil
}

func runLimits(id string, micros int64) []budget.Limit {
	return []budget.Limit{
		limitOf(budget.Key, "k", budget.Month, budget.USD, 1<<40),
		limitOf(budget.Run, id, budget.Total, budget.USD, micros),
		{Owner: budget.Owner{Kind: budget.Run, ID: id}, Period: budget.Total, Unit: budget.Tokens, Hard: 1 << 40},
	}
}

func TestARunHasABudgetOfItsOwn(t *testing.T) {
	a := New(Options{Store: noRuns{t}, Models: priced{}})
	in := input(requestOf(t, "k", 1000))
	limits := runLimits("one", in+1100*5)
	first := requestWith(t, limits)
	if err := begin(a, first); err != nil || first.MaxTokens != 1000 || first.Held.MicroUSD != in+1000*5 {
		t.Fatalf("max_tokens %d, held %+v, %v", first.MaxTokens, first.Held, err)
	}
	refused(t, begin(a, requestWith(t, limits)), apierror.BudgetExceeded, true) // the rest is held
	if err := begin(a, requestWith(t, runLimits("other", in+5))); err != nil {
		t.Errorf("another run: %v", err)
	}
	a.Release(first, used(100, 100*5))
	second := requestWith(t, limits)
	if err := begin(a, second); err != nil || second.MaxTokens != 1000 {
		t.Errorf("max_tokens %d, %v", second.MaxTokens, err)
	}
	a.Release(second, used(100, 1000*5+in-4))
	err := begin(a, requestWith(t, limits))
	refused(t, err, apierror.BudgetExceeded, false)
	if e := apierror.From(err); e == nil || e.Message[:len("the run's budget")] != "the run's budget" {
		t.Errorf("err = %v", err)
	}
	for i, want := range []budget.Amount{{Tokens: 200, MicroUSD: 1100*5 + in - 4}, {Tokens: 200, MicroUSD: 1100*5 + in - 4}} {
		if got := spentOf(a, first, limits[i]); got != want {
			t.Errorf("%s has spent %+v, want %+v", limits[i].Owner.Kind, got, want)
		}
	}
}

// TestARunIsRememberedWhileItWaits lets a run wait for longer than keys are
// remembered, and forgets it when it is long over.
func TestARunIsRememberedWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Store: noRuns{t}, Models: priced{}})
		in := input(requestOf(t, "k", 1000))
		limits := runLimits("one", in+5)
		crowd := func() {
			for i := range 2 * sweepFloor {
				call := requestWith(t, runLimits(fmt.Sprint("crowd", i), 1<<40))
				if err := begin(a, call); err != nil {
					t.Fatal(err)
				}
				a.Release(call, gateway.Result{})
			}
		}
		size := func() int {
			s := a.shard(requestWith(t, nil).Caller)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.sweepAt = 0
			s.sweep(a.now())
			return len(s.accounts)
		}
		call := requestWith(t, limits)
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * forgetRunAfter) // it runs
		crowd()
		size()
		a.Release(call, used(1, in+5))
		time.Sleep(10 * forgetAfter)
		crowd()
		size()
		refused(t, begin(a, requestWith(t, limits)), apierror.BudgetExceeded, false)
		time.Sleep(forgetRunAfter + time.Minute)
		if n := size(); n != 0 {
			t.Errorf("%d accounts are left", n)
		}
	})
}

// TestARunIsNeverPassed lets many calls of one run come at once.
func TestARunIsNeverPassed(t *testing.T) {
	a := New(Options{Store: noRuns{t}, Models: priced{}})
	limits := runLimits("one", 400_000)
	var mu sync.Mutex
	var total int64
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			for range 50 {
				call := requestWith(t, limits)
				if begin(a, call) != nil {
					continue
				}
				micros := input(call) + 5*call.MaxTokens
				mu.Lock()
				if total += micros; total > 400_000 {
					t.Errorf("%d were spent", total)
				}
				mu.Unlock()
				a.Release(call, used(call.MaxTokens, micros))
			}
		})
	}
	wg.Wait()
	if total < 399_000-1_100 {
		t.Errorf("only %d were spent", total)
	}
}
