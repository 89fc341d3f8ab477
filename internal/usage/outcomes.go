package usage

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"claude-code-api-service/internal/message"
)

// Dimension is what the rows of the ledger are told apart by.
type Dimension string

// The dimensions.
const (
	ByProject Dimension = "project"
	ByKey     Dimension = "key"
	ByModel   Dimension = "model" // as in Sum
	ByBackend Dimension = "backend"
	ByDay     Dimension = "day"
)

// Quarter is as fine as a Store tells days apart: all time zones are whole quarters of an
// hour apart, so each quarter is of one day everywhere.
const Quarter = 15 * time.Minute

// Count adds up rows of the ledger.
type Count struct {
	ProjectID string
	Name      string    // the key, model or backend; "" by project and by day
	Quarter   time.Time // by day: the first moment of a quarter of an hour; else zero
	Rows      int64
	Errors    int64 // of them, those whose status is an error's
	Usage     message.Usage
	// CostMicroUSD adds up the known prices, in millionths of a US dollar; Unpriced counts
	// the rows without one that have tokens.
	CostMicroUSD, Unpriced int64
}

// Outcome is what became of the requests of what Name names: a project, a key, a model, a
// backend, or a date such as 2006-01-02.
type Outcome struct {
	Name string
	Count
}

// Outcomes counts the rows of projects, the dearest first. It reads all rows of the
// days that choose chooses, as for Sums: what Sums can tell is told sooner by those.
func (r *Reports) Outcomes(ctx context.Context, places []Place, by Dimension, choose func(now time.Time, zone *time.Location) (Filter, error)) ([]Outcome, error) {
	now := r.now()
	zones := map[string][]Place{}
	for _, p := range places {
		zones[p.Zone.String()] = append(zones[p.Zone.String()], p)
	}
	found := map[string]Count{}
	for _, name := range slices.Sorted(maps.Keys(zones)) {
		here := zones[name]
		zone := here[0].Zone
		filter, err := choose(now, zone)
		if err != nil {
			return nil, err
		}
		counts, err := r.store.CountUsage(ctx, filter, by)
		if err != nil {
			return nil, fmt.Errorf("count requests by %s: %w", by, err)
		}
		for i := range counts {
			c := &counts[i]
			if !slices.ContainsFunc(here, func(p Place) bool { return p.ProjectID == c.ProjectID }) {
				continue // its days are others
			}
			name := c.Name
			switch by {
			case ByProject:
				name = c.ProjectID
			case ByDay:
				name = c.Quarter.In(zone).Format(time.DateOnly)
			}
			found[name] = c.add(found[name])
		}
	}
	list := make([]Outcome, 0, len(found))
	for _, name := range slices.Sorted(maps.Keys(found)) {
		list = append(list, Outcome{name, found[name]})
	}
	slices.SortStableFunc(list, func(a, b Outcome) int {
		return cmp.Or(cmp.Compare(b.CostMicroUSD, a.CostMicroUSD), cmp.Compare(b.Usage.Total(), a.Usage.Total()))
	})
	return list, nil
}

func (c *Count) add(to Count) Count {
	to.Rows += c.Rows
	to.Errors += c.Errors
	to.Usage.InputTokens += c.Usage.InputTokens
	to.Usage.OutputTokens += c.Usage.OutputTokens
	to.Usage.CacheReadInputTokens += c.Usage.CacheReadInputTokens
	to.Usage.CacheCreationInputTokens += c.Usage.CacheCreationInputTokens
	to.CostMicroUSD += c.CostMicroUSD
	to.Unpriced += c.Unpriced
	return to
}

// longestWalk is more than any request takes from its arrival, which is its row's time,
// to its end, when its row is stored: a task runs a day at the most.
const longestWalk = 3 * 24 * time.Hour

// Before gives an id up to which no row is of since or later, for a Store whose ledger has
// no index by time; last is the largest id, and timeOf gives the time of the first row with
// that id or a larger one. It asks some twenty times in a million rows.
func Before(last int64, since time.Time, timeOf func(id int64) (time.Time, error)) (int64, error) {
	if since.IsZero() {
		return 0, nil
	}
	// A row is stored after those with smaller ids, and arrived longestWalk before that at
	// the earliest: where it is older than that, so are they.
	low, high := int64(0), last
	for low < high {
		middle := low + (high-low+1)/2
		at, err := timeOf(middle)
		if err != nil {
			return 0, err
		}
		if at.Before(since.Add(-longestWalk)) {
			low = middle
		} else {
			high = middle - 1
		}
	}
	return low, nil
}
