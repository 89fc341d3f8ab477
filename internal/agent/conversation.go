package agent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/meter"
	"claude-code-api-service/internal/trace"
)

// callsGrace is how long the CLI has to end its calls of the upstream by itself when
// its run is stopped. It takes some milliseconds.
const callsGrace = 50 * time.Millisecond

// Conversation is a process that holds one. One goroutine at a time asks it; Close and
// the others may be called beside that.
type Conversation struct {
	runner *Runner
	spec   Spec
	policy *policy
	worker *worker
	turns  chan struct{} // holds one during a turn
	// working says that a turn runs, for the Runner's gauges; under its lock.
	working bool
}

var errTurnRuns = errors.New("a turn of the conversation runs already")

// Turn asks once more and reads the answer to its end, under a run id of its own: see
// Runner.Run. It waits for its key's turn, as a run does. After ctx's end the
// conversation goes on, unless its process had to be ended: see Exited.
func (c *Conversation) Turn(ctx context.Context, runID string, prompt jsontext.Value, handler Handler) (Outcome, error) {
	select {
	case c.turns <- struct{}{}:
		defer func() { <-c.turns }()
	default:
		return Outcome{}, apierror.Wrap(apierror.Internal, "the session is busy", errTurnRuns)
	}
	key := c.spec.Caller.KeyID
	if err := c.runner.slots.acquire(ctx, key); err != nil {
		return Outcome{}, err
	}
	defer c.runner.slots.release(key)
	return c.turn(ctx, runID, prompt, handler, false)
}

// Session is the CLI's id of the conversation, for Spec.Session.
func (c *Conversation) Session() string { return c.worker.process.Session() }

// Workspace is the workspace's name, for Spec.Workspace; "" in a directory.
func (c *Conversation) Workspace() string { return c.worker.workspace }

// Exited is closed when the process has ended, by itself or by Close.
func (c *Conversation) Exited() <-chan struct{} { return c.worker.process.Exited() }

// Close ends the process and removes what was made for it; a turn that runs fails. What
// the CLI keeps of the session stays, and so does the workspace. It may be called more
// than once.
func (c *Conversation) Close() {
	r := c.runner
	r.mu.Lock()
	delete(r.open, c)
	r.countIdle()
	r.mu.Unlock()
	select {
	case c.turns <- struct{}{}:
	default: // a turn that runs ends with its process
		c.worker.process.Kill()
		c.turns <- struct{}{}
	}
	defer func() { <-c.turns }()
	c.worker.close(r.options.Logger)
}

// turn runs one, of which the last ends the process before its artifacts are looked
// for.
func (c *Conversation) turn(ctx context.Context, runID string, prompt jsontext.Value, handler Handler, last bool) (Outcome, error) {
	if !isName(runID) {
		return Outcome{}, apierror.Wrap(apierror.Internal, "the run has no id", fmt.Errorf("run %q %w", runID, errName))
	}
	c.setWorking(true)
	defer c.setWorking(false)
	ctx, cancel := c.runner.within(ctx)
	defer cancel()
	// A workspace that a run goes on in holds what earlier ones have made, also one that
	// was killed before it could say so.
	t := &turn{Conversation: c, handler: handler, runID: runID, owned: last && c.worker.workspace != ""}
	err := t.run(ctx, prompt)
	if last {
		c.worker.close(c.runner.options.Logger)
	}
	err = t.conclude(ctx, err)
	return t.outcome, err
}

func (c *Conversation) setWorking(working bool) {
	r := c.runner
	size := c.worker.process.ResidentBytes()
	r.mu.Lock()
	defer r.mu.Unlock()
	c.working = working
	r.size = max(r.size, size)
	r.countIdle()
}

// turn is the state of one that runs.
type turn struct {
	*Conversation
	handler Handler
	runID   string
	root    *os.Root // the run's folder
	owned   bool     // all that is in it is the run's
	before  snapshot // of one that isn't
	outcome Outcome
	asked   claudecli.AgentAnswer
}

// run asks and reads to the answer's end.
func (t *turn) run(ctx context.Context, prompt jsontext.Value) error {
	w := t.worker
	t.outcome.Session, t.outcome.Workspace = w.process.Session(), w.workspace
	var err error
	if t.root, err = w.open(); err != nil {
		return err
	}
	if !t.owned {
		if t.before, err = look(ctx, t.root); err != nil {
			return t.failure(ctx, err)
		}
	}
	span := trace.From(ctx)
	w.account.Use(meter.Run{
		ID: t.runID, Endpoint: t.spec.Endpoint, Caller: t.spec.Caller, MaxCostMicroUSD: t.spec.MaxCostMicroUSD, Trace: span,
	})
	if err := w.process.Trace(ctx, span.Environment()); err != nil {
		return t.failure(ctx, err)
	}
	if w.noProject {
		if err := t.warn(warnNoProject); err != nil {
			return err
		}
	}
	defer t.stopWith(ctx)()
	t.asked, err = w.process.Turn(ctx, prompt, t.hears())
	return t.failure(ctx, err)
}

// failure is ctx's cause where ctx has ended: whatever went wrong came from that.
func (t *turn) failure(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

// stopWith has the turn end when ctx does: the CLI is interrupted by its owner then,
// and what doesn't heed that is ended.
func (t *turn) stopWith(ctx context.Context) (stop func()) {
	over := make(chan struct{})
	late := func(after time.Duration) bool {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-over:
			return false
		case <-timer.C:
			return true
		}
	}
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		if !late(callsGrace) {
			return
		}
		t.worker.account.End()
		if late(t.runner.options.StopGrace) {
			t.worker.process.Kill()
		}
	})
	return func() {
		close(over)
		if !cancel() {
			<-done
		}
	}
}

// hears is what becomes of what the CLI says and asks.
func (t *turn) hears() claudecli.AgentHandler {
	return claudecli.AgentHandler{
		Event: func(e claudecli.AgentEvent) error { return t.event(e) },
		Judge: func(_ context.Context, call claudecli.ToolCall) claudecli.Verdict {
			v, reason := t.policy.judge(t.use(call))
			return claudecli.Verdict{Decision: decisions[v], Reason: reason}
		},
		Permit: func(ctx context.Context, call claudecli.ToolCall) (claudecli.Verdict, error) {
			return t.permit(ctx, call)
		},
		MaxTurns: t.spec.MaxTurns,
	}
}

var decisions = map[verdict]claudecli.Decision{deny: claudecli.Deny, ask: claudecli.Ask, allow: claudecli.Allow}

func (t *turn) use(call claudecli.ToolCall) use {
	return use{tool: call.Name, input: call.Input, folder: t.worker.directory}
}

// permit decides on what neither the policy nor the CLI's own rules allow at once.
func (t *turn) permit(ctx context.Context, call claudecli.ToolCall) (claudecli.Verdict, error) {
	permitted, asked := t.policy.permitted(t.use(call))
	switch {
	case permitted:
		return claudecli.Verdict{Decision: claudecli.Allow}, nil
	case !asked:
		return claudecli.Verdict{Reason: call.Name + " isn't allowed in this task for that"}, nil
	}
	d, err := t.handler.Permit(ctx, PermitRequest{ToolID: call.ID, Tool: call.Name, Input: call.Input, Parent: call.Parent})
	if err != nil {
		return claudecli.Verdict{}, err
	}
	if !d.Allow {
		return claudecli.Verdict{Reason: d.Reason}, nil
	}
	if d.Input != nil {
		// Whoever allows it may have changed it into something that nobody may do.
		changed := t.use(call)
		changed.input = d.Input
		if v, reason := t.policy.judge(changed); v == deny {
			return claudecli.Verdict{Reason: reason}, nil
		}
	}
	return claudecli.Verdict{Decision: claudecli.Allow, Input: d.Input}, nil
}

// event passes on what happened.
func (t *turn) event(e claudecli.AgentEvent) error {
	out := Event{Time: time.Now(), Parent: e.Parent, Text: e.Text, ToolID: e.ToolID, Tool: e.Tool, IsError: e.IsError}
	switch e.Type {
	case claudecli.AgentInit:
		out.Type, out.Session, out.Workspace, out.Model, out.Tools = EventStarted, e.Session, t.worker.workspace, e.Model, slices.Clone(e.Tools)
		t.outcome.Session = e.Session
	case claudecli.AgentTextDelta:
		if e.Parent != "" {
			return nil // its answer is the result of a tool
		}
		out.Type = EventToken
	case claudecli.AgentText:
		out.Type = EventText
	case claudecli.AgentThinking:
		out.Type = EventThinking
	case claudecli.AgentToolUse:
		out.Type, out.Input = EventToolUse, slices.Clone(e.Input)
	case claudecli.AgentToolResult:
		out.Type, out.Content = EventToolResult, slices.Clone(e.Content)
	case claudecli.AgentRetry:
		out.Type = EventWarning
	case claudecli.AgentCompacted:
		out.Type, out.Text = EventWarning, "the conversation had become too long: the CLI goes on with a summary of it"
	default:
		return nil
	}
	return t.handler.Event(out)
}

const warnNoProject = "the folder has settings for the CLI, which could start programs: they don't count for a run that may not use the shell for " +
	"everything, and neither do the folder's CLAUDE.md, agents, skills and commands"

func (t *turn) warn(text string) error {
	return t.handler.Event(Event{Type: EventWarning, Time: time.Now(), Text: text})
}

// conclude fills the outcome with what is known at the end.
func (t *turn) conclude(ctx context.Context, err error) error {
	o, a := &t.outcome, &t.asked
	o.Text, o.Turns, o.Model = a.Text, a.Turns, a.Model
	if a.Session != "" {
		o.Session = a.Session
	}
	for _, call := range a.Denied {
		o.Denials = append(o.Denials, PermitRequest{ToolID: call.ID, Tool: call.Name, Input: call.Input, Parent: call.Parent})
	}
	totals := t.worker.account.End()
	o.Usage, o.CostMicroUSD = totals.Usage, totals.CostMicroUSD
	switch {
	case a.OutOfTurns:
		o.End = EndMaxTurns
	case totals.Exhausted && err != nil && ctx.Err() == nil:
		o.End, err = EndMaxCost, nil
	case totals.Failure != nil && err != nil && ctx.Err() == nil && !errors.Is(err, claudecli.ErrDied):
		// The CLI knows only a status, and takes it for the upstream's.
		err = totals.Failure
	case err == nil:
		o.End = EndCompleted
	}
	return errors.Join(err, t.keepArtifacts(ctx))
}

// keepArtifacts finds and keeps what the run has changed, also when its caller has
// left.
func (t *turn) keepArtifacts(ctx context.Context) error {
	if t.root == nil {
		return nil
	}
	defer func() { _ = t.root.Close() }()
	p, err := t.runner.place(t.spec.Caller.KeyID)
	if err != nil {
		return errOfMachine(err)
	}
	var warnings []string
	keep := filepath.Join(p.folder, artifactsFolder, t.runID)
	t.outcome.Artifacts, warnings, err = collect(context.WithoutCancel(ctx), t.root, t.before, keep, t.runner.options.ArtifactBytes)
	if err != nil {
		t.runner.options.Logger.WarnContext(ctx, "keep artifacts", "run", t.runID, "error", err)
		warnings = append(warnings, "the artifacts couldn't be kept")
	}
	for _, text := range warnings {
		if err := t.warn(text); err != nil {
			return err
		}
	}
	return nil
}
