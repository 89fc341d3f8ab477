package usage

import (
	"context"
	"fmt"
	"time"

	"claude-code-api-service/internal/message"
)

// Period is a calendar period in UTC: the one in which a report is asked for.
type Period string

// The periods. A week begins on Monday (ISO 8601).
const (
	Day   Period = "day"
	Week  Period = "week"
	Month Period = "month"
)

// Periods are all there are.
func Periods() []string { return []string{string(Day), string(Week), string(Month)} }

// Start gives the first moment of the period that holds now; false for a period
// that doesn't exist.
func (p Period) Start(now time.Time) (time.Time, bool) {
	year, month, day := now.UTC().Date()
	switch p {
	case Day:
	case Week:
		day -= (int(now.UTC().Weekday()) + 6) % 7 // days since Monday
	case Month:
		day = 1
	default:
		return time.Time{}, false
	}
	return time.Date(year, month, day, 0, 0, 0, 0, time.UTC), true
}

// Total is what requests have used together.
type Total struct {
	Requests     int64
	Usage        message.Usage
	CostMicroUSD int64 // the known prices, in millionths of a US dollar
	Unpriced     int64 // requests whose price isn't known
}

// Add adds what a sum holds.
func (t *Total) Add(s *Sum) {
	t.Requests += s.Requests
	t.Usage.InputTokens += s.Usage.InputTokens
	t.Usage.OutputTokens += s.Usage.OutputTokens
	t.Usage.CacheReadInputTokens += s.Usage.CacheReadInputTokens
	t.Usage.CacheCreationInputTokens += s.Usage.CacheCreationInputTokens
	t.CostMicroUSD += s.CostMicroUSD
	t.Unpriced += s.Unpriced
}

// Report is what a project has used in a period.
type Report struct {
	Since time.Time
	Total
	ByModel map[string]Total
	ByKey   map[string]Total // by the key's id
	ByDay   map[string]Total // by the day's date: 2006-01-02
}

// reading is how many reports are added up at once. A month of a busy project
// takes a good part of a second (200,000 rows: 0.3 s), and reports count against
// no limit; most of the store's connections that read stay free for others.
const reading = 2

// ReportsOptions are what Reports need.
type ReportsOptions struct {
	Store Store
	Now   func() time.Time // nil is time.Now
}

// Reports adds up the ledger. It is safe for concurrent use.
type Reports struct {
	store Store
	now   func() time.Time
	slots chan struct{}
}

// NewReports makes Reports.
func NewReports(options ReportsOptions) *Reports {
	r := &Reports{store: options.Store, now: options.Now, slots: make(chan struct{}, reading)}
	if r.now == nil {
		r.now = time.Now
	}
	return r
}

// Report adds up what a project has used in the current period. It holds every
// request that has been answered before it began: a row is stored before its answer ends. A
// period that doesn't exist is an error. Few reports are added up at once; the
// others wait.
func (r *Reports) Report(ctx context.Context, projectID string, period Period) (Report, error) {
	since, ok := period.Start(r.now())
	if !ok {
		return Report{}, fmt.Errorf("report usage: there is no period %q", period)
	}
	select {
	case r.slots <- struct{}{}:
		defer func() { <-r.slots }()
	case <-ctx.Done():
		return Report{}, fmt.Errorf("report usage: %w", ctx.Err())
	}
	sums, err := r.store.SumUsage(ctx, Filter{ProjectID: projectID, Since: since})
	if err != nil {
		return Report{}, fmt.Errorf("report usage: %w", err)
	}
	report := Report{Since: since, ByModel: map[string]Total{}, ByKey: map[string]Total{}, ByDay: map[string]Total{}}
	for i := range sums {
		s := &sums[i]
		report.Add(s)
		addTo(report.ByModel, s.Model, s)
		addTo(report.ByKey, s.KeyID, s)
		addTo(report.ByDay, s.Day.Format(time.DateOnly), s)
	}
	return report, nil
}

func addTo(totals map[string]Total, name string, s *Sum) {
	total := totals[name]
	total.Add(s)
	totals[name] = total
}
