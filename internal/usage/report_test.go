package usage_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/usage"
)

// sums is a Store that only adds up.
type sums struct {
	usage.Store
	list    []usage.Sum
	err     error
	project string
	since   time.Time
}

func (s *sums) SumUsage(_ context.Context, filter usage.Filter) ([]usage.Sum, error) {
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
	got, err := reports.Report(t.Context(), &gateway.Caller{ProjectID: "alpha"}, budget.Month)
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
	// A project in the east has had its midnight before.
	east := &gateway.Caller{ProjectID: "alpha", Location: time.FixedZone("east", 3*60*60)}
	got, err = reports.Report(t.Context(), east, budget.Day)
	if want := first.AddDate(0, 0, 1).Add(-3 * time.Hour); err != nil || !store.since.Equal(want) || got.ByDay["2026-03-01"].Requests != 2 {
		t.Errorf("asked since %v, %v, want since %v; %+v", store.since, err, want, got.ByDay)
	}
	store.err = errors.New("disk")
	if _, err := reports.Report(t.Context(), east, budget.Day); !errors.Is(err, store.err) {
		t.Errorf("err = %v, want the store's", err)
	}
}
