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
	// Refusal is what the last call was refused for by the caller's limits, the run's
	// or a price that isn't known; nil: it was let through.
	Refusal *apierror.Error
}

// sum adds up what calls have used.
type sum struct {
	mu        sync.Mutex
	usage     message.Usage
	cost      int64
	unpriced  bool
	calls     int
	exhausted bool
	refusal   *apierror.Error
}

func (s *sum) totals() Totals {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := Totals{Usage: s.usage, Calls: s.calls, Exhausted: s.exhausted, Refusal: s.refusal}
	if !s.unpriced {
		t.CostMicroUSD = new(s.cost)
	}
	return t
}

// judged notes whether a call was let through.
func (s *sum) judged(err error) {
	e := apierror.From(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refusal = e
	if e != nil && e.Category == apierror.BudgetExceeded && e.RetryAfter == 0 && e.Param == budget.RunParam {
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
