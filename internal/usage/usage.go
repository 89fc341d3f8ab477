// Package usage is the ledger: one row for every request that was admitted,
// durable before the answer's last byte leaves.
package usage

import (
	"context"
	"time"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// NotMeasured stands in Row.Micros for a stage that the request didn't pass.
const NotMeasured int64 = -1

// maxText bounds each text of a row, in bytes. Callers choose some of them (a
// model's name, a request id), and no real one is longer.
const maxText = 256

// Row is one request in the ledger.
type Row struct {
	ID        int64 // the store's, rising; 0 before the row is stored
	RequestID string
	Time      time.Time // when the request arrived; stores keep whole microseconds
	Endpoint  string
	KeyID     string
	ProjectID string
	Backend   string
	Requested string // the model as asked
	Routed    string // the model as sent to the backend
	Answered  string // the model that answered
	Usage     message.Usage
	// CostMicroUSD is the price in millionths of a US dollar; nil when unknown.
	CostMicroUSD *int64
	StopReason   string
	Status       int    // the HTTP status that the outcome stands for
	Category     string // the error's category, "" on success
	// Micros holds the stages in microseconds, by latency.Stage, or NotMeasured.
	// latency.Record is never measured here: the row is what is being recorded.
	// latency.Total runs from the request's arrival to the row's making.
	Micros [latency.Count]int64
}

// NewRow flattens an entry. Texts are made storable in any database: valid
// UTF-8, at most 256 bytes, and without the control characters that could steer
// the terminal on which the ledger is read.
func NewRow(entry gateway.Entry) Row {
	row := Row{
		RequestID: storable(entry.RequestID), Time: entry.Time, Endpoint: storable(entry.Endpoint), Backend: storable(entry.Backend),
		Requested: storable(entry.Requested), Routed: storable(entry.Routed), Answered: storable(entry.Result.Model),
		Usage: entry.Result.Usage, CostMicroUSD: entry.Result.CostMicroUSD, StopReason: storable(entry.Result.StopReason),
		Status: entry.Status, Category: storable(entry.Category),
	}
	if entry.Caller != nil {
		row.KeyID, row.ProjectID = entry.Caller.KeyID, entry.Caller.ProjectID
	}
	for s := range row.Micros {
		row.Micros[s] = NotMeasured
	}
	if entry.Clock == nil {
		return row
	}
	// The stages follow each other without a gap, so what was measured adds up
	// to the time since the arrival.
	var total time.Duration
	for s := latency.Stage(0); s < latency.Record; s++ {
		if took, ok := entry.Clock.Took(s); ok {
			row.Micros[s] = took.Microseconds()
			total += took
		}
	}
	row.Micros[latency.Total] = total.Microseconds()
	return row
}

func storable(text string) string { return gateway.Storable(text, maxText) }

// Sum adds up the rows of one day, project, key and model.
type Sum struct {
	// Day is the first moment of the day in the project's time zone, given in UTC.
	Day       time.Time
	ProjectID string
	KeyID     string
	Model     string // as answered; as routed or asked where nothing was answered
	// Requests counts those of callers. An agentic run is one: the calls that it made of
	// the upstream, which have the rows with its tokens, aren't counted.
	Requests int64
	Usage    message.Usage
	// CostMicroUSD adds up the known prices, in millionths of a US dollar.
	CostMicroUSD int64
	// Unpriced counts the requests whose price isn't known.
	Unpriced int64
	// Charged is what budgets were charged beside all this, for requests of which too
	// little is known: what those had reserved.
	Charged budget.Amount
}

// Filter chooses rows by their times, project and key. A zero field chooses all.
type Filter struct {
	Since     time.Time // those of this moment and later
	Until     time.Time // those before this moment
	ProjectID string
	KeyID     string
}

// Store keeps the ledger. It is safe for concurrent use, and other processes
// may write to the same ledger.
type Store interface {
	// AppendUsage stores all rows and adds the sums to those that are stored, all or
	// nothing, in one transaction; they are durable on return. Row.ID is ignored. No
	// two sums are of one day, project, key and model.
	AppendUsage(ctx context.Context, rows []Row, sums []Sum) error
	// Spent gives what an owner has spent in the period that begins at start, in
	// start's time zone: the sum of the sums of its days.
	Spent(ctx context.Context, owner budget.Owner, period budget.Period, start time.Time) (budget.Amount, error)
	// SumUsage gives the sums of the chosen days: those that begin at Filter.Since or
	// later and before Filter.Until, by day, project, key and model.
	SumUsage(ctx context.Context, filter Filter) ([]Sum, error)
	// ListUsage gives at most limit of the chosen rows whose ID is above after, by ID:
	// the way to page through the ledger.
	ListUsage(ctx context.Context, after int64, limit int, filter Filter) ([]Row, error)
	// CountUsage adds up the chosen rows by project and a dimension, in no particular
	// order.
	CountUsage(ctx context.Context, filter Filter, by Dimension) ([]Count, error)
	// LastDays gives the first moment of the last day on which each key has used something,
	// in UTC, by the key's id.
	LastDays(ctx context.Context) (map[string]time.Time, error)
}
