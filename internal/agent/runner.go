package agent

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/meter"
)

// Defaults of Options.
const (
	// DefaultQueue is how many runs may wait.
	DefaultQueue = 100
	// DefaultSpareFor is how long a spare waits for a run like the one that it was
	// started after.
	DefaultSpareFor = 10 * time.Minute
	// DefaultStopGrace is how long a run that is stopped has to end by itself, so that the
	// CLI's file of the session is whole; its calls of the upstream end at once.
	DefaultStopGrace = 500 * time.Millisecond
)

// Meter gives a process its upstream.
type Meter interface {
	Open(ctx context.Context, run meter.Run) (*meter.Account, error)
}

// Options are what a Runner needs. Folder, Meter and Process are required.
type Options struct {
	// Folder is where what outlives a process is kept: sessions, workspaces and
	// artifacts, by key.
	Folder string
	// Process is how each process is started; of it BaseURL, APIKey, AuthToken, Model
	// and Home aren't used. Its Root is where what doesn't outlive a process is.
	Process claudecli.Options
	// Home is the home whose .claude has the agents and skills that runs may use, "" for
	// none. Login says that the CLI has a login there, and no other credential.
	Home  string
	Login bool
	Meter Meter
	// Catalogue finds agents and skills of Home; nil: by their files' names.
	Catalogue Catalogue
	// MCPConfig is the file with the MCP servers that runs may use, "" for none.
	MCPConfig string
	// Max is how many runs are at work at once, and Queue how many may wait; 0 is one,
	// and DefaultQueue.
	Max, Queue int
	// Spares is how many processes are kept started for runs like those that came
	// last, each for SpareFor.
	Spares   int
	SpareFor time.Duration
	// StopGrace is as DefaultStopGrace.
	StopGrace time.Duration
	// ArtifactBytes is the most that is kept of one run's artifacts together.
	ArtifactBytes int64
	// Memory tells how many bytes the machine has left for further processes; false
	// where that can't be told. nil: it can't.
	Memory func() (int64, bool)
	Logger *slog.Logger
}

func (o *Options) setDefaults() {
	if o.Max <= 0 {
		o.Max = 1
	}
	if o.Queue <= 0 {
		o.Queue = DefaultQueue
	}
	if o.SpareFor <= 0 {
		o.SpareFor = DefaultSpareFor
	}
	if o.StopGrace <= 0 {
		o.StopGrace = DefaultStopGrace
	}
	if o.Memory == nil {
		o.Memory = func() (int64, bool) { return 0, false }
	}
	if o.Catalogue == nil {
		o.Catalogue = byFile{filepath.Join(o.Home, claudeFolder)}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Process.Logger == nil {
		o.Process.Logger = o.Logger
	}
}

// Runner runs agentic work, each run on a process of its own that nobody else gets. It
// is safe for concurrent use, and its locks are never held over I/O.
type Runner struct {
	options    Options
	status     gauges
	slots      *slots
	starts     chan struct{} // holds one while a process starts
	began      chan struct{} // closed by Start
	begin      sync.Once
	life       context.Context
	end        context.CancelCauseFunc
	background sync.WaitGroup
	launch     func(ctx context.Context, s *shape) (*worker, error)

	mu     sync.Mutex
	spares []*spare               // the shape used last is first
	open   map[*Conversation]bool // those whose process runs
	size   int64                  // the largest resident memory of a process so far, in bytes
	closed bool
}

// New makes a Runner that starts nothing until Start: what is to run waits for that.
func New(options Options) *Runner {
	options.setDefaults()
	r := &Runner{options: options, starts: make(chan struct{}, 1), began: make(chan struct{}), open: map[*Conversation]bool{}}
	r.slots = newSlots(options.Max, options.Queue, &r.status)
	r.life, r.end = context.WithCancelCause(context.Background())
	r.launch = r.startWorker
	r.status.reason.Store(&notStarted)
	return r
}

// Start says that the CLI can be used: it was probed.
func (r *Runner) Start() {
	r.status.reason.Store(nil)
	r.begin.Do(func() {
		r.background.Go(r.sweep)
		close(r.began)
	})
}

// Fail says that the CLI can't be used, until Start: what is to run is refused.
func (r *Runner) Fail(err error) {
	text := "the Claude Code CLI can't be used"
	if e := apierror.From(err); e != nil {
		text = e.Message
	}
	r.status.reason.Store(&text)
}

// usable waits for Start.
func (r *Runner) usable(ctx context.Context) error {
	select {
	case <-r.began:
		return nil
	default:
	}
	if reason := r.status.reason.Load(); reason != nil && reason != &notStarted {
		return &apierror.Error{Category: apierror.CLIError, Message: *reason}
	}
	select {
	case <-r.began:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-r.life.Done():
		return errStopping
	}
}

// Close ends all runs, conversations and spares and waits until their processes are
// gone. It may be called more than once.
func (r *Runner) Close() {
	r.mu.Lock()
	r.closed = true
	spares := r.spares
	r.spares = nil
	var open []*Conversation
	for c := range r.open {
		open = append(open, c)
	}
	r.mu.Unlock()
	r.slots.close()
	r.end(errStopping)
	for _, c := range open {
		r.background.Go(c.Close)
	}
	for _, s := range spares {
		r.background.Go(func() { s.drop(r) })
	}
	r.background.Wait()
}

// Run runs a Spec to its end: a process is taken or started for it, asked once, and
// ended. It waits until it is the turn of the run's key. The outcome is filled as far
// as it is known also beside an error, which is ctx's cause, the handler's, or an
// apierror.Error. When ctx ends, the run's calls of the upstream and its process do too,
// before Run returns.
func (r *Runner) Run(ctx context.Context, spec Spec, handler Handler) (Outcome, error) {
	if err := r.slots.acquire(ctx, spec.Caller.KeyID); err != nil {
		return Outcome{}, err
	}
	defer r.slots.release(spec.Caller.KeyID)
	c, err := r.start(ctx, spec)
	if err != nil {
		return Outcome{}, err
	}
	defer c.Close()
	c.turns <- struct{}{} // Close of the Runner may have it
	defer func() { <-c.turns }()
	return c.turn(ctx, spec.ID, spec.Prompt, handler, true)
}

// Open starts a process for a conversation. Like a run, the start waits for its key's
// turn; the conversation then counts as at work only during its turns. Whoever gets
// one must Close it.
func (r *Runner) Open(ctx context.Context, spec Spec) (*Conversation, error) {
	if err := r.slots.acquire(ctx, spec.Caller.KeyID); err != nil {
		return nil, err
	}
	defer r.slots.release(spec.Caller.KeyID)
	return r.start(ctx, spec)
}

// start takes or starts a process for a spec.
func (r *Runner) start(ctx context.Context, spec Spec) (*Conversation, error) {
	if err := r.usable(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := r.within(ctx)
	defer cancel()
	s, err := r.shapeOf(&spec)
	if err != nil {
		return nil, err
	}
	w, err := r.bound(ctx, s, claudecli.AgentSettings{Model: spec.Model, System: spec.System})
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	c := &Conversation{runner: r, spec: spec, worker: w, turns: make(chan struct{}, 1)}
	c.policy = newPolicy(&spec, w.reach)
	r.mu.Lock()
	r.open[c] = true
	closed := r.closed
	r.countIdle()
	r.mu.Unlock()
	if closed {
		c.Close()
		return nil, errStopping
	}
	return c, nil
}

// bound gives a process that knows what it is for. A spare that has died meanwhile is
// no reason for a run to fail.
func (r *Runner) bound(ctx context.Context, s *shape, settings claudecli.AgentSettings) (*worker, error) {
	for {
		w, spare, err := r.worker(ctx, s)
		if err != nil {
			return nil, err
		}
		if err = w.process.Bind(ctx, settings); err == nil {
			return w, nil
		}
		r.abandon(w, s)
		if !spare || ctx.Err() != nil {
			return nil, err
		}
	}
}

// within gives a context that ends with ctx and with the Runner.
func (r *Runner) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(r.life, func() { cancel(context.Cause(r.life)) })
	return ctx, func() { stop(); cancel(nil) }
}

// countIdle counts the conversations between turns. The lock is held.
func (r *Runner) countIdle() {
	idle := 0
	for c := range r.open {
		if !c.working {
			idle++
		}
	}
	r.status.idle.Store(int64(idle))
}
