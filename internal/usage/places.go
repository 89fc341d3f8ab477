package usage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"
)

// Place is a project, and the time zone in which its days begin.
type Place struct {
	ProjectID string
	Zone      *time.Location
}

// Dated is a Sum with the date of its day in its project's time zone: 2006-01-02.
type Dated struct {
	Sum
	Date string
}

// Sums gives the sums of projects, of one key where keyID isn't "". choose says which days
// of a time zone are meant: days are those of each project's own, as its budgets count
// them. Its project and key are set here.
func (r *Reports) Sums(ctx context.Context, places []Place, keyID string, choose func(now time.Time, zone *time.Location) (Filter, error)) ([]Dated, error) {
	now := r.now()
	var list []Dated
	for _, p := range places {
		filter, err := choose(now, p.Zone)
		if err != nil {
			return nil, err
		}
		filter.ProjectID, filter.KeyID = p.ProjectID, keyID
		found, err := r.store.SumUsage(ctx, filter)
		if err != nil {
			return nil, fmt.Errorf("sum what %s has used: %w", p.ProjectID, err)
		}
		for _, s := range found {
			list = append(list, Dated{s, s.Day.In(p.Zone).Format(time.DateOnly)})
		}
	}
	return list, nil
}

// Named is what was used of what Name names.
type Named struct {
	Name string
	Total
}

// Group adds up the sums of each name, the dearest first.
func Group(sums []Dated, nameOf func(Dated) string) []Named {
	groups := map[string]Total{}
	for _, s := range sums {
		addTo(groups, nameOf(s), &s.Sum)
	}
	list := make([]Named, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, Named{name, groups[name]})
	}
	slices.SortStableFunc(list, func(a, b Named) int {
		return cmp.Or(cmp.Compare(b.CostMicroUSD, a.CostMicroUSD), cmp.Compare(b.Usage.Total(), a.Usage.Total()))
	})
	return list
}
