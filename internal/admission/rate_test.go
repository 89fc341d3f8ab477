package admission

import (
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// TestADebtOfTokensEnds: what an answer is said to have used may be anything, but its key
// isn't locked for longer than a day.
func TestADebtOfTokensEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := New(Options{})
		limited := func() *gateway.Call {
			call := requestOf(t, "k", 1)
			call.Caller.Key.TokensPerMinute = 2
			return call
		}
		call := limited()
		if err := begin(a, call); err != nil {
			t.Fatal(err)
		}
		a.Release(call, used(1_000_000_000, 0))
		err := begin(a, limited())
		refused(t, err, apierror.RateLimited, true)
		retry := apierror.From(err).RetryAfter
		if retry < 24*time.Hour || retry > 25*time.Hour {
			t.Errorf("retry after %v", retry)
		}
		time.Sleep(retry)
		if err := begin(a, limited()); err != nil {
			t.Errorf("at the promised time: %v", err)
		}
	})
}
