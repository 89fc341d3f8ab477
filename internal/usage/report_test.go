package usage_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/usage"
)

func TestPeriodStart(t *testing.T) {
	east := time.FixedZone("east", 3*60*60)
	for _, test := range []struct {
		name   string
		period usage.Period
		now    time.Time
		want   string
	}{
		{"day", usage.Day, time.Date(2026, 3, 5, 23, 59, 59, 0, time.UTC), "2026-03-05"},
		{"day of UTC", usage.Day, time.Date(2026, 3, 5, 2, 0, 0, 0, east), "2026-03-04"},
		{"Monday", usage.Week, time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC), "2026-03-02"},
		{"Sunday", usage.Week, time.Date(2026, 3, 1, 23, 0, 0, 0, time.UTC), "2026-02-23"},
		{"a week over the new year", usage.Week, time.Date(2027, 1, 1, 5, 0, 0, 0, time.UTC), "2026-12-28"},
		{"month", usage.Month, time.Date(2028, 2, 29, 5, 0, 0, 0, time.UTC), "2028-02-01"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, ok := test.period.Start(test.now)
			if want := test.want + "T00:00:00Z"; !ok || got.Format(time.RFC3339) != want {
				t.Errorf("starts %v, %v, want %s", got, ok, want)
			}
		})
	}
	if _, ok := usage.Period("year").Start(time.Now()); ok {
		t.Error("a year is a period")
	}
}

// sums is a Store that only adds up.
type sums struct {
	usage.Store
	list    []usage.Sum
	err     error
	project string
	since   time.Time

	hold, began chan struct{} // nil: nobody waits
}

func (s *sums) SumUsage(_ context.Context, filter usage.Filter) ([]usage.Sum, error) {
	if s.hold != nil {
		s.began <- struct{}{}
		<-s.hold
		return nil, nil
	}
	s.project, s.since = filter.ProjectID, filter.Since
	return s.list, s.err
}

func TestReport(t *testing.T) {
	first := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	tokens := message.Usage{InputTokens: 1, OutputTokens: 2, CacheReadInputTokens: 3, CacheCreationInputTokens: 4}
	store := &sums{list: []usage.Sum{
		{Day: first, KeyID: "a", Model: "m", Requests: 1, Usage: tokens, CostMicroUSD: 5},
		{Day: first, KeyID: "b", Model: "m", Requests: 1, Usage: tokens, CostMicroUSD: 6},
		{Day: first.AddDate(0, 0, 1), KeyID: "a", Model: "n", Requests: 2, Usage: tokens, Unpriced: 2},
	}}
	reports := usage.NewReports(usage.ReportsOptions{Store: store, Now: func() time.Time { return first.AddDate(0, 0, 1) }})
	got, err := reports.Report(t.Context(), "alpha", usage.Month)
	if err != nil || store.project != "alpha" || !store.since.Equal(first) {
		t.Fatalf("asked for %s since %v, %v", store.project, store.since, err)
	}
	twice := message.Usage{InputTokens: 2, OutputTokens: 4, CacheReadInputTokens: 6, CacheCreationInputTokens: 8}
	m := usage.Total{Requests: 2, Usage: twice, CostMicroUSD: 11}
	n := usage.Total{Requests: 2, Usage: tokens, Unpriced: 2}
	want := usage.Report{
		Since:   first,
		Total:   usage.Total{Requests: 4, Usage: message.Usage{InputTokens: 3, OutputTokens: 6, CacheReadInputTokens: 9, CacheCreationInputTokens: 12}, CostMicroUSD: 11, Unpriced: 2},
		ByModel: map[string]usage.Total{"m": m, "n": n},
		ByKey:   map[string]usage.Total{"a": {Requests: 3, Usage: twice, CostMicroUSD: 5, Unpriced: 2}, "b": {Requests: 1, Usage: tokens, CostMicroUSD: 6}},
		ByDay:   map[string]usage.Total{"2026-03-01": m, "2026-03-02": n},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("report =\n%+v, want\n%+v", got, want)
	}
	if _, err := reports.Report(t.Context(), "alpha", "year"); err == nil {
		t.Error("a report of a year")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	store.hold = make(chan struct{})
	store.began = make(chan struct{})
	done := make(chan error)
	for range 2 {
		go func() {
			_, err := reports.Report(t.Context(), "alpha", usage.Day)
			done <- err
		}()
		<-store.began
	}
	if _, err := reports.Report(ended, "alpha", usage.Day); !errors.Is(err, context.Canceled) {
		t.Errorf("a third at once: %v, want that it waits", err)
	}
	close(store.hold)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	store.hold = nil
	store.err = errors.New("disk")
	if _, err := reports.Report(t.Context(), "alpha", usage.Day); !errors.Is(err, store.err) {
		t.Errorf("err = %v, want the store's", err)
	}
}
