package admission

import (
	"time"

	"claude-code-api-service/internal/budget"
)

// Crossing is a soft limit that what was spent has reached.
type Crossing struct {
	Limit     budget.Limit
	ProjectID string    // the limit's owner, or the project of the key that is
	Start     time.Time // of the period, in the project's time zone
	Spent     int64     // in that period, in the limit's unit
}

// crossed gives the soft limits that are reached at the moment and of which
// nobody was told yet. The caller holds the shard's lock and tells of them when
// it is released.
func (s *shard) crossed(limits []budget.Limit, project string, arrived time.Time) (list []Crossing) {
	for _, l := range limits {
		if l.Soft == 0 {
			continue
		}
		start := l.Period.Start(arrived)
		spending := s.account(l.Owner).at(l.Period, start)
		if spent := spending.spent.In(l.Unit); spent >= l.Soft && spending.tell(l) {
			list = append(list, Crossing{l, project, start, spent})
		}
	}
	return list
}

// tell notes that a soft limit is told of; false: it was already.
func (s *spending) tell(l budget.Limit) bool {
	told := &s.told.Tokens
	if l.Unit == budget.USD {
		told = &s.told.MicroUSD
	}
	if *told == l.Soft {
		return false
	}
	*told = l.Soft
	return true
}
