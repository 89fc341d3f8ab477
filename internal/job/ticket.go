package job

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"
)

// ErrElsewhere says that another process works on a store that only one may work on.
var ErrElsewhere = errors.New("another process runs the jobs of this folder")

// Ticket is what River knows of a job: that some job of its queue, which has the kind's
// name, waits.
type Ticket struct{}

// Kind implements river.JobArgs.
func (Ticket) Kind() string { return "ticket" }

// Options of a ticket for a job of a kind that may begin at a time; zero: now.
func (Ticket) Options(kind Kind, at time.Time) *river.InsertOpts {
	return &river.InsertOpts{Queue: string(kind), ScheduledAt: at, MaxAttempts: ticketAttempts}
}

// Times of River.
const (
	// fetchCooldown is how long a worker waits after it has looked for tickets before it
	// looks again.
	fetchCooldown = 2 * time.Millisecond
	// fetchEvery is how often a worker looks for tickets of which it wasn't told.
	fetchEvery = time.Second
	// ticketKept is how long River keeps a ticket that was used.
	ticketKept = 10 * time.Minute
	// ticketRescued is when River takes a ticket for lost whose worker was killed. Those
	// of jobs that still run then are doubled, which does no harm.
	ticketRescued = 6 * time.Hour
	// ticketAttempts is how often a worker tries to claim for a ticket, while the store
	// fails.
	ticketAttempts = 25
)

// riverConfig is how River works for this node.
func (e *Engine) riverConfig() *river.Config {
	workers := river.NewWorkers()
	river.AddWorker(workers, &worker{engine: e})
	queues := map[string]river.QueueConfig{}
	for kind := range e.works {
		if n := e.options.Workers[kind]; n > 0 {
			queues[string(kind)] = river.QueueConfig{MaxWorkers: n}
		}
	}
	if len(queues) == 0 {
		return nil
	}
	return &river.Config{
		ID: e.node, Logger: Quiet(e.log), Workers: workers, Queues: queues,
		FetchCooldown: fetchCooldown, FetchPollInterval: fetchEvery, RetryPolicy: retry{},
		JobTimeout: -1, RescueStuckJobsAfter: ticketRescued,
		CompletedJobRetentionPeriod: ticketKept, CancelledJobRetentionPeriod: ticketKept, DiscardedJobRetentionPeriod: ticketKept,
	}
}

// worker takes tickets.
type worker struct {
	river.WorkerDefaults[Ticket]
	engine *Engine
}

// Work implements river.Worker. A ticket that couldn't be used waits for its next try.
func (w *worker) Work(ctx context.Context, ticket *river.Job[Ticket]) error {
	return w.engine.work(ctx, Kind(ticket.Queue))
}

// retry says when a ticket is tried again for which no job could be claimed.
type retry struct{}

// NextRetry implements river.ClientRetryPolicy.
func (retry) NextRetry(ticket *rivertype.JobRow) time.Time {
	return time.Now().Add(backoff(ticket.Attempt))
}

// backoff doubles from a second to a minute.
func backoff(attempt int) time.Duration {
	return min(time.Second<<min(max(attempt-1, 0), 6), time.Minute)
}

// Quiet is a log for River: its news are details, and its errors, which it gets over by
// itself, are warnings.
func Quiet(log *slog.Logger) *slog.Logger { return slog.New(quiet{log.Handler()}) }

type quiet struct{ slog.Handler }

func quieter(level slog.Level) slog.Level {
	switch {
	case level > slog.LevelWarn:
		return slog.LevelWarn
	case level < slog.LevelWarn:
		return slog.LevelDebug
	}
	return level
}

// Enabled implements slog.Handler.
func (q quiet) Enabled(ctx context.Context, level slog.Level) bool {
	return q.Handler.Enabled(ctx, quieter(level))
}

// Handle implements slog.Handler.
func (q quiet) Handle(ctx context.Context, record slog.Record) error {
	record.Level = quieter(record.Level)
	return q.Handler.Handle(ctx, record)
}

// WithAttrs implements slog.Handler.
func (q quiet) WithAttrs(attrs []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(attrs)} }

// WithGroup implements slog.Handler.
func (q quiet) WithGroup(name string) slog.Handler { return quiet{q.Handler.WithGroup(name)} }
