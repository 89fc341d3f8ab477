package usage

import (
	"context"
	"fmt"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// Total is what requests have used together.
type Total struct {
	Requests     int64
	Usage        message.Usage
	CostMicroUSD int64         // the known prices, in millionths of a US dollar
	Unpriced     int64         // requests whose price isn't known
	Charged      budget.Amount // as in Sum
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
	t.Charged = t.Charged.Add(s.Charged)
}

// Report is what a project has used in a period.
type Report struct {
	Since time.Time
	Total
	ByModel map[string]Total
	ByKey   map[string]Total // by the key's id
	ByDay   map[string]Total // by the day's date: 2006-01-02
}

// ReportsOptions are what Reports need.
type ReportsOptions struct {
	Store Store
	Now   func() time.Time // nil is time.Now
}

// Reports tells of the ledger. It is safe for concurrent use.
type Reports struct {
	store Store
	now   func() time.Time
}

// NewReports makes Reports.
func NewReports(options ReportsOptions) *Reports {
	if options.Now == nil {
		options.Now = time.Now
	}
	return &Reports{options.Store, options.Now}
}

// Report adds up what the caller's project has used in the current period of its
// time zone. It holds every request that has been answered before it began: a row
// is stored before its answer ends.
func (r *Reports) Report(ctx context.Context, caller *gateway.Caller, period budget.Period) (Report, error) {
	since := period.Start(r.now().In(caller.Zone()))
	sums, err := r.store.SumUsage(ctx, Filter{ProjectID: caller.ProjectID, Since: since})
	if err != nil {
		return Report{}, fmt.Errorf("report usage: %w", err)
	}
	report := Report{Since: since, ByModel: map[string]Total{}, ByKey: map[string]Total{}, ByDay: map[string]Total{}}
	for i := range sums {
		s := &sums[i]
		report.Add(s)
		addTo(report.ByModel, s.Model, s)
		addTo(report.ByKey, s.KeyID, s)
		addTo(report.ByDay, s.Day.In(caller.Zone()).Format(time.DateOnly), s)
	}
	return report, nil
}

func addTo(totals map[string]Total, name string, s *Sum) {
	total := totals[name]
	total.Add(s)
	totals[name] = total
}
