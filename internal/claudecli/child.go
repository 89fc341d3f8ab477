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

// child is a started CLI: its pipes, its end, its control requests and what it
// says that it has cost. Process and Agent are what it is used for.
type child struct {
	options Options
	own     func(*line) error // answers the CLI's own requests
	ended   func()            // is called when it was reaped
	cmd     *exec.Cmd
	stdin   *os.File
	stdout  *os.File
	lines   *lineReader
	stderr  *ring
	exited  chan struct{} // closed when the process was reaped
	waitErr error         // set before exited is closed
	started time.Time

	version   string
	sessionID string
	requests  int    // control requests sent, for their ids
	running   bool   // a turn was sent and its result hasn't been read
	broken    error  // why it can't be used again
	spent     totals // what all results so far add up to
	counted   totals // the CLI's own cumulative numbers at the last result
	// models are those numbers by model.
	models  map[string]modelUsage
	limited time.Time // when a rate limit ends that has refused a request; zero: not said
	line    line      // the last line read
	members members   // what reads it
	buffer  bytes.Buffer
}

func newChild(options Options) child {
	return child{options: options, stderr: newRing(options.secrets()), exited: make(chan struct{}), started: time.Now()}
}

// command is how a child is started.
type command struct {
	arguments, environment []string
	directory              string
	rules                  func(program string) (confine.Rules, error)
}

func (c *child) start(how command) error {
	childIn, parentIn, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("make pipe: %w", err)
	}
	parentOut, childOut, err := os.Pipe()
	if err != nil {
		closeAll(childIn, parentIn)
		return fmt.Errorf("make pipe: %w", err)
	}
	cmd := exec.Command(c.options.Path, how.arguments...) //nolint:noctx // it outlives the request that starts it; Kill ends it
	cmd.Env, cmd.Dir = how.environment, how.directory
	cmd.Stdin, cmd.Stdout, cmd.Stderr = childIn, childOut, c.stderr
	cmd.SysProcAttr = attributes()
	// A grandchild that holds stderr open must not block the reaping.
	cmd.WaitDelay = 200 * time.Millisecond
	err = c.startConfined(cmd, how.rules)
	closeAll(childIn, childOut)
	if err != nil {
		closeAll(parentIn, parentOut)
		return fmt.Errorf("start %s: %w", filepath.Base(c.options.Path), err)
	}
	c.cmd, c.stdin, c.stdout, c.lines = cmd, parentIn, parentOut, newLineReader(parentOut)
	go c.reap()
	return nil
}

func (c *child) startConfined(cmd *exec.Cmd, rules func(program string) (confine.Rules, error)) error {
	program := cmd.Path // before Apply puts itself in between
	done, err := c.options.Confinement.Apply(cmd, func() (confine.Rules, error) { return rules(program) })
	if err != nil {
		return err
	}
	defer done()
	return startOnSpawner(cmd)
}

func (c *child) reap() {
	c.waitErr = c.cmd.Wait()
	// What it may have started goes with it.
	_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	c.ended()
	close(c.exited)
}

// Exited is closed when the process has ended and was reaped.
func (c *child) Exited() <-chan struct{} { return c.exited }

// Ending says for the log how the process ended and what it wrote to standard
// error last, without the secrets that it was given. It is "" before Exited.
func (c *child) Ending() string {
	select {
	case <-c.exited:
		return fmt.Sprintf("exit: %v, stderr: %q", c.waitErr, c.stderr.String()) // waitErr is nil after exit 0
	default:
		return ""
	}
}

// PID is the process's id.
func (c *child) PID() int { return c.cmd.Process.Pid }

// ResidentBytes is the process's resident memory, 0 where it can't be told.
func (c *child) ResidentBytes() int64 { return ResidentBytes(c.PID()) }

// Started is when it was started.
func (c *child) Started() time.Time { return c.started }

// Version is the CLI's version as the process reported it, "" before Ready.
func (c *child) Version() string { return c.version }

// Kill ends the process and all that it started, at once. It doesn't wait; see
// Exited. It may be called at any time and more than once.
func (c *child) Kill() {
	select {
	case <-c.exited:
	default:
		_ = syscall.Kill(-c.cmd.Process.Pid, syscall.SIGKILL)
	}
}

// Close kills the process, waits until it was reaped and frees what it held.
// Only the owner may call it.
func (c *child) Close() {
	c.Kill()
	<-c.exited
	closeAll(c.stdin, c.stdout)
}

// guard makes reads and writes end when ctx ends or the timeout passes (0: no
// timeout). The function that it returns must be called before the next guard.
func (c *child) guard(ctx context.Context, timeout time.Duration) func() {
	var deadline time.Time
	if timeout > 0 {
		deadline = time.Now().Add(timeout)
	}
	c.setDeadline(deadline)
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		c.setDeadline(time.Unix(1, 0))
		close(done)
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func (c *child) setDeadline(t time.Time) {
	// The pipes support deadlines; should they be closed, the read says so.
	_ = c.stdout.SetReadDeadline(t)
	_ = c.stdin.SetWriteDeadline(t)
}

// write sends the bytes, whole lines. A write that didn't go through leaves
// half a line behind: the process can't be used again.
func (c *child) write(lines []byte) error {
	n, err := c.stdin.Write(lines)
	if c.buffer.Cap() > keepBuffer {
		c.buffer = bytes.Buffer{}
	}
	if err == nil {
		return nil
	}
	if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		c.broken = err
	}
	return c.failure("write to the process", err)
}

// failure says why the process doesn't answer. When it has died, that is the
// reason, with what it wrote to stderr for the log.
func (c *child) failure(operation string, err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s: %w", operation, err)
	}
	c.broken = err
	c.Kill()
	<-c.exited
	cause := fmt.Errorf("%s: %w: %w (%s)", operation, ErrDied, err, c.Ending())
	return apierror.Wrap(apierror.CLIError, "the Claude Code CLI ended unexpectedly", cause)
}

// timedOut turns a deadline into what it means: the caller's context, or a
// process that doesn't answer.
func (c *child) timedOut(ctx context.Context, err error) error {
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	c.broken = err
	return apierror.Wrap(apierror.CLIError, "the Claude Code CLI didn't answer in time", err)
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close() // a pipe's end: nothing is buffered that could be lost
	}
}
