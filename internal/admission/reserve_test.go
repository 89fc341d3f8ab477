package admission

import (
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

func TestABudgetIsHeldAndGivenBack(t *testing.T) {
	a := New(Options{Store: nothingSpent{}, Models: priced{}})
	first, second := requestOf(t, "k", 1000), requestOf(t, "k", 1000)
	limits := []budget.Limit{limitOf(budget.Key, "k", budget.Total, budget.Tokens, input(first)+1500)}
	first.Caller.Budgets, second.Caller.Budgets = limits, limits
	if err := begin(a, first); err != nil {
		t.Fatal(err)
	}
	if first.MaxTokens != 1000 {
		t.Errorf("max_tokens = %d", first.MaxTokens)
	}
	refused(t, begin(a, second), apierror.BudgetExceeded, true) // the rest is held
	a.Release(first, used(20, 0))
	// What was held comes back, and the next one gets what is left.
	if err := begin(a, second); err != nil || second.MaxTokens != 1000 {
		t.Errorf("max_tokens = %d, %v", second.MaxTokens, err)
	}
	a.Release(second, used(1000, 0))
	third := requestOf(t, "k", 1000)
	third.Caller.Budgets = limits
	if err := begin(a, third); err != nil || third.MaxTokens != 480 {
		t.Errorf("max_tokens = %d, %v, want what is left", third.MaxTokens, err)
	}
	a.Release(third, used(480, 0))
	refused(t, begin(a, requestWith(t, limits)), apierror.BudgetExceeded, false)
}

func TestWhatABudgetAllows(t *testing.T) {
	plain := requestOf(t, "k", 1000)
	in := input(plain)
	tests := []struct {
		name      string
		limits    []budget.Limit
		spent     budget.Amount
		change    func(*gateway.Call)
		maxTokens int64 // 0: refused
		category  apierror.Category
	}{
		{name: "none", maxTokens: 0, category: ""},
		{name: "ample", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1_000_000)}, maxTokens: 1000},
		{name: "the last token", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, in+1)}, maxTokens: 1},
		{name: "no token", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, in)}, category: apierror.BudgetExceeded},
		{name: "what was spent before", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, in+100)}, spent: budget.Amount{Tokens: 40}, maxTokens: 60},
		{name: "dollars", limits: []budget.Limit{limitOf(budget.Project, "p", budget.Month, budget.USD, in+50*5)}, maxTokens: 50},
		{name: "the tighter one", limits: []budget.Limit{
			limitOf(budget.Key, "k", budget.Day, budget.Tokens, in+700), limitOf(budget.Project, "p", budget.Month, budget.USD, in+300*5),
		}, maxTokens: 300},
		{name: "a project's", limits: []budget.Limit{limitOf(budget.Project, "p", budget.Week, budget.Tokens, in)}, category: apierror.BudgetExceeded},
		{name: "only told about", limits: []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "k"}, Period: budget.Day, Unit: budget.Tokens, Soft: 1}}},
		{name: "a price that isn't known", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.USD, 1<<40)}, change: func(c *gateway.Call) { c.Model = "other" }, category: apierror.Permission},
		{name: "a token doesn't need a price", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1<<40)}, change: func(c *gateway.Call) { c.Model = "other" }, maxTokens: 1000},
		{name: "the CLI's own words", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, in+addedByCLI+9)}, change: func(c *gateway.Call) { c.Backend = gateway.BackendCLI }, maxTokens: 9},
		{name: "a count", limits: []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1)}, change: func(c *gateway.Call) { c.CountOnly = true }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := New(Options{Store: &spentBefore{amount: test.spent}, Models: priced{}})
			call := requestWith(t, test.limits)
			if test.change != nil {
				test.change(call)
			}
			err := begin(a, call)
			if test.category != "" {
				refused(t, err, test.category, false)
				return
			}
			if err != nil || call.MaxTokens != test.maxTokens {
				t.Errorf("max_tokens = %d, %v, want %d", call.MaxTokens, err, test.maxTokens)
			}
			call.Strict = true
			if lowered := call.MaxTokens > 0 && call.MaxTokens < 1000; (len(call.Warnings) == 1) != lowered || call.Honoured() != nil {
				t.Errorf("warnings = %q", call.Warnings)
			}
		})
	}
}

func TestARefusalSaysWhatIsLeftAndWhatTheRequestMayUse(t *testing.T) {
	in := input(requestOf(t, "k", 1000))
	least := strconv.FormatInt(in+1, 10) // a token of the answer, too
	for want, limit := range map[string]budget.Limit{
		"the key's budget of 7 tokens per day leaves too little for this request: 4 tokens of it are left, and the request may use " + least + " tokens":                                limitOf(budget.Key, "k", budget.Day, budget.Tokens, 7),
		"the project's budget of 2 tokens in total leaves too little for this request: 0 tokens of it are left, and the request may use " + least + " tokens":                           limitOf(budget.Project, "p", budget.Total, budget.Tokens, 2),
		"the key's budget of 0.0005 USD per month leaves too little for this request: 0.000497 USD of it are left, and the request may use 0.00" + strconv.FormatInt(in+5, 10) + " USD": limitOf(budget.Key, "k", budget.Month, budget.USD, 500),
	} {
		a := New(Options{Store: &spentBefore{amount: budget.Amount{Tokens: 3, MicroUSD: 3}}, Models: priced{}})
		err := begin(a, requestWith(t, []budget.Limit{limit}))
		if e := apierror.From(err); e == nil || e.Message != want {
			t.Errorf("%v, want\n%s", err, want)
		}
	}
}

// However many callers there are at once, and whatever they spend, no budget is
// passed, and when all are gone nothing is held and all that was spent counts.
func TestBudgetsAreNeverPassed(t *testing.T) {
	const callers, each = 64, 200
	a := New(Options{Store: nothingSpent{}, Models: priced{}})
	tokens := limitOf(budget.Key, "k", budget.Month, budget.Tokens, 2_000_000)
	dollars := limitOf(budget.Project, "p", budget.Total, budget.USD, 6_000_000)
	var mu sync.Mutex
	var total budget.Amount
	var wg sync.WaitGroup
	admitted := 0
	for caller := range callers {
		wg.Go(func() {
			random := rand.New(rand.NewPCG(uint64(caller), 1))
			for range each {
				call := requestWith(t, []budget.Limit{tokens, dollars})
				if err := begin(a, call); err != nil {
					continue
				}
				// A request uses at most what was reserved for it.
				output := random.Int64N(call.MaxTokens + 1)
				read := random.Int64N(input(call) + 1)
				result := used(output, read+5*output)
				result.Usage.InputTokens = read
				mu.Lock()
				total = total.Add(budget.Amount{Tokens: read + output, MicroUSD: read + 5*output})
				admitted++
				if total.Tokens > tokens.Hard || total.MicroUSD > dollars.Hard {
					t.Errorf("%+v was spent", total)
				}
				mu.Unlock()
				a.Release(call, result)
			}
		})
	}
	wg.Wait()
	if admitted < 500 || admitted == callers*each {
		t.Errorf("%d of %d requests were admitted: the budgets weren't put to the test", admitted, callers*each)
	}
	for i := range a.shards {
		for owner, account := range a.shards[i].accounts {
			for period, w := range account.periods {
				if now := w.kept[0]; now.held != (budget.Amount{}) || now.spent != total || account.running != 0 {
					t.Errorf("%v, %s: held %+v, spent %+v of %+v, running %d", owner, period, now.held, now.spent, total, account.running)
				}
			}
		}
	}
}

// TestACountTakesThePlaceOfBytes, with a margin, but not of what may come in beside the
// request.
func TestACountTakesThePlaceOfBytes(t *testing.T) {
	a := New(Options{Store: &spentBefore{}, Models: priced{}})
	limits := []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1<<40)}
	held := func(counted int64, search string) int64 {
		t.Helper()
		call := requestWith(t, limits)
		body := `{"model":"m","max_tokens":10,` + search + `"system":"` + strings.Repeat("word ", 4_000) + `","messages":[{"role":"user","content":"hello"}]}`
		var err error
		if call.Request, err = message.ParseRequest([]byte(body)); err != nil {
			t.Fatal(err)
		}
		call.InputTokens = counted
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		defer a.Release(call, gateway.Result{})
		return call.Held.Tokens
	}
	const search = `"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":1}],`
	if got := held(5_000, ""); got != 5_000+250+addedByAPI+10 {
		t.Errorf("counted: %d are held", got)
	}
	if got, bytes := held(50_000, ""), held(0, ""); got != bytes || got < 20_000 {
		t.Errorf("counted as more than it has bytes: %d and %d are held", got, bytes)
	}
	if got, uncounted := held(5_000, search), held(0, search); got != uncounted {
		t.Errorf("with a search: %d and %d are held", got, uncounted)
	}
}
