package admission

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// nothingSpent is a Store of a new service.
type nothingSpent struct{}

func (nothingSpent) Spent(context.Context, budget.Owner, budget.Period, time.Time) (budget.Amount, error) {
	return budget.Amount{}, nil
}

// spentBefore is a Store that counts how often it is asked.
type spentBefore struct {
	amount budget.Amount
	err    error
	asked  int
}

func (s *spentBefore) Spent(context.Context, budget.Owner, budget.Period, time.Time) (budget.Amount, error) {
	s.asked++
	return s.amount, s.err
}

// priced has a model of which a token of input costs one micro-dollar, in prompts
// above 100,000 tokens two, written to the cache for an hour as much again, and one of
// output five.
type priced struct{}

func (priced) ContextWindow(model string) int64 {
	if model == "model" {
		return 200_000
	}
	return 0
}

func (priced) SearchPrice() int64 { return 10_000 }

func (priced) PricedSpeed(speed string) bool { return speed == "standard" }

func (priced) Price(model string, prompt int64, hour bool) (input, output int64, known bool) {
	input = 1_000_000
	if prompt > 100_000 {
		input *= 2
	}
	if hour {
		input *= 2
	}
	return input, 5_000_000, model == "model"
}

func requestOf(t testing.TB, key string, maxTokens int) *gateway.Call {
	t.Helper()
	r, err := message.ParseRequest(fmt.Appendf(nil, `{"max_tokens":%d,"messages":[{"role":"user","content":"hello"}]}`, maxTokens))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{Request: r, Model: "model", Caller: &gateway.Caller{KeyID: key, ProjectID: "p"}, Clock: latency.Start()}
}

// input is what requestOf's input is reserved with.
func input(call *gateway.Call) int64 { return int64(len(call.Request.Body())) + addedByAPI }

func limitOf(kind budget.Kind, id string, period budget.Period, unit budget.Unit, hard int64) budget.Limit {
	return budget.Limit{Owner: budget.Owner{Kind: kind, ID: id}, Period: period, Unit: unit, Hard: hard}
}

// used is a result of so many tokens and micro-dollars.
func used(tokens, micros int64) gateway.Result {
	r := gateway.Result{CostMicroUSD: &micros}
	r.Usage.OutputTokens = tokens
	return r
}

// begin admits and reserves.
func begin(a *Admitter, call *gateway.Call) error {
	if err := a.Admit(context.Background(), call); err != nil {
		return err
	}
	err := a.Reserve(context.Background(), call)
	if err != nil {
		a.Release(call, gateway.Result{})
	}
	return err
}

func refused(t *testing.T, err error, category apierror.Category, again bool) {
	t.Helper()
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != category || (e.RetryAfter > 0) != again {
		t.Errorf("err = %v, want %s, to be tried again: %t", err, category, again)
	}
}

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

func requestWith(t testing.TB, limits []budget.Limit) *gateway.Call {
	call := requestOf(t, "k", 1000)
	call.Caller.Budgets = limits
	return call
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

// TestWhatIsHeldInDollars gives each request a budget that just pays for its input
// and 50 tokens of its answer.
func TestWhatIsHeldInDollars(t *testing.T) {
	const body = `{"max_tokens":1000,"messages":[{"role":"user","content":[{"type":"text","text":"hello"%s}]}]%s}`
	tests := []struct {
		name        string
		part, more  string // of the body
		input       int64  // micro-dollars for a token
		searches    int64
		elsewhere   int64 // tokens that aren't in the body
		window      bool  // the input is held as the whole context window, of 200,000 tokens
		refusedWith string
	}{
		{name: "plain", input: 1},
		{name: "a cache for five minutes", part: `,"cache_control":{"type":"ephemeral"}`, input: 1},
		{name: "a cache for an hour", part: `,"cache_control":{"type":"ephemeral","ttl":"1h"}`, input: 2},
		{name: "an hour in other words", part: `,"cache_control":{"type":"ephemeral","ttl":"\u0031h"}`, input: 2},
		{name: "an hour in half other words", part: `,"cache_control":{"type":"ephemeral","ttl":"1\u0068"}`, input: 4, window: true},
		{name: "a long prompt", part: `,"x":"` + strings.Repeat("y", 100_000) + `"`, input: 2},
		{name: "three web searches", more: `,"tools":[{"type":"web_search_20250305","name":"web_search","max_uses":3}]`, input: 2, searches: 3, window: true},
		{name: "any number of web searches", more: `,"tools":[{"type":"web_search_20250305","name":"web_search"}]`, refusedWith: "tools"},
		{name: "web searches in other numbers", more: `,"tools":[{"type":"web\u005fsearch_20250305","max_uses":5e0}]`, refusedWith: "tools"},
		{name: "an image by its address", more: `,"metadata":[{"type":"url","url":"https://a/b.png"}]`, input: 1, elsewhere: 2 * imageTokens},
		{name: "a conversation that the upstream holds", more: `,"thread":"t"`, input: 2, window: true},
		{name: "tools of other servers", more: `,"mcp_servers":[]`, input: 2, window: true},
		{name: "ordinary members", more: `,"top_p":1,"stop_sequences":[],"service_tier":"auto"`, input: 1},
		{name: "a small image", more: `,"metadata":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"iVBORw0KGgo="}}]`, input: 1, elsewhere: imageTokens},
		{name: "a small PDF", more: `,"metadata":[{"type":"document","source":{"type":"base64","media_type":"application\/pdf","data":"JVBERi0="}}]`, input: 2, window: true},
		{name: "a document of text", more: `,"metadata":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"a"}}]`, input: 1, elsewhere: imageTokens},
		{name: "an address in other words", more: `,"metadata":[{"type":"image","source":{"type":"\u0075rl","ur\u006C":"https://a/b.png"}}]`, input: 2, window: true},
		{name: "a file in other words", more: `,"metadata":[{"type":"document","source":{"type":"file","file\u005fid":"f"}}]`, input: 2, window: true},
		{name: "escapes in a text", more: `,"metadata":"\u00e9 \\u0075 \u003c \u005c \u007f"`, input: 1},
		{name: "the ordinary speed", more: `,"speed":"standard"`, input: 1},
		{name: "another speed", more: `,"speed":"fast"`, refusedWith: "speed"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			a := New(Options{Store: nothingSpent{}, Models: priced{}})
			request, err := message.ParseRequest(fmt.Appendf(nil, body, test.part, test.more))
			if err != nil {
				t.Fatal(err)
			}
			with := func(budgetOf int64) (*gateway.Call, error) {
				call := requestWith(t, []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.USD, budgetOf)})
				call.Request = request
				return call, begin(a, call)
			}
			if test.refusedWith != "" {
				_, err := with(1 << 40)
				var e *apierror.Error
				if !errors.As(err, &e) || e.Category != apierror.Permission || e.Param != test.refusedWith {
					t.Errorf("err = %v", err)
				}
				return
			}
			input := int64(len(request.Body())) + addedByAPI + test.elsewhere
			if test.window {
				input = 200_000
			}
			call, err := with(input*test.input + test.searches*10_000 + 50*5)
			if err != nil || call.MaxTokens != 50 {
				t.Errorf("max_tokens = %d, %v, want 50", call.MaxTokens, err)
			}
		})
	}
}

// TestWhatIsntKnownIsCharged: an answer without a price takes the dollars that were
// held for it, and one of which nothing is known all that was.
func TestWhatIsntKnownIsCharged(t *testing.T) {
	inUSD, inTokens := limitOf(budget.Key, "k", budget.Day, budget.USD, 1_000_000), limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1_000_000)
	three := gateway.Result{Summary: message.Summary{Usage: message.Usage{OutputTokens: 3}}}
	in := input(requestOf(t, "k", 1000))
	held := budget.Amount{Tokens: in + 1000, MicroUSD: in + 1000*5}
	for _, test := range []struct {
		name   string
		limits []budget.Limit
		result gateway.Result
		paid   bool
		want   budget.Amount // spent
	}{
		{"a known cost", []budget.Limit{inUSD, inTokens}, used(3, 4), true, budget.Amount{Tokens: 3, MicroUSD: 4}},
		{"no price", []budget.Limit{inUSD, inTokens}, three, true, budget.Amount{Tokens: 3, MicroUSD: held.MicroUSD}},
		{"no price, no budget in USD", []budget.Limit{inTokens}, three, true, budget.Amount{Tokens: 3}},
		{"nothing known", []budget.Limit{inUSD, inTokens}, gateway.Result{}, true, held},
		{"nothing known, one budget", []budget.Limit{inTokens}, gateway.Result{}, true, budget.Amount{Tokens: held.Tokens}},
		{"nothing used", []budget.Limit{inUSD, inTokens}, gateway.Result{}, false, budget.Amount{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := New(Options{Store: nothingSpent{}, Models: priced{}})
			call := requestWith(t, test.limits)
			if err := begin(a, call); err != nil {
				t.Fatal(err)
			}
			call.Charge(test.result, test.paid)
			a.Release(call, test.result)
			if got := spentOf(a, call, test.limits[0]); got != test.want {
				t.Errorf("spent %+v, want %+v", got, test.want)
			}
		})
	}
}

// spentOf is what the owner of a limit has spent in the period.
func spentOf(a *Admitter, call *gateway.Call, l budget.Limit) budget.Amount {
	s := a.shard(call.Caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.account(l.Owner).at(l.Period, l.Period.Start(arrival(call))).spent
}

func TestABudgetIsCapped(t *testing.T) {
	a := New(Options{Store: nothingSpent{}, OutputCap: 500, Models: priced{}})
	call := requestOf(t, "k", 1_000_000)
	if err := begin(a, call); err != nil || call.MaxTokens != 0 {
		t.Errorf("without a budget max_tokens is %d, %v", call.MaxTokens, err)
	}
	call = requestOf(t, "k", 1_000_000)
	call.Caller.Budgets = []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 1<<40)}
	if err := begin(a, call); err != nil || call.MaxTokens != 500 {
		t.Errorf("max_tokens = %d, %v", call.MaxTokens, err)
	}
}

// TestThinkingIsReserved: the upstream refuses a max_tokens that thinking.budget_tokens
// exceeds, so it isn't lowered to that.
// TestAFallbackIsReserved: a call that goes on with another model holds what that may
// cost, beside what it has spent, or else what it held.
func TestAFallbackIsReserved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		in := input(requestOf(t, "k", 1000))
		tokens, dollars := limitOf(budget.Key, "k", budget.Day, budget.Tokens, 2*in+5_000), limitOf(budget.Key, "k", budget.Day, budget.USD, 1<<40)
		limits := []budget.Limit{tokens, dollars}
		a := New(Options{Store: &nothingSpent{}, Models: priced{}})
		call := requestWith(t, limits)
		call.Caller.Key.TokensPerMinute = 1_500
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		held := func() budget.Amount {
			s := a.shard(call.Caller)
			s.mu.Lock()
			defer s.mu.Unlock()
			return s.account(tokens.Owner).at(budget.Day, budget.Day.Start(call.Clock.StartTime())).held
		}
		first := budget.Amount{Tokens: in + 1000, MicroUSD: in + 5*1000}
		if got := held(); got != first {
			t.Fatalf("held %+v, want %+v", got, first)
		}
		again := func(spent budget.Amount) error {
			call.Spent, call.MaxTokens = spent, 0
			return a.Reserve(t.Context(), call)
		}
		if err := again(budget.Amount{Tokens: 300, MicroUSD: 700}); err != nil {
			t.Fatal(err)
		}
		second := budget.Amount{Tokens: in + 1300, MicroUSD: in + 5*1000 + 700}
		if got := held(); got != second || call.Held.MicroUSD != second.MicroUSD || call.MaxTokens != 1000 {
			t.Errorf("held %+v, want %+v; %d micro-dollars, max_tokens %d", got, second, call.Held.MicroUSD, call.MaxTokens)
		}
		// What was spent leaves so much less for the answer.
		if err := again(budget.Amount{Tokens: tokens.Hard - in - 40}); err != nil || call.MaxTokens != 40 {
			t.Errorf("max_tokens %d, %v", call.MaxTokens, err)
		}
		third := held()
		refused(t, again(budget.Amount{Tokens: tokens.Hard}), apierror.BudgetExceeded, false)
		call.Model = "other" // whose price isn't known
		refused(t, again(budget.Amount{}), apierror.Permission, false)
		if got := held(); got != third {
			t.Errorf("after refusals %+v are held, want %+v", got, third)
		}
		// The tokens a minute were taken once, and come back once.
		a.Release(call, used(in, 0))
		if got := held(); got != (budget.Amount{}) {
			t.Errorf("held after its end: %+v", got)
		}
		next := requestWith(t, nil)
		next.Caller.Key.TokensPerMinute = 1_500
		if err := begin(a, next); err == nil || apierror.From(err).Category != apierror.RateLimited {
			t.Errorf("the tokens that were used are free: %v", err)
		}
	})
}

func TestThinkingIsReserved(t *testing.T) {
	for _, test := range []struct {
		name              string
		maxTokens, budget int64
		left              int64 // of the budget, beside the input
		cli               bool
		want              int64 // max_tokens; 0: refused
	}{
		{name: "beside the cap", maxTokens: 64_000, budget: 31_999, left: 1 << 40, want: 31_999 + DefaultOutputCap},
		{name: "as asked", maxTokens: 20_000, budget: 16_000, left: 1 << 40, want: 20_000},
		{name: "what is left", maxTokens: 20_000, budget: 16_000, left: 16_001, want: 16_001},
		{name: "too little", maxTokens: 20_000, budget: 16_000, left: 16_000},
		{name: "more than max_tokens", maxTokens: 10_000, budget: 16_000, left: 10_000, want: 10_000},
		{name: "absurd", maxTokens: 20_000, budget: 1<<63 - 1, left: 20_000, want: 20_000},
		{name: "the CLI's own matter", maxTokens: 64_000, budget: 31_999, left: 100 + addedByCLI, cli: true, want: 100},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := New(Options{Store: nothingSpent{}, Models: priced{}})
			r, err := message.ParseRequest(fmt.Appendf(nil, `{"max_tokens":%d,"thinking":{"type":"enabled","budget_tokens":%d},"messages":[]}`, test.maxTokens, test.budget))
			if err != nil {
				t.Fatal(err)
			}
			call := requestWith(t, nil)
			call.Request = r
			if test.cli {
				call.Backend = gateway.BackendCLI
			}
			call.Caller.Budgets = []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, input(call)+test.left)}
			err = begin(a, call)
			if test.want == 0 {
				refused(t, err, apierror.BudgetExceeded, false)
			} else if err != nil || call.MaxTokens != test.want {
				t.Errorf("max_tokens = %d, %v, want %d", call.MaxTokens, err, test.want)
			}
		})
	}
}

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

func TestTokensPerMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{})
		limited := func() *gateway.Call {
			call := requestOf(t, "k", 500)
			call.Caller.Key.TokensPerMinute = 600 // ten a second
			return call
		}
		call := limited()
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		if l := call.Limits; l.TokensLimit != 600 || l.TokensRemaining != 600-500-len(call.Request.Body())/estimateBytes {
			t.Errorf("limits = %+v", l)
		}
		err := begin(a, limited())
		refused(t, err, apierror.RateLimited, true)
		a.Release(call, used(120, 0)) // 400 come back
		again := limited()
		if err := begin(a, again); err == nil {
			t.Error("more was admitted than is left")
		}
		time.Sleep(apierror.From(begin(a, limited())).RetryAfter)
		if err := begin(a, again); err != nil {
			t.Errorf("at the promised time: %v", err)
		}
		// One that is larger than the limit waits for all of it.
		a.Release(again, used(0, 0))
		large := requestOf(t, "k", 5000)
		large.Caller.Key.TokensPerMinute = 600
		time.Sleep(time.Hour)
		if err := begin(a, large); err != nil {
			t.Errorf("a large request of an idle key: %v", err)
		}
	})
}

func TestConcurrentRequests(t *testing.T) {
	a := New(Options{})
	limited := func(key string) *gateway.Call {
		call := requestOf(t, key, 10)
		call.Caller.Key.ConcurrentRequests, call.Caller.Project.ConcurrentRequests = 2, 3
		return call
	}
	var running []*gateway.Call
	for _, key := range []string{"a", "a", "b"} {
		call := limited(key)
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		running = append(running, call)
	}
	refused(t, begin(a, limited("a")), apierror.RateLimited, true)
	refused(t, begin(a, limited("b")), apierror.RateLimited, true) // the project's
	a.Release(running[0], gateway.Result{})
	a.Release(running[0], gateway.Result{}) // nothing more
	if err := begin(a, limited("b")); err != nil {
		t.Error(err)
	}
	refused(t, begin(a, limited("a")), apierror.RateLimited, true)
}

func TestTokensLeft(t *testing.T) {
	a := New(Options{Store: &spentBefore{amount: budget.Amount{Tokens: 100}}, Models: priced{}})
	call := requestWith(t, []budget.Limit{
		limitOf(budget.Key, "k", budget.Month, budget.Tokens, 50_000), limitOf(budget.Project, "p", budget.Day, budget.Tokens, 20_000),
		limitOf(budget.Key, "k", budget.Day, budget.USD, 1<<40),
	})
	left := func(want int64) {
		t.Helper()
		limit, remaining, err := a.TokensLeft(t.Context(), call.Caller)
		if err != nil || limit == nil || *limit != 20_000 || *remaining != want {
			t.Errorf("%v of %v, %v, want %d of the project's", remaining, limit, err, want)
		}
	}
	left(19_900)
	if err := begin(a, call); err != nil {
		t.Fatal(err)
	}
	left(19_900 - input(call) - 1000) // what runs is held
	a.Release(call, used(30, 1))
	left(19_870)
	if limit, remaining, err := a.TokensLeft(t.Context(), &gateway.Caller{KeyID: "other"}); limit != nil || remaining != nil || err != nil {
		t.Errorf("without a budget: %v of %v, %v", remaining, limit, err)
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
