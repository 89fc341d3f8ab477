package meter

import (
	"strings"
	"sync"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// Totals is what a run's calls have used together.
type Totals struct {
	Usage        message.Usage
	CostMicroUSD *int64 // in millionths of a US dollar; nil: an answer's price wasn't known
	Calls        int    // those that a backend was asked, without counts of tokens
	Exhausted    bool   // what the run may cost refused a call; a budget of its caller's doesn't count
	// Failure is why the last call that has ended has no answer: what a caller on the
	// direct path would read, without the upstream's own words; nil: it has one. Calls
	// that were cut off don't count.
	Failure *apierror.Error
}

// sum adds up what calls have used.
type sum struct {
	mu        sync.Mutex
	usage     message.Usage
	cost      int64
	unpriced  bool
	calls     int
	exhausted bool
	failure   *apierror.Error
}

func (s *sum) totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Totals{Usage: s.usage, Calls: s.calls, Exhausted: s.exhausted, Failure: s.failure}
	if !s.unpriced {
		t.CostMicroUSD = new(s.cost)
	}
	return t
}

// ended notes how a call did: without an error it was answered.
func (s *sum) ended(err error) {
	failure := apierror.From(err)
	if failure != nil && failure.Upstream != nil {
		told := *failure
		// A credential that it refused isn't the caller's, whoever has presented it.
		told.Upstream = &apierror.Upstream{Status: failure.Upstream.Status, OurCredential: failure.Category == apierror.AuthError}
		failure = &told
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = failure
	if failure != nil && failure.Category == apierror.BudgetExceeded && failure.RetryAfter == 0 && failure.Param == budget.RunParam {
		s.exhausted = true
	}
}

func (s *sum) add(entry *gateway.Entry) {
	if entry.Refused || strings.HasSuffix(entry.Endpoint, "/count_tokens") {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls++
	if cost := entry.Result.CostMicroUSD; cost != nil {
		s.cost += *cost
	} else if entry.Result.Usage != (message.Usage{}) || entry.Charged.MicroUSD > 0 {
		s.unpriced = true
	}
	s.usage.Add(entry.Result.Usage)
}
