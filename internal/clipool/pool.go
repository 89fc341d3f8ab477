// Package clipool keeps Claude Code CLI processes started ahead and hands them
// to requests: a Backend of the gateway. A worker that has served one class of
// requests (a project, see Reuse) is emptied and serves the same class again,
// or is replaced.
package clipool

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/message"
)

// process is a *claudecli.Process, whose methods say what they do.
type process interface {
	Bind(ctx context.Context, s claudecli.Settings) error
	Replay(ctx context.Context, turns []message.Turn) error
	Turn(ctx context.Context, prompt jsontext.Value, handler claudecli.Handler) (claudecli.Answer, error)
	Resume(ctx context.Context, s claudecli.Settings, results []claudecli.ToolResult, handler claudecli.Handler) (claudecli.Answer, error)
	Empty(ctx context.Context) error
	Ping(ctx context.Context) error
	Kill()
	Close()
	Exited() <-chan struct{}
	Ending() string
	PID() int
	ResidentBytes() int64
	Turns() int
	Started() time.Time
}

// worker is one process on its way between parking and requests. What isn't the
// process belongs to the pool's lock.
type worker struct {
	id        string
	process   process
	class     string    // "" until its first request
	since     time.Time // when it was ready
	idleSince time.Time
	heard     time.Time // when it last answered anything
	given     time.Time // when it was given its last request
	served    bool      // it has answered a request
	grown     bool      // it uses too much memory
	edition   int       // of the options that it was started with; see Renew
	turns     int       // it has done, when it was last given back
	killed    bool      // somebody has ended it: see Kill
	// last is what the last request that it was given asks for; served by it now, where
	// phase says so.
	last demand
	// phase is what the worker's owner does with it. The owner sets it without the lock.
	phase atomic.Int32
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

	mu      sync.Mutex
	idle    []*worker // empty; the one that became idle last is last
	kept    []*worker // with a conversation; the one that has held it longest is first
	queue   *queue
	edition int // how often options.Process was renewed
	// alive are the workers that are ready: idle, with a request, being emptied, or
	// asked for a sign of life.
	alive    map[*worker]bool
	pinged   *worker // the one that is asked
	starting int
	// started are the workers that are being started, by id, with since when.
	started map[string]time.Time
	// size is how many workers there should be now. room is how many more there is
	// memory for.
	size, room int
	pace       pace
	// talkers are the keys that have conversations, with when they last did.
	talkers  map[string]time.Time
	emptying map[string]int // workers that will be free in a moment, by class
	owners   map[string]int // live workers by class
	// failure is why the last start failed, until one succeeds.
	failure  error
	failures int // in a row
	retry    *time.Timer
	crashes  crashes
	closed   bool
	// tasks counts the pool's goroutines and the workers that are alive, so that
	// it can't fall to zero while a request holds one.
	tasks sync.WaitGroup
	stop  context.CancelFunc
	life  context.Context
	// launch starts a process and waits until it is ready.
	launch func(options claudecli.Options) (process, error)
}

// New makes a pool that has no workers yet: requests queue until Start or Fail.
func New(options Options) *Pool {
	options.setDefaults()
	p := &Pool{
		options: options, queue: newQueue(), alive: map[*worker]bool{}, emptying: map[string]int{}, owners: map[string]int{}, talkers: map[string]time.Time{}, started: map[string]time.Time{},
		size: options.MinWorkers, room: options.Workers,
	}
	p.life, p.stop = context.WithCancel(context.Background())
	p.launch = p.startProcess
	p.status.reason.Store(&notStarted)
	return p
}

var notStarted = "starting: the CLI is being probed"

// Process is how workers are started, for the probe.
func (p *Pool) Process() claudecli.Options {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.options.Process
}

// Start begins to start workers, for a CLI with these features.
func (p *Pool) Start(features claudecli.Features) {
	p.features.Store(&features)
	p.options.Logger.Info("CLI pool is starting", "mode", features.Mode(), "cli_version", features.Version,
		"workers", p.options.Workers, "least", p.options.MinWorkers, "reuse", p.options.Reuse)
	room := p.memoryFor()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return
	}
	p.failure = nil
	p.room = room
	for _, waiter := range p.queue.empty(func(string) bool { return true }) {
		waiter.class = p.class(waiter.demand) // it came before anything was known
		p.queue.add(waiter)
	}
	p.tasks.Go(p.inspect)
	p.tasks.Go(p.heartbeat)
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
	p.pace.observe(time.Since(w.given))
	w.turns = w.process.Turns()
	if w.served {
		p.proved()
	}
	switch {
	case p.closed || (!p.reusable() || p.outdated(w)) && !k.parked():
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
	w.phase.Store(draining)
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
		if !w.exited() { // discard tells of those
			p.options.Logger.Warn("worker isn't reused", "pid", w.process.PID(), "error", err)
		}
		fallthrough
	case p.outdated(w), p.due(w):
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
	p.room++ // until memory is looked at again
	if w.class != "" {
		p.owners[w.class]--
		if p.owners[w.class] == 0 {
			delete(p.owners, w.class)
			p.refuseHopeless()
		}
	}
	if w.exited() && !p.closed && !w.killed {
		p.died(w)
	}
	go func() {
		w.process.Close()
		p.tasks.Done()
	}()
}
