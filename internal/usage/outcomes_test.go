package usage_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/usage"
)

func (d *days) CountUsage(_ context.Context, f usage.Filter, by usage.Dimension) ([]usage.Count, error) {
	d.asked = append(d.asked, f)
	d.by = by
	return d.counts, d.fails
}

func TestOutcomes(t *testing.T) {
	quarter := time.Date(2026, 3, 1, 14, 45, 0, 0, time.UTC) // the last one of its day in Tokyo
	store := &days{counts: []usage.Count{
		{ProjectID: "a", Name: "cli", Quarter: quarter, Rows: 2, Errors: 1, CostMicroUSD: 5},
		{ProjectID: "b", Name: "cli", Quarter: quarter, Rows: 3, CostMicroUSD: 4, Unpriced: 1},
		{ProjectID: "b", Name: "direct", Quarter: quarter.Add(usage.Quarter), Rows: 1, Errors: 1, CostMicroUSD: 20},
		{ProjectID: "gone", Name: "cli", Rows: 100},
	}}
	r := usage.NewReports(usage.ReportsOptions{Store: store, Now: func() time.Time { return quarter.Add(time.Hour) }})
	places := []usage.Place{{ProjectID: "a", Zone: time.UTC}, {ProjectID: "b", Zone: tokyo}}
	choose := func(now time.Time, zone *time.Location) (usage.Filter, error) {
		return usage.Filter{Since: now.In(zone)}, nil
	}
	for by, want := range map[usage.Dimension][]string{
		usage.ByBackend: {"direct 1 1 20 0", "cli 5 1 9 1"},
		usage.ByProject: {"b 4 1 24 1", "a 2 1 5 0"},
		usage.ByDay:     {"2026-03-02 1 1 20 0", "2026-03-01 5 1 9 1"},
	} {
		store.asked = nil
		list, err := r.Outcomes(t.Context(), places, by, choose)
		var got []string
		for _, o := range list {
			got = append(got, fmt.Sprintf("%s %d %d %d %d", o.Name, o.Rows, o.Errors, o.CostMicroUSD, o.Unpriced))
		}
		if err != nil || !slices.Equal(got, want) || store.by != by {
			t.Errorf("by %s: %v, %v; want %v", by, got, err, want)
		}
		if len(store.asked) != 2 { // one look for each time zone
			t.Errorf("by %s: asked for %+v", by, store.asked)
		}
	}
	store.fails = errors.New("the disk")
	if _, err := r.Outcomes(t.Context(), places, usage.ByKey, choose); !errors.Is(err, store.fails) {
		t.Errorf("a store that fails: %v", err)
	}
}

// TestNothingIsPassedOver has a ledger of requests that took very different times.
func TestNothingIsPassedOver(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	begin := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	const rows = 10_000
	arrived := make([]time.Time, rows+1)
	for id := 1; id <= rows; id++ {
		took := time.Duration(random.Int64N(int64(time.Minute)))
		if random.IntN(50) == 0 {
			took = time.Duration(random.Int64N(int64(48 * time.Hour)))
		}
		arrived[id] = begin.Add(time.Duration(id) * 5 * time.Minute).Add(-took)
	}
	for range 50 {
		since := begin.Add(time.Duration(random.Int64N(int64(36 * 24 * time.Hour))))
		looks := 0
		before, err := usage.Before(rows, since, func(id int64) (time.Time, error) {
			looks++
			return arrived[id], nil
		})
		if err != nil || looks > 20 {
			t.Fatalf("%d looks, %v", looks, err)
		}
		for id := int64(1); id <= before; id++ {
			if !arrived[id].Before(since) {
				t.Fatalf("row %d of %s is passed over for %s: all up to %d are", id, arrived[id], since, before)
			}
		}
		if first := slices.IndexFunc(arrived[1:], func(at time.Time) bool { return !at.Before(since) }); int64(first)-before > 1200 {
			t.Errorf("%d rows are read before the first of %s", int64(first)-before, since)
		}
	}
	failed := errors.New("the disk")
	if _, err := usage.Before(rows, begin, func(int64) (time.Time, error) { return time.Time{}, failed }); !errors.Is(err, failed) {
		t.Errorf("a store that fails: %v", err)
	}
	if before, err := usage.Before(rows, time.Time{}, nil); before != 0 || err != nil {
		t.Errorf("of all times: %d, %v", before, err)
	}
}
