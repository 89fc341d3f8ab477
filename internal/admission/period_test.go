package admission

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

func TestAStoreIsAskedOnce(t *testing.T) {
	store := &spentBefore{err: errors.New("disk full")}
	a := New(Options{Store: store, Models: priced{}})
	limits := []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1<<40), limitOf(budget.Key, "k", budget.Month, budget.Tokens, 1<<40)}
	refused(t, begin(a, requestWith(t, limits)), apierror.Overloaded, true)
	store.err, store.asked = nil, 0
	for range 5 {
		call := requestWith(t, limits)
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		a.Release(call, used(1, 1))
	}
	if store.asked != 2 {
		t.Errorf("the store was asked %d times, want once a period", store.asked)
	}
}

func TestPeriodsEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Models: priced{}, Store: nothingSpent{}})
		limits := []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 2000)}
		call := requestWith(t, limits)
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		time.Sleep(24 * time.Hour)
		// A new day: what the call of yesterday holds and spends isn't today's.
		today := requestWith(t, limits)
		if err := begin(a, today); err != nil {
			t.Fatal(err)
		}
		a.Release(today, used(100, 0))
		a.Release(call, used(1900, 0))
		next := requestWith(t, limits)
		if err := begin(a, next); err != nil || next.MaxTokens != 2000-100-input(next) {
			t.Errorf("max_tokens = %d, %v", next.MaxTokens, err)
		}
	})
}

// TestRequestsThatArriveBeforeAPeriodsEnd: their bodies may take until after it, and
// others may have asked meanwhile. They are of the period in which they arrived, and
// its limit holds for all of them together.
func TestRequestsThatArriveBeforeAPeriodsEnd(t *testing.T) {
	for name, before := range map[string]int{"a new service": 0, "the day before": 1, "days ago": 3} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := ledger{}
				a := New(Options{Store: store, Models: priced{}})
				limits := []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 3000)}
				if before > 0 {
					call := requestWith(t, limits)
					if err := begin(a, call); err != nil {
						t.Fatal(err)
					}
					a.Release(call, used(1, 0))
					time.Sleep(time.Duration(before) * 24 * time.Hour)
				}
				time.Sleep(24*time.Hour - time.Second)
				var late []*gateway.Call
				for range 3 {
					late = append(late, requestWith(t, limits))
				}
				time.Sleep(2 * time.Second)
				next := requestWith(t, limits)
				if err := begin(a, next); err != nil {
					t.Fatal(err)
				}
				if err := begin(a, late[0]); err != nil {
					t.Fatal(err)
				}
				refused(t, begin(a, late[1]), apierror.BudgetExceeded, true)
				a.Release(late[0], used(2500, 0))
				refused(t, begin(a, late[1]), apierror.BudgetExceeded, false)
				a.Release(next, used(0, 0))
				// Of one that comes days late the ledger knows what was spent beside it.
				store[budget.Day.Start(late[2].Clock.StartTime().UTC())] = 2500
				time.Sleep(48 * time.Hour)
				if err := begin(a, requestWith(t, limits)); err != nil {
					t.Fatal(err)
				}
				refused(t, begin(a, late[2]), apierror.BudgetExceeded, false)
			})
		})
	}
}
