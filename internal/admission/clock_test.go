package admission

import (
	"context"
	"testing"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// ledger is a Store that has what was released, by the day on which it arrived.
type ledger map[time.Time]int64

func (l ledger) Spent(_ context.Context, _ budget.Owner, period budget.Period, start time.Time) (a budget.Amount, _ error) {
	end, ends := period.End(start)
	for day, tokens := range l {
		if !day.Before(start) && (!ends || day.Before(end)) {
			a.Tokens += tokens
		}
	}
	return a, nil
}

// beginAt is begin for a request that arrives when the machine's clock says so.
func beginAt(a *Admitter, call *gateway.Call, at time.Time) error {
	if err := a.Admit(context.Background(), call); err != nil {
		return err
	}
	call.Reservation.(*reservation).arrived = at
	err := a.Reserve(context.Background(), call)
	if err != nil {
		a.Release(call, gateway.Result{})
	}
	return err
}

// TestTheClockIsSetBack: a service whose clock ran days ahead goes on when it is
// set right, with what the right day had spent, and the wrong one keeps its own.
func TestTheClockIsSetBack(t *testing.T) {
	today := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	store := ledger{budget.Day.Start(today): 500}
	limit := limitOf(budget.Key, "k", budget.Day, budget.Tokens, 4_000)
	a := New(Options{Store: store, Models: priced{}})
	ask := func(at time.Time) error {
		call := requestWith(t, []budget.Limit{limit})
		err := beginAt(a, call, at)
		if err == nil {
			store[budget.Day.Start(at)] += 3_000
			a.Release(call, used(3_000, 0))
		}
		return err
	}
	for days := range 4 {
		at := today.AddDate(0, 0, 9-days) // set back day by day, in the end to one before all others
		if err := ask(at); err != nil {
			t.Errorf("%s: %v", at, err)
		}
		refused(t, ask(at), apierror.BudgetExceeded, false)
	}
	if err := ask(today); err != nil {
		t.Errorf("the clock is right again: %v", err)
	}
	refused(t, ask(today), apierror.BudgetExceeded, false)
	refused(t, ask(today.AddDate(0, 0, 8)), apierror.BudgetExceeded, false) // that day comes later
}

// TestTheClockJumps sets the clock as it likes while requests come and go: no
// day's budget is ever exceeded, and a request is only refused where what was spent
// and what is held leaves too little.
func TestTheClockJumps(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		const hard, days = 8_000, 6
		first := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
		store, held := ledger{}, map[time.Time]int64{}
		a := New(Options{Store: store, Models: priced{}})
		limit := limitOf(budget.Key, "k", budget.Day, budget.Tokens, hard)
		type running struct {
			call *gateway.Call
			day  time.Time
			held int64
		}
		var run []running
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			if len(run) > 0 && rapid.Bool().Draw(rt, "release") {
				i := rapid.IntRange(0, len(run)-1).Draw(rt, "which")
				r := run[i]
				run = append(run[:i], run[i+1:]...)
				tokens := rapid.Int64Range(0, r.held-1).Draw(rt, "tokens")
				store[r.day] += tokens // the ledger has it before it is released
				held[r.day] -= r.held
				a.Release(r.call, used(tokens, 0))
				continue
			}
			at := first.AddDate(0, 0, rapid.IntRange(0, days-1).Draw(rt, "day"))
			day := budget.Day.Start(at)
			call := requestWith(t, []budget.Limit{limit})
			need := input(call) + 1
			err := beginAt(a, call, at)
			fits := store[day]+held[day]+need <= hard
			if (err == nil) != fits {
				rt.Fatalf("%s: %d spent, %d held of %d: %v", day.Format(time.DateOnly), store[day], held[day], hard, err)
			}
			if err != nil {
				continue
			}
			amount := input(call) + call.MaxTokens
			held[day] += amount
			run = append(run, running{call, day, amount})
			if store[day]+held[day] > hard {
				rt.Fatalf("%s: %d spent and %d held of %d", day.Format(time.DateOnly), store[day], held[day], hard)
			}
		}
	})
}
