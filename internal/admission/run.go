package admission

import (
	"slices"
	"time"

	"claude-code-api-service/internal/budget"
)

// forgetRunAfter is how long a run without a call is remembered. Between two of its
// calls it may wait for a tool, or for a person's approval, and what it had spent is
// nowhere else.
const forgetRunAfter = 24 * time.Hour

// remembered is how long an idle account of a kind is kept.
func remembered(kind budget.Kind) time.Duration {
	if kind == budget.Run {
		return forgetRunAfter
	}
	return forgetAfter
}

// runs are the accounts of the runs whose budgets the call is held to. They have
// neither rates nor a place in the store. The shard's lock is held.
func (r *reservation) runs(s *shard) (accounts []*account) {
	for _, l := range r.limits {
		if l.Owner.Kind != budget.Run {
			continue
		}
		if a := s.account(l.Owner); !slices.Contains(accounts, a) {
			accounts = append(accounts, a)
		}
	}
	return accounts
}
