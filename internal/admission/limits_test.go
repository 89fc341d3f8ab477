package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

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

// TestPartsAreNotConcurrentRequests: a request that consists of several counts once.
func TestPartsAreNotConcurrentRequests(t *testing.T) {
	a := New(Options{})
	limited := func(part bool) *gateway.Call {
		call := requestOf(t, "a", 10)
		call.Part = part
		if !part {
			call.Caller.Key.ConcurrentRequests, call.Caller.Project.ConcurrentRequests = 2, 2
		}
		return call
	}
	var parts []*gateway.Call
	if err := begin(a, limited(false)); err != nil {
		t.Fatal(err)
	}
	for range 8 {
		parts = append(parts, limited(true))
		if err := begin(a, parts[len(parts)-1]); err != nil {
			t.Fatal(err)
		}
	}
	if err := begin(a, limited(false)); err != nil {
		t.Errorf("beside one request and its parts: %v", err)
	}
	for _, part := range parts {
		refused(t, begin(a, limited(false)), apierror.RateLimited, true)
		a.Release(part, gateway.Result{})
	}
	refused(t, begin(a, limited(false)), apierror.RateLimited, true)
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
