// Package clipool keeps Claude Code CLI processes started ahead and hands them
// to requests: a Backend of the gateway. A worker that has served one class of
// requests (a project, see Reuse) is emptied and serves the same class again,
// or is replaced.
package clipool

import (
	"context"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/message"
)

// Reuse says what requests one worker may serve in turn.
type Reuse string

// The values of pool.reuse.
const (
	ReuseNever       Reuse = "never"        // one request a process
	ReuseSameProject Reuse = "same-project" // those of one project; the default
	ReuseAlways      Reuse = "always"       // any
)

// Defaults of Options.
const (
	DefaultWorkers        = 5
	DefaultQueuePerWorker = 10
	// DefaultMaxTurns recycles a worker: memory growth is known in the field. A
	// new process costs 0.67 CPU-seconds, so this is 1 ms a request.
	DefaultMaxTurns = 500
	DefaultMaxAge   = time.Hour
	// DefaultMaxResidentBytes is four times what a parked worker uses.
	DefaultMaxResidentBytes = 1 << 30
	// DefaultSpareAfter is how long a worker of one project idles before it is
	// replaced by one that any project can take, when there is no such one.
	DefaultSpareAfter = 30 * time.Second
	// DefaultPatience is how long the head of the queue lets requests of other
	// classes pass before a worker is replaced for it.
	DefaultPatience = 2 * time.Second
	// DefaultInspectEvery is how often idle workers are looked at.
	DefaultInspectEvery = 5 * time.Second
	// DefaultHoldFor is how long a worker holds a conversation that is at rest.
	DefaultHoldFor = 5 * time.Minute
	// DefaultParkFor is how long a worker waits for the results of tool calls.
	DefaultParkFor = 15 * time.Minute
)

const (
	minBackoff   = 250 * time.Millisecond
	maxBackoff   = 30 * time.Second
	emptyTimeout = 10 * time.Second
)

// Options configure a Pool.
type Options struct {
	Workers        int // the most processes at once
	QueuePerWorker int // how many requests may wait, for each worker
	Reuse          Reuse
	// Starting is how many processes may start at once: eight at once took
	// 2.1-3.2 s each on two cores. By default half the cores, at least one.
	Starting         int
	MaxTurns         int
	MaxAge           time.Duration
	MaxResidentBytes int64
	SpareAfter       time.Duration
	Patience         time.Duration
	InspectEvery     time.Duration
	// HoldFor is how long a worker holds a conversation after its answer, for the
	// same key to go on with; negative: not at all. ParkFor is the same for one that
	// waits for the results of tool calls. Either ends sooner when others need the
	// worker; then the conversation is replayed.
	HoldFor, ParkFor time.Duration
	// Price gives the cost of the answer to a request that arrived at a moment, in
	// millionths of a US dollar, for those of which the CLI doesn't say it: it adds up
	// a turn only at its end. May be nil.
	Price func(model string, at time.Time, u message.Usage) (microUSD int64, ok bool)
	// Rules say what a model takes of a request. May be nil: nothing is known.
	Rules func(model string) message.Rules
	// Process is how each worker is started. Features come with Start.
	Process claudecli.Options
	Logger  *slog.Logger
}

func (o *Options) setDefaults() {
	set := func(to *int, value int) {
		if *to <= 0 {
			*to = value
		}
	}
	set(&o.Workers, DefaultWorkers)
	set(&o.QueuePerWorker, DefaultQueuePerWorker)
	set(&o.Starting, max(1, runtime.NumCPU()/2))
	set(&o.MaxTurns, DefaultMaxTurns)
	if o.Reuse == "" {
		o.Reuse = ReuseSameProject
	}
	if o.MaxAge <= 0 {
		o.MaxAge = DefaultMaxAge
	}
	if o.MaxResidentBytes <= 0 {
		o.MaxResidentBytes = DefaultMaxResidentBytes
	}
	if o.SpareAfter <= 0 {
		o.SpareAfter = DefaultSpareAfter
	}
	if o.Patience <= 0 {
		o.Patience = DefaultPatience
	}
	if o.InspectEvery <= 0 {
		o.InspectEvery = DefaultInspectEvery
	}
	if o.HoldFor == 0 {
		o.HoldFor = DefaultHoldFor
	}
	if o.ParkFor <= 0 {
		o.ParkFor = DefaultParkFor
	}
	if o.Rules == nil {
		o.Rules = func(string) message.Rules { return message.Rules{} }
	}
	if o.Price == nil {
		o.Price = func(string, time.Time, message.Usage) (int64, bool) { return 0, false }
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Process.Logger == nil {
		o.Process.Logger = o.Logger
	}
}

// worker is one process on its way between parking and requests. What isn't a
// Process belongs to the pool's lock.
type worker struct {
	process   *claudecli.Process
	class     string // "" until its first request
	idleSince time.Time
	grown     bool // it uses too much memory
	// kept is the conversation that it holds for its key, nil when it is empty or
	// serves a request.
	kept *kept
	// lot is between -1 and 1, by chance: it spreads the ends of workers that
	// started together.
	lot float64
}

// Pool hands workers to requests. It is safe for concurrent use. Its lock is
// never held over I/O.
type Pool struct {
	options Options
	// features are set once, before any worker starts.
	features atomic.Pointer[claudecli.Features]
	status   gauges

	mu    sync.Mutex
	idle  []*worker // empty; the one that became idle last is last
	kept  []*worker // with a conversation; the one that has held it longest is first
	queue *queue
	// alive are the workers that are ready: idle, with a request, or being emptied.
	alive    map[*worker]bool
	starting int
	// talkers are the keys that have conversations, with when they last did.
	talkers  map[string]time.Time
	emptying map[string]int // workers that will be free in a moment, by class
	owners   map[string]int // live workers by class
	// failure is why the last start failed, until one succeeds.
	failure  error
	failures int // in a row
	retry    *time.Timer
	closed   bool
	// tasks counts the pool's goroutines and the workers that are alive, so that
	// it can't fall to zero while a request holds one.
	tasks sync.WaitGroup
	stop  context.CancelFunc
	life  context.Context
}

// New makes a pool that has no workers yet: requests queue until Start or Fail.
func New(options Options) *Pool {
	options.setDefaults()
	p := &Pool{options: options, queue: newQueue(), alive: map[*worker]bool{}, emptying: map[string]int{}, owners: map[string]int{}, talkers: map[string]time.Time{}}
	p.life, p.stop = context.WithCancel(context.Background())
	p.status.reason.Store(&notStarted)
	return p
}

var notStarted = "starting: the CLI is being probed"

// Process is how workers are started, for the probe.
func (p *Pool) Process() claudecli.Options { return p.options.Process }

// Start begins to start workers, for a CLI with these features.
func (p *Pool) Start(features claudecli.Features) {
	p.features.Store(&features)
	p.options.Logger.Info("CLI pool is starting", "mode", features.Mode(), "cli_version", features.Version,
		"workers", p.options.Workers, "reuse", p.options.Reuse)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.failure = nil
	for _, waiter := range p.queue.empty(func(string) bool { return true }) {
		waiter.class = p.class(waiter.demand) // it came before anything was known
		p.queue.add(waiter)
	}
	p.tasks.Go(p.inspect)
	p.arrange()
	p.publish()
}

// Fail says that the CLI can't be used, until Start is called: every request is
// refused with the reason.
func (p *Pool) Fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.failure = err
	p.refuseHopeless()
	p.publish()
}

// Close ends every worker and waits until they are gone. Requests that wait
// are refused; those that run fail. It may be called more than once.
func (p *Pool) Close() {
	p.mu.Lock()
	if !p.closed {
		p.closed = true
		if p.retry != nil {
			p.retry.Stop()
		}
		for len(p.idle) > 0 {
			p.discard(p.takeIdle(0))
		}
		for len(p.kept) > 0 {
			p.discard(p.unkeep(0))
		}
		// Those with a request are ended under it; their owners discard them.
		for w := range p.alive {
			w.process.Kill()
		}
		p.refuseHopeless()
		p.publish()
	}
	p.mu.Unlock()
	p.stop()
	p.tasks.Wait()
}

// release takes a worker back after a request of the key. It keeps the
// conversation where k says so and nobody waits for the worker; else it is
// emptied, off the request's path, or ended.
func (p *Pool) release(key string, w *worker, k *kept) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.queue.ended(key)
	switch {
	case p.closed || !p.reusable() && !k.parked():
		p.discard(w)
		p.arrange()
	case k != nil && (k.parked() || p.queue.size == 0 && p.isTalker(k.key)):
		p.keep(w, k)
	default:
		p.empty(w)
	}
	p.publish()
}

func (p *Pool) reusable() bool {
	return p.options.Reuse != ReuseNever && p.features.Load().Emptying != claudecli.EmptyNever
}

// empty has a worker emptied in the background.
func (p *Pool) empty(w *worker) {
	p.emptying[w.class]++
	p.tasks.Go(func() { p.recycle(w) })
}

func (p *Pool) recycle(w *worker) {
	ctx, cancel := context.WithTimeout(p.life, emptyTimeout)
	err := w.process.Empty(ctx)
	cancel()
	grown := err == nil && w.process.ResidentBytes() > p.options.MaxResidentBytes
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.emptying[w.class]--; p.emptying[w.class] == 0 {
		delete(p.emptying, w.class)
	}
	w.grown = grown
	switch {
	case err != nil:
		p.options.Logger.Warn("worker isn't reused", "pid", w.process.PID(), "error", err)
		fallthrough
	case p.due(w):
		p.discard(w)
		p.arrange()
	default:
		p.park(w)
	}
	p.publish()
}

// due says that a worker has done enough and may be replaced now: one at a time,
// and only while workers can be started.
func (p *Pool) due(w *worker) bool {
	return (p.worn(w) || w.grown) && p.starting == 0 && !p.troubled()
}

// worn says that a worker has done enough.
func (p *Pool) worn(w *worker) bool {
	spread := 1 + w.lot/10
	return float64(w.process.Turns()) >= spread*float64(p.options.MaxTurns) ||
		time.Since(w.process.Started()) >= time.Duration(spread*float64(p.options.MaxAge))
}

// troubled says that workers can't be started: those that there are, are kept.
func (p *Pool) troubled() bool { return p.failure != nil || p.retry != nil }

// discard ends a worker that is in nobody's hands. The lock must be held.
func (p *Pool) discard(w *worker) {
	delete(p.alive, w)
	if w.class != "" {
		p.owners[w.class]--
		if p.owners[w.class] == 0 {
			delete(p.owners, w.class)
			p.refuseHopeless()
		}
	}
	go func() {
		w.process.Close()
		p.tasks.Done()
	}()
}
