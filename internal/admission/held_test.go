package admission

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

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

// TestHeldIsTold looks at what a request holds while it runs, as those who administer the
// service do.
func TestHeldIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{Store: nothingSpent{}, Models: priced{}})
		day := limitOf(budget.Key, "k", budget.Day, budget.Tokens, 100_000)
		call := requestWith(t, []budget.Limit{day})
		project, now := call.Caller.ProjectID, time.Now().In(call.Caller.Zone())
		held := func(limit budget.Limit, now time.Time) int64 { return a.Held(project, limit, now) }
		if n := held(day, now); n != 0 {
			t.Errorf("%d are held before anybody asks", n)
		}
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		if n := held(day, now); n == 0 || n != call.Held.Tokens {
			t.Errorf("%d are held, and the call says %d", n, call.Held.Tokens)
		}
		for name, n := range map[string]int64{
			"of the day after":   held(day, now.AddDate(0, 0, 1)),
			"of the month":       held(limitOf(budget.Key, "k", budget.Month, budget.Tokens, 1), now),
			"of another key":     held(limitOf(budget.Key, "other", budget.Day, budget.Tokens, 1), now),
			"of another project": a.Held("other", day, now),
		} {
			if n != 0 {
				t.Errorf("%d are held %s", n, name)
			}
		}
		a.Release(call, used(10, 0))
		if n := held(day, now); n != 0 {
			t.Errorf("%d are held when it has ended", n)
		}
	})
}
