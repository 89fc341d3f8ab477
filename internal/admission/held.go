package admission

import (
	"time"

	"claude-code-api-service/internal/budget"
)

// Held gives what calls that run on this node may still spend of a budget, in its unit,
// beside what is spent; now is in the time zone of the owner's project. It does no I/O.
func (a *Admitter) Held(projectID string, limit budget.Limit, now time.Time) int64 {
	s := a.shardOf(projectID)
	start := limit.Period.Start(now)
	s.mu.Lock()
	defer s.mu.Unlock()
	account := s.accounts[limit.Owner]
	if account == nil || account.periods[limit.Period] == nil {
		return 0
	}
	for _, spending := range account.periods[limit.Period].kept {
		if spending.start.Equal(start) {
			return spending.held.In(limit.Unit)
		}
	}
	return 0
}
