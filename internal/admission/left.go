package admission

import (
	"context"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// TokensLeft gives the budget in tokens that leaves the caller least now, and how
// many tokens it leaves beside what running requests hold; nil for a caller
// without one. It does no I/O where what the caller has spent is known.
func (a *Admitter) TokensLeft(ctx context.Context, caller *gateway.Caller) (limit, remaining *int64, err error) {
	now := time.Now().In(caller.Zone())
	s := a.shard(caller)
	for _, l := range caller.Budgets {
		if l.Unit != budget.Tokens || l.Hard == 0 {
			continue
		}
		if err := a.learn(ctx, s, []budget.Limit{l}, now, 0); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		spending := s.account(l.Owner).at(l.Period, l.Period.Start(now))
		left := max(0, l.Hard-spending.spent.Tokens-spending.held.Tokens)
		s.mu.Unlock()
		if remaining == nil || left < *remaining {
			limit, remaining = &l.Hard, &left
		}
	}
	return limit, remaining, nil
}
