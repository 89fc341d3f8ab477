package admission

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

func softOf(kind budget.Kind, id string, unit budget.Unit, soft int64) budget.Limit {
	return budget.Limit{Owner: budget.Owner{Kind: kind, ID: id}, Period: budget.Day, Unit: unit, Soft: soft}
}

// crossings is what an Admitter has told.
type crossings []Crossing

func (c *crossings) spent() []int64 {
	spent := []int64{}
	for _, crossing := range *c {
		spent = append(spent, crossing.Spent)
	}
	*c = nil
	return spent
}

// spend walks calls that use so many tokens each.
func spend(t *testing.T, a *Admitter, limits []budget.Limit, tokens ...int64) {
	t.Helper()
	for _, n := range tokens {
		call := requestWith(t, limits)
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		a.Release(call, used(n, 10*n))
	}
}

func TestSoftLimitsAreToldOfOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var told crossings
		var a *Admitter
		a = New(Options{Models: priced{}, Store: nothingSpent{}, Crossed: func(c Crossing) {
			told = append(told, c)
			// It would wait for ever if the lock were held.
			_, _, _ = a.TokensLeft(context.Background(), &gateway.Caller{KeyID: "k", ProjectID: "p", Budgets: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1)}})
		}})
		key, project, dollars := softOf(budget.Key, "k", budget.Tokens, 250), softOf(budget.Project, "p", budget.Tokens, 1000), softOf(budget.Key, "k", budget.USD, 4000)
		limits := []budget.Limit{key, project, dollars}
		spend(t, a, limits, 100, 100)
		if len(told) != 0 {
			t.Errorf("told of %+v before anything was reached", told)
		}
		spend(t, a, limits, 100)
		midnight := time.Now().UTC().Truncate(24 * time.Hour)
		if want := (Crossing{key, "p", midnight, 300}); len(told) != 1 || told[0] != want {
			t.Errorf("told of %+v, want %+v", told, want)
		}
		told = nil
		spend(t, a, limits, 100) // exactly
		if want := (Crossing{dollars, "p", midnight, 4000}); len(told) != 1 || told[0] != want {
			t.Errorf("told of %+v, want %+v", told, want)
		}
		told = nil
		spend(t, a, limits, 600, 1, 1)
		if want := (Crossing{project, "p", midnight, 1000}); len(told) != 1 || told[0] != want {
			t.Errorf("told of %+v, want %+v", told, want)
		}
		told = nil
		time.Sleep(24 * time.Hour)
		spend(t, a, limits, 100, 100, 100, 1)
		if got := told.spent(); !slices.Equal(got, []int64{300}) {
			t.Errorf("the next day told of %v", got)
		}
	})
}

func TestSoftLimitsThatChange(t *testing.T) {
	var told crossings
	a := New(Options{Models: priced{}, Store: nothingSpent{}, Crossed: func(c Crossing) { told = append(told, c) }})
	for _, step := range []struct {
		soft, tokens int64
		want         []int64
	}{
		{1000, 300, []int64{}},
		{0, 1, []int64{}},
		{200, 1, []int64{301}}, // what was spent is above the new limit
		{200, 1, []int64{}},
		{500, 1, []int64{}},
		{500, 300, []int64{604}},
	} {
		spend(t, a, []budget.Limit{softOf(budget.Key, "k", budget.Tokens, step.soft)}, step.tokens)
		if got := told.spent(); !slices.Equal(got, step.want) {
			t.Errorf("%+v: told of %v", step, got)
		}
	}
}

// TestASoftLimitThatWasReachedBefore is a service that was started again: it
// tells at the first request, also one that a hard limit refuses.
func TestASoftLimitThatWasReachedBefore(t *testing.T) {
	for name, hard := range map[string]int64{"admitted": 1 << 40, "refused": 600} {
		var told crossings
		store := &spentBefore{amount: budget.Amount{Tokens: 500}}
		a := New(Options{Models: priced{}, Store: store, Crossed: func(c Crossing) { told = append(told, c) }})
		limit := softOf(budget.Key, "k", budget.Tokens, 500)
		limit.Hard = hard
		call := requestWith(t, []budget.Limit{limit})
		err := begin(a, call)
		if name == "refused" {
			refused(t, err, apierror.BudgetExceeded, false)
		} else if err != nil {
			t.Error(err)
		}
		if got := told.spent(); !slices.Equal(got, []int64{500}) {
			t.Errorf("%s: told of %v before its end", name, got)
		}
		a.Release(call, used(10, 0))
		if len(told) != 0 {
			t.Errorf("%s: told of %+v again", name, told)
		}
	}
}

// settling is a Store that is read while another call settles.
type settling struct {
	settle func()
	amount budget.Amount
}

func (s *settling) Spent(context.Context, budget.Owner, budget.Period, time.Time) (budget.Amount, error) {
	if s.settle != nil {
		s.settle()
		s.settle = nil
	}
	return s.amount, nil
}

// TestWhatSettlesWhileItIsRead isn't counted twice for longer than the calls
// that run.
func TestWhatSettlesWhileItIsRead(t *testing.T) {
	store := &settling{amount: budget.Amount{Tokens: 100}} // the ledger has the other call already
	a := New(Options{Store: store, Models: priced{}})
	other := requestOf(t, "k", 10) // from before there was a budget
	if err := begin(a, other); err != nil {
		t.Fatal(err)
	}
	store.settle = func() { a.Release(other, used(100, 0)) }
	limits := []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 100_000)}
	spend(t, a, limits, 0)
	spend(t, a, limits, 0)
	_, left, err := a.TokensLeft(t.Context(), &gateway.Caller{KeyID: "k", ProjectID: "p", Budgets: limits})
	if err != nil || *left != 99_900 {
		t.Errorf("%d are left, %v, want 99,900", *left, err)
	}
}
