package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"

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
	options Options
	status  gauges
	slots   *slots
	starts  chan struct{} // holds one while a process starts
	began   chan struct{} // closed by Start
	begin   sync.Once
	life    context.Context
	end     context.CancelCauseFunc
	tasks   sync.WaitGroup
	launch  func(ctx context.Context, s *shape) (*worker, error)

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
		r.tasks.Go(r.sweep)
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
		r.tasks.Go(c.Close)
	}
	for _, s := range spares {
		r.tasks.Go(func() { s.drop(r) })
	}
	r.tasks.Wait()
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

// worker is a process with what was made for it.
type worker struct {
	process   process
	account   *meter.Account
	folder    string // is removed when the process has ended
	directory string // where it works
	workspace string // its name, "" in a directory of the operator's
	session   string
	noProject bool // see claudecli.Agentic
	reach     reach
	closing   sync.Once
}

// process is a *claudecli.Agent, whose methods say what they do.
type process interface {
	Ready(ctx context.Context) error
	Bind(ctx context.Context, s claudecli.AgentSettings) error
	Turn(ctx context.Context, prompt jsontext.Value, handler claudecli.AgentHandler) (claudecli.AgentAnswer, error)
	Session() string
	Kill()
	End()
	Exited() <-chan struct{}
	ResidentBytes() int64
}

// open opens the folder in which it works. A caller's may be below one that another run
// works in, which can put a link in its place.
func (w *worker) open() (*os.Root, error) {
	if w.workspace == "" {
		root, err := openFolder(w.directory)
		if err != nil {
			return nil, errOfFolder(err)
		}
		return root, nil
	}
	root, err := os.OpenRoot(w.directory)
	if err != nil {
		return nil, errOfMachine(fmt.Errorf("open the run's folder: %w", err))
	}
	return root, nil
}

// close ends the process with all that it has started, its calls of the upstream, and
// what was made for it. It returns when all of that is gone. A process that rests gets
// the time to write what it keeps of the session.
func (w *worker) close(log *slog.Logger) {
	w.closing.Do(func() {
		if w.process != nil {
			w.process.End()
		}
		if w.account != nil {
			w.account.Close()
		}
		if err := removeAll(w.folder); err != nil {
			log.Warn("a run's folder stays", "error", err)
		}
	})
}

// startWorker makes the folders of a process and starts it.
func (r *Runner) startWorker(ctx context.Context, s *shape) (_ *worker, err error) {
	w := &worker{session: s.session, workspace: s.workspace, directory: s.directory, noProject: s.noProject}
	defer func() {
		if err != nil {
			r.abandon(w, s)
		}
	}()
	p, err := r.place(s.key)
	if err != nil {
		return nil, errOfMachine(err)
	}
	if w.directory == "" {
		if w.workspace == "" {
			w.workspace = newName()
		}
		if w.directory, err = p.workspace(w.workspace); err != nil {
			return nil, errOfMachine(err)
		}
	}
	root, err := w.open()
	if err != nil {
		return nil, err
	}
	_ = root.Close() // it is the one that was allowed
	if w.session == "" {
		w.session = newSession()
	}
	if w.folder, err = os.MkdirTemp(r.options.Process.Root, "agent-"); err != nil {
		return nil, errOfMachine(fmt.Errorf("make a run's folder: %w", err))
	}
	home, err := r.makeHome(w.folder, p, s.agents, s.skills)
	temp := filepath.Join(w.folder, "tmp")
	if err = errors.Join(err, os.Mkdir(temp, 0o700)); err != nil {
		return nil, errOfMachine(err)
	}
	if w.reach, err = reachOf(p, home, temp, w); err != nil {
		return nil, errOfMachine(err)
	}
	if w.account, err = r.options.Meter.Open(ctx, meter.Run{}); err != nil {
		return nil, errOfMachine(err)
	}
	options := r.options.Process
	options.BaseURL, options.APIKey, options.AuthToken, options.Model = w.account.BaseURL(), "", "", s.model
	options.Env = append(append([]string(nil), options.Env...), w.account.Env()...)
	if home.login != "" {
		options.Env = append(options.Env, loginVariable+"="+home.login)
	}
	// What is allowed isn't among the arguments, which everybody on the machine can read:
	// rules may be a caller's text, and the policy is asked of each use.
	agentic := claudecli.Agentic{
		Tools: s.tools, Deny: append(home.denies(), s.deny...), Directory: w.directory, Home: home.path, TempDir: temp,
		Session: w.session, Resume: s.session != "", Fork: s.fork, NoProject: s.noProject,
		Read: home.reads, Write: home.writes(p), Held: home.reads,
	}
	if w.workspace == "" {
		agentic.Held = append(agentic.Held, w.directory)
	}
	if s.servers {
		agentic.MCPConfig = r.options.MCPConfig
		rules := serversOf(r.options.MCPConfig)
		agentic.Run, agentic.Read = rules.Run, append(agentic.Read, rules.Read...)
	}
	agent, err := claudecli.StartAgent(options, agentic)
	if err != nil {
		return nil, err
	}
	w.process = agent
	return w, agent.Ready(ctx)
}

// abandon ends what was begun of a worker that couldn't be started.
func (r *Runner) abandon(w *worker, s *shape) {
	w.close(r.options.Logger)
	if s.workspace == "" && w.workspace != "" {
		_ = os.Remove(w.directory) // it is empty
	}
}

// reachOf is where the file tools of a worker's run may work.
func reachOf(p place, h home, temp string, w *worker) (reach, error) {
	r := reach{home: h.path, read: append([]string(nil), h.skills...)}
	for _, folder := range []string{w.directory, temp} {
		target, err := filepath.EvalSymlinks(folder)
		if err != nil {
			return reach{}, fmt.Errorf("find the run's folder: %w", err)
		}
		r.write = append(r.write, target)
	}
	// Results that are too long for the model are kept there for it to read.
	projects, err := filepath.EvalSymlinks(p.projects())
	if err != nil {
		return reach{}, fmt.Errorf("find the session's folder: %w", err)
	}
	r.read = append(r.read, filepath.Join(projects, projectName(w.directory), w.session))
	return r, nil
}
