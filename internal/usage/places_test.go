package usage_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/usage"
)

// days is a Store with some sums.
type days struct {
	usage.Store // only these are called

	sums   []usage.Sum
	asked  []usage.Filter
	spent  map[string]budget.Amount // by owner, period and start
	fails  error
	counts []usage.Count
	by     usage.Dimension
}

func (d *days) SumUsage(_ context.Context, f usage.Filter) ([]usage.Sum, error) {
	d.asked = append(d.asked, f)
	var list []usage.Sum
	for _, s := range d.sums {
		if s.ProjectID == f.ProjectID {
			list = append(list, s)
		}
	}
	return list, d.fails
}

func (d *days) Spent(_ context.Context, owner budget.Owner, period budget.Period, start time.Time) (budget.Amount, error) {
	return d.spent[fmt.Sprintf("%s %s %s", owner.ID, period, start.Format(time.DateTime))], d.fails
}

var tokyo = time.FixedZone("Tokyo", 9*60*60)

func TestSumsAreOfEachProjectsDays(t *testing.T) {
	now := time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC) // the next day in Tokyo
	store := &days{sums: []usage.Sum{
		{ProjectID: "a", KeyID: "k1", Model: "x", Day: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), CostMicroUSD: 5, Requests: 1},
		{ProjectID: "b", KeyID: "k2", Model: "x", Day: time.Date(2026, 3, 1, 15, 0, 0, 0, time.UTC), CostMicroUSD: 7, Requests: 2},
		{ProjectID: "b", KeyID: "k3", Model: "y", Day: time.Date(2026, 3, 1, 15, 0, 0, 0, time.UTC), CostMicroUSD: 7, Requests: 3},
	}}
	r := usage.NewReports(usage.ReportsOptions{Store: store, Now: func() time.Time { return now }})
	places := []usage.Place{{ProjectID: "a", Zone: time.UTC}, {ProjectID: "b", Zone: tokyo}}
	choose := func(now time.Time, zone *time.Location) (usage.Filter, error) {
		return usage.Filter{Since: budget.Day.Start(now.In(zone))}, nil
	}
	sums, err := r.Sums(t.Context(), places, "k", choose)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []time.Time{time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 3, 1, 15, 0, 0, 0, time.UTC)} {
		if f := store.asked[i]; !f.Since.Equal(want) || f.ProjectID != places[i].ProjectID || f.KeyID != "k" {
			t.Errorf("asked for %+v", f)
		}
	}
	for _, tt := range []struct {
		by   string
		name func(usage.Dated) string
		want []string
	}{
		{"day", func(s usage.Dated) string { return s.Date }, []string{"2026-03-02 14 5", "2026-03-01 5 1"}},
		{"model", func(s usage.Dated) string { return s.Model }, []string{"x 12 3", "y 7 3"}},
		{"key, names in order where all else is the same", func(s usage.Dated) string { return s.KeyID }, []string{"k2 7 2", "k3 7 3", "k1 5 1"}},
	} {
		var got []string
		for _, n := range usage.Group(sums, tt.name) {
			got = append(got, fmt.Sprintf("%s %d %d", n.Name, n.CostMicroUSD, n.Requests))
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("by %s: %v, want %v", tt.by, got, tt.want)
		}
	}
	refusal := errors.New("no such period")
	if _, err := r.Sums(t.Context(), places, "", func(time.Time, *time.Location) (usage.Filter, error) { return usage.Filter{}, refusal }); !errors.Is(err, refusal) {
		t.Errorf("what can't be chosen: %v", err)
	}
	store.fails = errors.New("the disk")
	if _, err := r.Sums(t.Context(), places, "", choose); !errors.Is(err, store.fails) {
		t.Errorf("a store that fails: %v", err)
	}
}

func TestBalances(t *testing.T) {
	now := time.Date(2026, 3, 1, 20, 0, 0, 0, time.UTC)
	store := &days{spent: map[string]budget.Amount{
		"k day 2026-03-02 00:00:00": {Tokens: 40, MicroUSD: 9}, "k total 1970-01-01 00:00:00": {Tokens: 400}, "p month 2026-03-01 00:00:00": {MicroUSD: 12},
	}}
	r := usage.NewReports(usage.ReportsOptions{Store: store, Now: func() time.Time { return now }})
	key, project := budget.Owner{Kind: budget.Key, ID: "k"}, budget.Owner{Kind: budget.Project, ID: "p"}
	limits := []budget.Limit{
		{Owner: key, Period: budget.Day, Unit: budget.Tokens, Hard: 100}, {Owner: key, Period: budget.Total, Unit: budget.Tokens, Hard: 300},
		{Owner: project, Period: budget.Month, Unit: budget.USD, Soft: 10},
	}
	asked := 0
	zoneOf := func(owner budget.Owner) (*time.Location, error) {
		asked++
		if owner == key {
			return tokyo, nil
		}
		return time.UTC, nil
	}
	list, err := r.Balances(t.Context(), limits, zoneOf)
	if err != nil || len(list) != 3 || asked != 2 {
		t.Fatalf("%+v, %v, %d owners were asked for", list, err, asked)
	}
	var got []string
	for _, b := range list {
		left, limited := b.Left()
		got = append(got, fmt.Sprintf("%d %d %t %s", b.Spent, left, limited, b.Ends.Format(time.DateTime)))
	}
	if want := []string{"40 60 true 2026-03-03 00:00:00", "400 0 true 0001-01-01 00:00:00", "12 0 false 2026-04-01 00:00:00"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	store.fails = errors.New("the disk")
	if _, err := r.Balances(t.Context(), limits, zoneOf); !errors.Is(err, store.fails) {
		t.Errorf("a store that fails: %v", err)
	}
}
