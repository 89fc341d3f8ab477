package usage

import (
	"context"
	"fmt"
	"time"

	"claude-code-api-service/internal/budget"
)

// Balance is a budget with what is spent of it in its present period.
type Balance struct {
	budget.Limit
	Spent int64     // in the budget's unit
	Ends  time.Time // of the period; zero: never
}

// Left is what isn't spent of the hard limit, never less than 0; false where there is
// none.
func (b *Balance) Left() (int64, bool) {
	if b.Hard == 0 {
		return 0, false
	}
	return max(0, b.Hard-b.Spent), true
}

// Balances gives what is spent of budgets. zoneOf gives the time zone of an owner's
// project, and is asked once for each.
func (r *Reports) Balances(ctx context.Context, limits []budget.Limit, zoneOf func(owner budget.Owner) (*time.Location, error)) ([]Balance, error) {
	now := r.now()
	zones := map[budget.Owner]*time.Location{}
	list := make([]Balance, 0, len(limits))
	for _, limit := range limits {
		zone, known := zones[limit.Owner]
		if !known {
			var err error
			if zone, err = zoneOf(limit.Owner); err != nil {
				return nil, err
			}
			zones[limit.Owner] = zone
		}
		present := now.In(zone)
		spent, err := r.store.Spent(ctx, limit.Owner, limit.Period, limit.Period.Start(present))
		if err != nil {
			return nil, fmt.Errorf("find what %s %s has spent: %w", limit.Owner.Kind, limit.Owner.ID, err)
		}
		ends, _ := limit.Period.End(present)
		list = append(list, Balance{limit, spent.In(limit.Unit), ends})
	}
	return list, nil
}
