package job

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/riverqueue/river"
)

// Hold is the right of one run to write of its job, until the job is given to another.
type Hold struct {
	ID      string
	Node    string
	Attempt int
	// Cancelling says that somebody wants the job to end.
	Cancelling bool
}

// End is how a run ended.
type End struct {
	State    State // Completed, Failed or Cancelled
	Result   jsontext.Value
	Category string
	Message  string
	TTL      time.Duration // how long the job is kept from now on
}

// Store keeps jobs: their rows, which are the truth about them, with their events and
// answers, and River's tickets. Whatever a method changes, it changes whole or not at
// all, and durably before it returns. All times are the store's own, so that nodes need
// no common clock. It is safe for concurrent use.
type Store interface {
	Queue
	Runs
	Rows
	Recovery
}

// Queue is where jobs wait. A ticket, River's row, stands for some job of its kind that
// waits, not for a certain one: a worker that gets one claims the job whose turn it is.
// So a ticket too many does no harm, and one that is missing is made by Recover.
type Queue interface {
	// Submit keeps a queued job and a ticket, or gives ErrExists.
	Submit(ctx context.Context, j Job) (Job, error)
	// Claim gives a node the queued job of a kind whose turn it is: of the key with the
	// fewest jobs of the kind that run, then of the one whose last began the longest
	// ago; of these the one of the first priority, which rises with each AgeEvery that a
	// job waits, then the oldest. ErrNotFound: none waits.
	Claim(ctx context.Context, kind Kind, node string, lease time.Duration) (Job, error)
	// Requeue makes a job that runs a queued one, with a ticket, from after now on. free
	// says that the attempt isn't counted as one of MaxAttempts. ErrCancelled: it is to
	// end.
	Requeue(ctx context.Context, h Hold, after time.Duration, free bool) error
	// Client makes River's client for this node, whose id is the configuration's.
	// ErrElsewhere: another process works on the store, which only one may.
	Client(ctx context.Context, config *river.Config) (Client, error)
}

// AgeEvery is how long a job waits until it is as urgent as those of the next priority.
const AgeEvery = time.Minute

// Client is River's.
type Client interface {
	Start(ctx context.Context) error
	Stop(ctx context.Context) error
}

// Runs is what a run writes of its job. Each method gives ErrLost when the job is no longer
// the run's.
type Runs interface {
	// Begin keeps a job that runs already and has no ticket, or gives ErrExists.
	Begin(ctx context.Context, j Job, lease time.Duration) (Job, error)
	// Append keeps events behind those that the job has, and gives the first one's
	// number.
	Append(ctx context.Context, h Hold, events []Event) (first int64, err error)
	// Note keeps the job's progress.
	Note(ctx context.Context, h Hold, progress jsontext.Value) error
	// Settle keeps an answer unless there is one, and gives the one that is kept.
	Settle(ctx context.Context, h Hold, n int, value jsontext.Value) (jsontext.Value, error)
	// Finish ends the job.
	Finish(ctx context.Context, h Hold, end End) error
}

// Rows is what callers ask about jobs. A job of another key is ErrNotFound, but for Find and
// All, which are for those who administer the service.
type Rows interface {
	Job(ctx context.Context, keyID, id string) (Job, error)
	// Find gives a job of any key.
	Find(ctx context.Context, id string) (Job, error)
	// All gives jobs of every key, as List gives those of one, but with Request.
	All(ctx context.Context, filter Filter) ([]Job, error)
	// Count says how many jobs of all keys wait, and how many run.
	Count(ctx context.Context) (queued, running int64, err error)
	// List gives a key's jobs, the newest first, without Request, Progress and Result. A
	// Filter's Limit is set.
	List(ctx context.Context, keyID string, filter Filter) ([]Job, error)
	// Cancel ends a queued job and marks one that runs; ErrEnded: neither. ttl is
	// End.TTL.
	Cancel(ctx context.Context, keyID, id string, ttl time.Duration) (Job, error)
	// PutAnswer keeps an answer of a job that hasn't ended, or gives ErrAnswered or
	// ErrEnded.
	PutAnswer(ctx context.Context, keyID, id string, n int, value jsontext.Value) error
	// Answer gives an answer; nil: there is none yet.
	Answer(ctx context.Context, id string, n int) (jsontext.Value, error)
	// Events gives events after a number, in their order, and whether these are the
	// last that the job will ever have.
	Events(ctx context.Context, id string, after int64, limit int) (events []Event, last bool, err error)
	// Remove forgets a job that has ended, with its events and answers, or gives
	// ErrRunning.
	Remove(ctx context.Context, keyID, id string) error
}

// Recovery keeps jobs from being lost with what ran them.
type Recovery interface {
	// Renew prolongs the leases of runs of one node and gives those that are still held.
	Renew(ctx context.Context, holds []Hold, lease time.Duration) ([]Hold, error)
	// Recover gives back to the queue, with new tickets, the jobs whose lease has ended,
	// where they may be begun again, else it ends them; and makes the tickets that are
	// missing. It gives the jobs that changed hands.
	Recover(ctx context.Context, ttl time.Duration) ([]Job, error)
	// Expired gives some jobs whose time is over.
	Expired(ctx context.Context, limit int) ([]Job, error)
}

// Bus brings word of a job to the other nodes. It is safe for concurrent use.
type Bus interface {
	// Notify tells every node, this one too.
	Notify(ctx context.Context, channel, payload string) error
	// Subscribe has fn called, one call at a time, with each payload, and with "" when
	// some may have been missed. fn doesn't wait.
	Subscribe(channel string, fn func(payload string)) (stop func())
}

// Channel is the Bus's channel of jobs.
const Channel = "claude_api_jobs"
