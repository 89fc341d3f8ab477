package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/meter"
	"claude-code-api-service/internal/trace"
)

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
	Trace(ctx context.Context, e trace.Environment) error
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
	if err = w.settle(p); err != nil {
		return nil, err
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
	agent, err := claudecli.StartAgent(r.command(s, w, p, home, temp))
	if err != nil {
		return nil, err
	}
	w.process = agent
	return w, agent.Ready(ctx)
}

// settle gives a worker its folder and its session, where they are new.
func (w *worker) settle(p place) (err error) {
	if w.directory == "" {
		if w.workspace == "" {
			w.workspace = newName()
		}
		if w.directory, err = p.workspace(w.workspace); err != nil {
			return errOfMachine(err)
		}
	}
	root, err := w.open()
	if err != nil {
		return err
	}
	_ = root.Close() // it is the one that was allowed
	if w.session == "" {
		w.session = NewSession()
	}
	return nil
}

// command is how the CLI is started for a worker.
func (r *Runner) command(s *shape, w *worker, p place, home home, temp string) (claudecli.Options, claudecli.Agentic) {
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
		rules := serversOf(r.options.MCPConfig, r.options.Folder)
		agentic.Run, agentic.Read = rules.Run, append(agentic.Read, rules.Read...)
	}
	return options, agentic
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
