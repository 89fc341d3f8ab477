// Package job keeps work that outlives a request: durable, in turn, repeated where
// that is safe, on whichever node has room. Its engine is River.
package job

import (
	"errors"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// Kind says what a job does.
type Kind string

// The kinds.
const (
	KindTask    Kind = "task"
	KindProcess Kind = "process"
	KindBatch   Kind = "batch"
)

// State is where a job is in its life.
type State string

// The states. Ended ones are never left.
const (
	Queued    State = "queued"
	Running   State = "running"
	Completed State = "completed"
	Failed    State = "failed"
	Cancelled State = "cancelled"
)

// Ended says that a job in this state is over.
func (s State) Ended() bool { return s == Completed || s == Failed || s == Cancelled }

// Priorities of a key's jobs; those before are started first.
const (
	PriorityFirst   = 1
	PriorityDefault = 2
	PriorityLast    = 4
)

// Job is one piece of work of one key.
type Job struct {
	ID        string
	Kind      Kind
	KeyID     string
	ProjectID string
	Priority  int
	State     State
	// Once, unless it is "", says what asks for the job: Submit keeps one job for all that a
	// key asks for with the same in a day. It isn't kept itself.
	Once string
	// Request is what is to be done, as the kind's own JSON. It is never changed.
	Request jsontext.Value
	// Progress is what the work has noted for whoever goes on after it, as the kind's
	// own JSON; nil: nothing.
	Progress jsontext.Value
	// Result is what the work gave, also beside a failure, as the kind's own JSON;
	// nil: nothing.
	Result jsontext.Value
	// Category and Message say why it failed, as apierror does.
	Category, Message string
	// Attempt counts how often it was begun, MaxAttempts is how often it may be.
	Attempt, MaxAttempts int
	// Node is where it runs, or ran last.
	Node string
	// Cancelling says that somebody wants it to end.
	Cancelling bool
	Created    time.Time
	Started    time.Time // of the last attempt; zero: not yet
	Ended      time.Time // zero: not yet
	Expires    time.Time // when it is forgotten, with its events; zero: not before it has ended
}

// What Job.Category is beside apierror's categories.
const (
	// CategoryInterrupted says that a job failed because what ran it is gone.
	CategoryInterrupted = "interrupted"
	// CategoryCancelled says that somebody cancelled a job.
	CategoryCancelled = "cancelled"
)

// Interrupted is the Message of a job that failed because what ran it is gone.
const Interrupted = "what ran it was interrupted"

// Event is something that happened in a job.
type Event struct {
	// Seq counts a job's events from 1 without a gap; 0: it isn't kept, and only those
	// hear of it who listen now.
	Seq  int64
	Time time.Time
	Type string
	Data jsontext.Value // an object
}

// ErrNotFound says that the key has no such job.
var ErrNotFound = errors.New("there is no such job")

// ErrEnded says that a job is over.
var ErrEnded = errors.New("the job has ended")

// ErrRunning says that a job hasn't ended.
var ErrRunning = errors.New("the job hasn't ended")

// ErrExists says that there is a job with that id.
var ErrExists = errors.New("there is such a job already")

// ErrAnswered says that a question was answered before.
var ErrAnswered = errors.New("the question was answered before")

// The causes with which a run's context ends.
var (
	// ErrCancelled says that somebody wants the job to end.
	ErrCancelled = errors.New("the job was cancelled")
	// ErrStopping says that this node stops: a job that came from the queue goes back
	// there.
	ErrStopping = errors.New("the service stops")
	// ErrLost says that the job was given to another node, or is gone. Nothing that this
	// run still writes is kept.
	ErrLost = errors.New("the job is no longer this run's")
)

// again is an error after which a job is to be tried again.
type again struct{ error }

// Again says of an error that passes that the job is to be tried again, after a while
// that grows with its attempts, or the error's RetryAfter, up to half a minute, where that
// is longer. The last attempt fails with the error.
func Again(err error) error { return again{err} }

func (a again) Unwrap() error { return a.error }

// later is an error after which a job waits again.
type later struct {
	error
	after time.Duration
}

// Later says of an error that the job couldn't begin yet: it is queued again for a time
// after now, and its attempt isn't counted.
func Later(err error, after time.Duration) error { return later{err, after} }

func (l later) Unwrap() error { return l.error }

// Filter chooses jobs of a list.
type Filter struct {
	Kind   Kind   // "": every kind
	State  State  // "": every state
	Before string // the id of a job: only those that were made before it; "": all
	Limit  int    // 0: DefaultLimit
}

// DefaultLimit is how many jobs a list has.
const DefaultLimit = 100
