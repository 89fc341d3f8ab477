package job

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/riverqueue/river"

	"claude-code-api-service/internal/apierror"
)

// Defaults of Options.
const (
	DefaultTTL = 30 * 24 * time.Hour
	// DefaultMaxAttempts is how often a job is begun.
	DefaultMaxAttempts = 3
)

// DefaultLease is how long after its last renewal a job is taken from its node. A node
// renews five times in that time, and takes a job for its own for four fifths of it: so it
// has stopped before another begins.
const DefaultLease = 10 * time.Second

const (
	// storeTimeout bounds one write of a run.
	storeTimeout = 5 * time.Second
	// storePause is between attempts to write how a run ended.
	storePause = 250 * time.Millisecond
	// elsewherePause is between attempts to work on a store on which another process
	// works.
	elsewherePause = time.Second
)

// Options are what an Engine needs.
type Options struct {
	Store Store
	// Workers says how many jobs of a kind this node runs at once; none of a kind that
	// isn't in it.
	Workers map[Kind]int
	// TTL is how long a job is kept after its end; 0 is DefaultTTL.
	TTL time.Duration
	// Lease is how long after its last renewal a job is taken from its node; 0 is
	// DefaultLease.
	Lease time.Duration
	// Bus brings word of jobs to the other nodes; nil: then other processes' changes are
	// looked for every second.
	Bus Bus
	// Began and Ended hear of each run of a job on this node, before it does anything and
	// when its end is to be written: Queued says that the job goes on elsewhere or later.
	// They return at once. nil: nobody hears.
	Began func(j Job)
	Ended func(kind Kind, state State)
	// Log hears of jobs that were handed on and of failures of the store; nil is silent.
	Log *slog.Logger
}

// Work does a job. ctx ends when the job is to end, see ErrCancelled, ErrStopping and
// ErrLost; its cause says why. The result is kept also beside an error. The job is then
// completed, or failed with the error's apierror category and message; cancelled, if it
// was to be; or queued again, after Later, Again and ErrStopping, and where ctx
// ended with that, unless the error is an apierror.Error of another cause.
//
// A job may be begun more than once, if what ran it was killed: Attempt is then more
// than 1, and Progress what was noted last.
type Work func(ctx context.Context, r *Run) (result jsontext.Value, err error)

// Engine runs jobs. It is safe for concurrent use.
type Engine struct {
	options Options
	store   Store
	log     *slog.Logger
	node    string
	works   map[Kind]Work
	forgets map[Kind]func(ctx context.Context, j Job)
	feed    feed
	bell    *bell

	mu       sync.Mutex // guards what follows
	runs     map[string]*Run
	stopping bool
	client   Client // nil: not yet, or this node runs no jobs from the queue

	ended      signal        // rings when a run is over
	look       chan struct{} // has the leases looked at now
	life       context.Context
	end        context.CancelFunc
	background sync.WaitGroup
	stopWatch  func()
}

// New makes an Engine. Before Start, and where it isn't started, jobs are submitted and
// read, but not run.
func New(options Options) *Engine {
	e := &Engine{
		options: options, store: options.Store, log: options.Log, node: "node_" + random(8), works: map[Kind]Work{}, forgets: map[Kind]func(ctx context.Context, j Job){},
		runs: map[string]*Run{}, look: make(chan struct{}, 1), stopWatch: func() {},
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	if e.options.TTL <= 0 {
		e.options.TTL = DefaultTTL
	}
	if e.options.Lease <= 0 {
		e.options.Lease = DefaultLease
	}
	e.bell = &bell{bus: options.Bus, node: e.node, log: e.log, rung: make(chan struct{}, 1), ids: map[string]bool{}}
	e.life, e.end = context.WithCancel(context.Background())
	return e
}

func random(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // never fails
	return hex.EncodeToString(raw)
}

// Handle says who does the jobs of a kind. It is called before Start.
func (e *Engine) Handle(kind Kind, work Work) { e.works[kind] = work }

// Forgotten says who is to be told, before it is, of a job of a kind that is forgotten:
// its time is over, or its key has removed it. One node tells, perhaps not the one that
// ran it, and it may tell again of the same job. It is called before Start.
func (e *Engine) Forgotten(kind Kind, tell func(ctx context.Context, j Job)) { e.forgets[kind] = tell }

// Start begins to run jobs, and to keep the leases of those that run. ctx ends the
// start only.
func (e *Engine) Start(ctx context.Context) error {
	if e.options.Bus != nil {
		e.stopWatch = e.options.Bus.Subscribe(Channel, e.heard)
		e.background.Go(func() { e.bell.run(e.life) })
	}
	e.background.Go(func() { e.keepLeases(e.life) })
	e.background.Go(func() { e.sweep(e.life) })
	config := e.riverConfig()
	if config == nil {
		return nil
	}
	err := e.begin(ctx, config)
	if errors.Is(err, ErrElsewhere) {
		e.log.InfoContext(ctx, "jobs wait until the other process of this data folder ends")
		e.background.Go(func() { e.await(config) })
		return nil
	}
	if err != nil {
		return fmt.Errorf("start the queue: %w", err)
	}
	return nil
}

// begin takes tickets from now on.
func (e *Engine) begin(ctx context.Context, config *river.Config) error {
	client, err := e.store.Client(ctx, config)
	if err != nil {
		return err
	}
	if err := client.Start(context.WithoutCancel(ctx)); err != nil {
		return errors.Join(err, client.Stop(ctx))
	}
	e.mu.Lock()
	stopping := e.stopping
	e.client = client
	e.mu.Unlock()
	if stopping {
		return client.Stop(ctx)
	}
	e.recover(ctx) // what the last process was running
	return nil
}

// await begins once the other process has ended.
func (e *Engine) await(config *river.Config) {
	for {
		select {
		case <-e.life.Done():
			return
		case <-time.After(elsewherePause):
		}
		switch err := e.begin(e.life, config); {
		case err == nil:
			e.log.InfoContext(e.life, "this process runs the jobs of the data folder now")
			return
		case !errors.Is(err, ErrElsewhere) && e.life.Err() == nil:
			e.log.ErrorContext(e.life, "the queue can't be started", "error", err)
		}
	}
}

// onceFor is how long an Idempotency-Key holds: see idempotency.TTL.
const onceFor = 24 * time.Hour

// Submit queues a job. It sets what isn't: ID, Priority, MaxAttempts. When it returns
// without an error, the job is durable: the one that was asked for before, where Once
// says so, in whatever state it is.
func (e *Engine) Submit(ctx context.Context, j Job) (Job, error) {
	complete(&j)
	if j.Once == "" {
		return e.submit(ctx, j)
	}
	// Whoever lost the answer to the first request, since its node died before that was
	// kept, finds its job by the id that both make of what they ask for.
	id := j.ID
	kind, _, _ := strings.Cut(id, "_")
	sum := sha256.Sum256([]byte(j.KeyID + "\x00" + j.Once))
	j.ID = kind + "_" + hex.EncodeToString(sum[:16])
	kept, err := e.submit(ctx, j)
	if !errors.Is(err, ErrExists) {
		return kept, err
	}
	kept, err = e.store.Job(ctx, j.KeyID, j.ID)
	switch {
	case err == nil && time.Since(kept.Created) < onceFor:
		return kept, nil
	case err != nil && !errors.Is(err, ErrNotFound):
		return Job{}, unkept(ctx, err)
	}
	j.ID = id
	return e.submit(ctx, j)
}

func (e *Engine) submit(ctx context.Context, j Job) (Job, error) {
	j, err := e.store.Submit(ctx, j)
	if err != nil {
		return Job{}, unkept(ctx, err)
	}
	return j, nil
}

func complete(j *Job) {
	if j.ID == "" {
		j.ID = string(j.Kind) + "_" + random(12)
	}
	if j.Priority < PriorityFirst || j.Priority > PriorityLast {
		j.Priority = PriorityDefault
	}
	if j.MaxAttempts <= 0 {
		j.MaxAttempts = DefaultMaxAttempts
	}
}

// unkept is what a caller hears whose job couldn't be kept.
func unkept(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, ErrExists):
		return err
	case ctx.Err() != nil:
		return apierror.Wrap(apierror.ClientClosed, "the caller left", err)
	}
	return &apierror.Error{Category: apierror.Overloaded, Message: "the job can't be kept at the moment", RetryAfter: retryAfter, Cause: err}
}

// retryAfter is what callers are told who come while the store fails.
const retryAfter = 5 * time.Second

// Begin makes a job that runs in the caller's own request, from now on and on this node.
// The run's Context ends with ctx, and as a Work's does. finish must be called once, with
// what a Work returns; the job is then never queued again. Should the node die before,
// the job fails with CategoryInterrupted.
func (e *Engine) Begin(ctx context.Context, j Job) (r *Run, finish func(result jsontext.Value, err error) error, err error) {
	complete(&j)
	j.Node, j.Attempt, j.MaxAttempts = e.node, 1, 1
	asked := time.Now()
	if j, err = e.store.Begin(ctx, j, e.options.Lease); err != nil {
		return nil, nil, unkept(ctx, err)
	}
	r = e.adopt(ctx, j, asked, false)
	return r, func(result jsontext.Value, err error) error { return r.close(result, err) }, nil
}

// Job gives a job of a key, or ErrNotFound.
func (e *Engine) Job(ctx context.Context, keyID, id string) (Job, error) {
	return e.store.Job(ctx, keyID, id)
}

// List gives jobs of a key, the newest first, without Request, Progress and Result.
func (e *Engine) List(ctx context.Context, keyID string, filter Filter) ([]Job, error) {
	if filter.Limit <= 0 {
		filter.Limit = DefaultLimit
	}
	return e.store.List(ctx, keyID, filter)
}

// Find gives a job of any key, or ErrNotFound: for those who administer the service.
func (e *Engine) Find(ctx context.Context, id string) (Job, error) { return e.store.Find(ctx, id) }

// Count says how many jobs of all keys wait, and how many run, on whichever node.
func (e *Engine) Count(ctx context.Context) (queued, running int64, err error) {
	return e.store.Count(ctx)
}

// All gives jobs of every key, as List gives those of one, but with Request.
func (e *Engine) All(ctx context.Context, filter Filter) ([]Job, error) {
	if filter.Limit <= 0 {
		filter.Limit = DefaultLimit
	}
	return e.store.All(ctx, filter)
}

// Cancel ends a queued job at once, and has one that runs end, wherever it does; the job
// it gives is then Cancelling. ErrEnded: it is over.
func (e *Engine) Cancel(ctx context.Context, keyID, id string) (Job, error) {
	j, err := e.store.Cancel(ctx, keyID, id, e.options.TTL)
	if err != nil {
		return j, err
	}
	if r := e.running(id); r != nil {
		r.cancel(ErrCancelled)
	} else {
		e.changed(id)
	}
	return j, nil
}

// Answer answers a job's question n. The first answer counts: ErrAnswered says that
// there is one. ErrEnded: the job is over.
func (e *Engine) Answer(ctx context.Context, keyID, id string, n int, value jsontext.Value) error {
	if err := e.store.PutAnswer(ctx, keyID, id, n, value); err != nil {
		return err
	}
	if r := e.running(id); r != nil {
		r.answers.ring()
	} else {
		e.changed(id)
	}
	return nil
}

// Remove forgets a job that has ended, or gives ErrRunning.
func (e *Engine) Remove(ctx context.Context, keyID, id string) error {
	j, err := e.store.Job(ctx, keyID, id)
	if err != nil {
		return err
	}
	if !j.State.Ended() {
		return ErrRunning
	}
	return e.forget(ctx, j)
}

func (e *Engine) forget(ctx context.Context, j Job) error {
	if tell := e.forgets[j.Kind]; tell != nil {
		tell(ctx, j)
	}
	return e.store.Remove(ctx, j.KeyID, j.ID)
}

// Events gives a job's events after a number, and those to come as they happen, until
// the job has ended and all were given, or ctx ends. Events with the number 0 come only from a
// run on this node, and not to those who are too slow.
func (e *Engine) Events(ctx context.Context, keyID, id string, after int64) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		if _, err := e.store.Job(ctx, keyID, id); err != nil {
			yield(Event{}, err)
			return
		}
		e.follow(ctx, id, after, yield)
	}
}
