package claudecli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/confine"
)

// ErrDied is wrapped by errors that come from a process that has ended.
var ErrDied = errors.New("the process ended")

// Process is one CLI process. One goroutine at a time owns it; only Kill,
// Exited, Ending, PID and ResidentBytes may be called beside the owner. It has no
// reading goroutine: the owner reads the process's output itself, so that an
// event reaches the caller without a hand-over.
type Process struct {
	options Options
	cmd     *exec.Cmd
	folder  string
	stdin   *os.File
	stdout  *os.File
	lines   *lineReader
	stderr  *ring
	exited  chan struct{} // closed when the process was reaped
	waitErr error         // set before exited is closed
	started time.Time

	version     string
	initialized bool
	sessionID   string
	requests    int // control requests sent, for their ids
	// bound is what the process has been told so far. It starts with the model of
	// its argument, thinking off and the CLI's own max_tokens.
	bound   Settings
	prompts []string // uuids of the user lines in its context, oldest first; "" for tool results
	running bool     // a turn was sent and its result hasn't been read
	broken  error    // why it can't be used again
	spent   totals   // what all results so far add up to
	counted totals   // the CLI's own cumulative numbers at the last result
	// models are those numbers by model.
	models    map[string]modelUsage
	turns     int
	offered   []string // the names of the tools that the CLI may call
	extra     string   // the extra body that is set
	announced []string // the calls of tools that the client was told about: they may stay open
	calls     []openCall
	results   map[string]any // what calls that haven't come yet are answered with
	parked    []string       // the calls that the turn waits for
	resumed   bool           // the turn has been parked before
	barred    bool           // the CLI was told of an upstream that isn't there
	before    totals         // what was spent when the turn began
	limited   time.Time      // when a rate limit ends that has refused a request; zero: not said
	renamer   renamer
	line      line    // the last line read
	members   members // what reads it
	buffer    bytes.Buffer
}

// Start starts a process. It doesn't wait until the process is ready: see
// Ready. The error is an apierror.Error of category CLIError.
func Start(options Options) (*Process, error) {
	options.setDefaults()
	if err := options.check(); err != nil {
		return nil, apierror.Wrap(apierror.CLIError, "the Claude Code CLI can't be started", err)
	}
	p := &Process{options: options, stderr: newRing(options.secrets()), exited: make(chan struct{}), started: time.Now()}
	if err := p.spawn(); err != nil {
		p.removeFolder()
		return nil, apierror.Wrap(apierror.CLIError, "the Claude Code CLI can't be started", err)
	}
	return p, nil
}

func (p *Process) spawn() error {
	if err := p.makeFolder(); err != nil {
		return err
	}
	childIn, parentIn, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	parentOut, childOut, err := os.Pipe()
	if err != nil {
		closeAll(childIn, parentIn)
		return fmt.Errorf("make pipe: %w", err)
	}
	cmd := exec.Command(p.options.Path, p.options.arguments()...) //nolint:noctx // it outlives the request that starts it; Kill ends it
	cmd.Env = p.options.environment(p.folder)
	cmd.Dir = filepath.Join(p.folder, "work")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, p.stderr
	cmd.SysProcAttr = attributes()
	// A grandchild that holds stderr open must not block the reaping.
	cmd.WaitDelay = 200 * time.Millisecond
	err = p.startConfined(cmd)
	closeAll(childIn, childOut)
	if err != nil {
		closeAll(parentIn, parentOut)
		return fmt.Errorf("start %s: %w", filepath.Base(p.options.Path), err)
	}
	p.cmd, p.stdin, p.stdout, p.lines = cmd, parentIn, parentOut, newLineReader(parentOut)
	go p.reap()
	return nil
}

func (p *Process) startConfined(cmd *exec.Cmd) error {
	program := cmd.Path // before Apply puts itself in between
	rules := func() (confine.Rules, error) { return p.options.rules(program, p.folder) }
	done, err := p.options.Confinement.Apply(cmd, rules)
	if err != nil {
		return err
	}
	defer done()
	return startOnSpawner(cmd)
}

func (p *Process) makeFolder() error {
	folder, err := os.MkdirTemp(p.options.Root, "worker-")
	if err != nil {
		return fmt.Errorf("make worker folder: %w", err)
	}
	p.folder = folder
	for _, name := range []string{"home", "tmp", "work"} {
		if err := os.Mkdir(filepath.Join(folder, name), 0o700); err != nil {
			return fmt.Errorf("make worker folder: %w", err)
		}
	}
	return nil
}

func (p *Process) removeFolder() {
	if p.folder == "" {
		return
	}
	if err := os.RemoveAll(p.folder); err != nil {
		p.options.Logger.Warn("remove worker folder", "error", err)
	}
}

func (p *Process) reap() {
	p.waitErr = p.cmd.Wait()
	// What it may have started goes with it.
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	p.removeFolder()
	close(p.exited)
}

// Exited is closed when the process has ended and was reaped.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// Ending says for the log how the process ended and what it wrote to standard
// error last, without the secrets that it was given. It is "" before Exited.
func (p *Process) Ending() string {
	select {
	case <-p.exited:
		return fmt.Sprintf("exit: %v, stderr: %q", p.waitErr, p.stderr.String()) // waitErr is nil after exit 0
	default:
		return ""
	}
}

// PID is the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// ResidentBytes is the process's resident memory, 0 where it can't be told.
func (p *Process) ResidentBytes() int64 { return residentBytes(p.PID()) }

// Turns counts the turns that it ran.
func (p *Process) Turns() int { return p.turns }

// Started is when it was started.
func (p *Process) Started() time.Time { return p.started }

// Version is the CLI's version as the process reported it, "" before Ready.
func (p *Process) Version() string { return p.version }

// Kill ends the process and all that it started, at once. It doesn't wait; see
// Exited. It may be called at any time and more than once.
func (p *Process) Kill() {
	select {
	case <-p.exited:
	default:
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Close kills the process, waits until it was reaped and frees what it held.
// Only the owner may call it.
func (p *Process) Close() {
	p.Kill()
	<-p.exited
	closeAll(p.stdin, p.stdout)
}

// guard makes reads and writes end when ctx ends or the timeout passes (0: no
// timeout). The function that it returns must be called before the next guard.
func (p *Process) guard(ctx context.Context, timeout time.Duration) func() {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	p.setDeadline(deadline)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		p.setDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func (p *Process) setDeadline(t time.Time) {
	// The pipes support deadlines; should they be closed, the read says so.
	_ = p.stdout.SetReadDeadline(t)
	_ = p.stdin.SetWriteDeadline(t)
}

// write sends the bytes, whole lines. A write that didn't go through leaves
// half a line behind: the process can't be used again.
func (p *Process) write(lines []byte) error {
	n, err := p.stdin.Write(lines)
	if p.buffer.Cap() > keepBuffer {
		p.buffer = bytes.Buffer{}
	}
	if err == nil {
		return nil
	}
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		p.broken = err
	}
	return p.failure("write to the process", err)
}

// failure says why the process doesn't answer. When it has died, that is the
// reason, with what it wrote to stderr for the log.
func (p *Process) failure(operation string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: %w", operation, err)
	}
	p.broken = err
	p.Kill()
	<-p.exited
	cause := fmt.Errorf("%s: %w: %w (%s)", operation, ErrDied, err, p.Ending())
	return apierror.Wrap(apierror.CLIError, "the Claude Code CLI ended unexpectedly", cause)
}

// timedOut turns a deadline into what it means: the caller's context, or a
// process that doesn't answer.
func (p *Process) timedOut(ctx context.Context, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	p.broken = err
	return apierror.Wrap(apierror.CLIError, "the Claude Code CLI didn't answer in time", err)
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // a pipe's end: nothing is buffered that could be lost
	}
}
