package agent

import (
	"context"
	"errors"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// Run runs a Spec to its end: Open, one Turn, Close. The outcome is filled as far as
// it is known also beside an error, which is ctx's cause, the handler's, or an
// apierror.Error.
func (r *Runner) Run(ctx context.Context, spec Spec, handler Handler) (Outcome, error) {
	c, err := r.Open(ctx, spec)
	if err != nil {
		return Outcome{}, err
	}
	defer c.Close()
	return c.Turn(ctx, spec.ID, spec.Prompt, handler)
}

// Runner runs agentic work. It is safe for concurrent use.
type Runner struct{ options Options }

// Options are what a Runner needs.
type Options struct{}

// New makes a Runner.
func New(options Options) *Runner { return &Runner{options} }

// Conversation is a session's live process.
type Conversation struct{ exited chan struct{} }

var errNotBuilt = errors.New("agentic work isn't built yet")

// Open starts a process for a conversation whose turns follow.
func (r *Runner) Open(context.Context, Spec) (*Conversation, error) { return nil, errNotBuilt }

// Turn asks once more, under a run id of its own. One at a time.
func (c *Conversation) Turn(context.Context, string, jsontext.Value, Handler) (Outcome, error) {
	return Outcome{}, errNotBuilt
}

// Session is the CLI's id of the conversation, for Spec.Session.
func (c *Conversation) Session() string { return "" }

// Workspace is the workspace's name, for Spec.Workspace; "" in a directory.
func (c *Conversation) Workspace() string { return "" }

// Transcript opens the file in which the CLI keeps the conversation.
func (c *Conversation) Transcript() (path string, err error) { return "", errNotBuilt }

// Exited is closed when the process has ended, by itself or by Close.
func (c *Conversation) Exited() <-chan struct{} { return c.exited }

// Close ends the process and removes its folders. What the CLI keeps of the session
// stays.
func (c *Conversation) Close() {}

// Status is what /health, /ready and metrics tell.
type Status struct {
	Running, Idle, Spares, Starting, Queued int64
	// Reason is why no run can begin now; "": it can.
	Reason string
}

// Status reads gauges: it waits for nobody.
func (r *Runner) Status() Status { return Status{} }

// Close ends all runs, and waits until their processes are gone.
func (r *Runner) Close() {}

// Forget removes what was kept of a run: its workspace ("": none) and artifacts.
func (r *Runner) Forget(_, _, _ string) error { return errNotBuilt }

// ForgetSession removes what the CLI kept of a session.
func (r *Runner) ForgetSession(_, _ string) error { return errNotBuilt }

// Artifact opens a kept artifact. Whoever reads it closes it.
func (r *Runner) Artifact(_, _, _ string) (io.ReadCloser, Artifact, error) {
	return nil, Artifact{}, errNotBuilt
}
