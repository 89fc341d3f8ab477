package agent

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
)

const (
	// memoryReserve stays free for the rest of the machine, in bytes.
	memoryReserve = 256 << 20
	// firstBytes stands for a process's memory before there was one: about what a parked
	// one of 2.1.331 takes.
	firstBytes = 300 << 20
)

// shape is all that a process is started with: one of the same shape can be taken for
// a run. What goes on from an earlier run has a shape of its own.
type shape struct {
	key, directory, model string
	tools, deny           []string
	agents, skills        []string
	servers               bool
	noProject             bool // see claudecli.Agentic
	workspace, session    string
	fork                  bool
}

// shapeOf gives the shape of a spec's process.
func (r *Runner) shapeOf(spec *Spec) (*shape, error) {
	if spec.Directory != "" && spec.Workspace != "" || spec.Workspace != "" && !isWorkspace(spec.Workspace) || spec.Session != "" && !isSession(spec.Session) {
		return nil, apierror.Wrap(apierror.BadRequest, "there is no such earlier run", fmt.Errorf("workspace %q, session %q: %w", spec.Workspace, spec.Session, errName))
	}
	p := newPolicy(spec, reach{})
	return &shape{
		key: spec.Caller.KeyID, directory: spec.Directory, model: spec.Model,
		tools: p.offered(), deny: p.blocked(), agents: p.agents, skills: p.skills,
		servers: r.options.MCPConfig != "" && p.servers(), noProject: !p.free(toolBash) && r.hasSettings(spec), workspace: spec.Workspace, session: spec.Session, fork: spec.Fork,
	}, nil
}

// hasSettings says that the folder in which a spec works has settings for the CLI. Their
// hooks would run as commands, so they count only for a run that may use the shell
// whatever for.
func (r *Runner) hasSettings(spec *Spec) bool {
	folder := spec.Directory
	if folder == "" {
		folder = filepath.Join(r.options.Folder, spec.Caller.KeyID, workFolder, spec.Workspace)
	}
	_, err := os.Lstat(filepath.Join(folder, claudeFolder, "settings.json"))
	return err == nil && (spec.Directory != "" || spec.Workspace != "")
}

// fresh says that it begins anew, and a process can be started for it ahead.
func (s *shape) fresh() bool { return s.workspace == "" && s.session == "" }

func (s *shape) is(other *shape) bool {
	return s.key == other.key && s.directory == other.directory && s.model == other.model && s.servers == other.servers && s.noProject == other.noProject && s.fork == other.fork &&
		slices.Equal(s.tools, other.tools) && slices.Equal(s.deny, other.deny) &&
		slices.Equal(s.agents, other.agents) && slices.Equal(s.skills, other.skills)
}

// String names it in the log.
func (s *shape) String() string {
	return fmt.Sprintf("key %s, %s, tools %s", s.key, s.model, strings.Join(s.tools, " "))
}

// spare is a process for the next run of a shape, once it is there.
type spare struct {
	shape  *shape
	worker *worker // nil: it isn't started yet, or couldn't be
	timer  *time.Timer
}

// drop ends a spare that nobody holds. It waits until the process is gone.
func (s *spare) drop(r *Runner) {
	if s.timer != nil {
		s.timer.Stop()
	}
	if s.worker != nil {
		r.abandon(s.worker, s.shape)
	}
}

// worker gives a process for a run: a spare of its shape, or a new one, of which one
// at a time is started. Afterwards another spare is started.
func (r *Runner) worker(ctx context.Context, s *shape) (w *worker, spare bool, err error) {
	defer func() {
		if err == nil {
			r.remember(s)
		}
	}()
	if w = r.take(s); w != nil {
		return w, true, nil
	}
	select {
	case r.starts <- struct{}{}:
		defer func() { <-r.starts }()
	case <-ctx.Done():
		return nil, false, context.Cause(ctx)
	}
	if w = r.take(s); w != nil { // it was being started
		return w, true, nil
	}
	r.makeRoom()
	r.status.starting.Add(1)
	defer r.status.starting.Add(-1)
	w, err = r.launch(ctx, s)
	return w, false, err
}

// take gives the live spare of a shape, nil where there is none.
func (r *Runner) take(s *shape) *worker {
	if !s.fresh() {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.IndexFunc(r.spares, func(other *spare) bool { return other.worker != nil && other.shape.is(s) })
	if i < 0 {
		return nil
	}
	taken := r.spares[i]
	w := taken.worker
	taken.worker = nil
	taken.timer.Stop()
	r.countSpares()
	if exited(w) {
		r.background.Go(func() { r.abandon(w, taken.shape) })
		return nil
	}
	return w
}

func exited(w *worker) bool {
	select {
	case <-w.process.Exited():
		return true
	default:
		return false
	}
}

// remember notes that a shape was used, and has a spare of it started. The shape that
// was used longest ago goes.
func (r *Runner) remember(s *shape) {
	if !s.fresh() || r.options.Spares <= 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	next := &spare{shape: s}
	if i := slices.IndexFunc(r.spares, func(other *spare) bool { return other.shape.is(s) }); i >= 0 {
		next = r.spares[i]
		r.spares = slices.Delete(r.spares, i, i+1)
	}
	r.spares = slices.Insert(r.spares, 0, next)
	for len(r.spares) > r.options.Spares {
		last := r.spares[len(r.spares)-1]
		r.spares = r.spares[:len(r.spares)-1]
		r.background.Go(func() { last.drop(r) })
	}
	r.countSpares()
	if next.worker == nil {
		r.background.Go(func() { r.refill(next) })
	}
}

// refill starts a spare, unless there is no room for it. Runs that wait for a start go
// first.
func (r *Runner) refill(next *spare) {
	select {
	case r.starts <- struct{}{}:
	case <-r.life.Done():
		return
	}
	defer func() { <-r.starts }()
	if !r.wanted(next) || r.short() {
		return
	}
	r.status.starting.Add(1)
	w, err := r.launch(r.life, next.shape)
	r.status.starting.Add(-1)
	if err != nil {
		if r.life.Err() == nil {
			r.options.Logger.Warn("start a spare process", "for", next.shape.String(), "error", err)
		}
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed || next.worker != nil || !slices.Contains(r.spares, next) {
		r.background.Go(func() { r.abandon(w, next.shape) })
		return
	}
	next.worker = w
	next.timer = time.AfterFunc(r.options.SpareFor, func() { r.expire(next, w) })
	r.countSpares()
}

// wanted says that a spare is still to be started.
func (r *Runner) wanted(next *spare) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed && next.worker == nil && slices.Contains(r.spares, next)
}

// expire forgets a shape whose spare has waited for long.
func (r *Runner) expire(old *spare, w *worker) {
	r.mu.Lock()
	defer r.mu.Unlock()
	i := slices.Index(r.spares, old)
	if i < 0 || old.worker != w || r.closed {
		return
	}
	r.spares = slices.Delete(r.spares, i, i+1)
	r.countSpares()
	r.background.Go(func() { old.drop(r) })
}

func (r *Runner) countSpares() {
	n := 0
	for _, s := range r.spares {
		if s.worker != nil {
			n++
		}
	}
	r.status.spares.Store(int64(n))
}

// short says that there is no memory for one more process.
func (r *Runner) short() bool {
	free, known := r.options.Memory()
	if !known {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	size := r.size
	if size == 0 {
		size = firstBytes
	}
	return free < memoryReserve+size
}

// makeRoom ends spares where memory is short, before a process is started for a run.
func (r *Runner) makeRoom() {
	if !r.short() {
		return
	}
	r.mu.Lock()
	spares := r.spares
	r.spares = nil
	r.countSpares()
	r.mu.Unlock()
	for _, s := range spares {
		s.drop(r)
	}
}
