package admission

import (
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// TestALongContextIsReserved: a header lets the model read more than its window.
func TestALongContextIsReserved(t *testing.T) {
	r, err := message.ParseRequest([]byte(`{"max_tokens":10,"messages":[{"role":"user","content":"` + strings.Repeat("x ", 200_000) + `"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Store: nothingSpent{}, Models: priced{}})
	with := func(beta ...string) *gateway.Call {
		call := requestWith(t, []budget.Limit{limitOf(budget.Key, "k", budget.Day, budget.Tokens, 300_000)})
		call.Request, call.Forward = r, http.Header{"Anthropic-Beta": beta}
		return call
	}
	short := with("prompt-caching-2024-07-31")
	if err := begin(a, short); err != nil {
		t.Fatal(err)
	}
	a.Release(short, used(0, 0))
	refused(t, begin(a, with("a", "b, context-1m-2025-08-07")), apierror.BudgetExceeded, false)
}
