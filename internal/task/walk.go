package task

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/message"
)

const (
	// soon is when a queued task is tried again whose caller may run no further one now.
	soon = time.Second
	// longest is how long a task may wait in the queue.
	longest = 24 * time.Hour
)

// CodeCancelled says that somebody wanted a task to end.
const CodeCancelled apierror.Code = "cancelled"

// cancelled is the same for callers.
const cancelled = "the task was cancelled"

func runID(id string, n int) string { return id + "-" + strconv.Itoa(n) }

// walk is one run of a task on the walk of a gateway: it stands for the rooms that
// know what a task is.
type walk struct {
	tasks   *Tasks
	rooms   gateway.Options
	request *Request
	// open makes the record, when the call is admitted and routed.
	open   func(ctx context.Context) (*record, error)
	queued bool

	record *record // nil: it wasn't admitted
	err    error   // of routing or running
	seen   []gateway.Entry
}

// gateway makes a gateway of the rooms on which the call is this run.
func (w *walk) gateway() *gateway.Gateway {
	own := w.rooms
	own.Router, own.Recorder, own.Observer, own.Fallback = w, w, w, nil
	return gateway.New(own)
}

// Route implements gateway.Router: the model is the router's choice.
func (w *walk) Route(call *gateway.Call) (gateway.Backend, error) {
	_, w.err = w.rooms.Router.Route(call)
	return w, w.err
}

// Generate implements gateway.Backend: it runs the agent.
func (w *walk) Generate(ctx context.Context, call *gateway.Call, _ gateway.EventWriter) (result gateway.Result, err error) {
	defer func() { w.err = err }()
	if err := w.affordable(ctx, call); err != nil {
		return result, err
	}
	if w.record, err = w.open(ctx); err != nil {
		return result, err
	}
	id, p, err := w.record.next(call.Caller.KeyID)
	if err != nil {
		return result, err
	}
	if err := w.record.unknown(&call.Caller.Permissions); err != nil {
		return result, err
	}
	left, err := w.left(ctx)
	if err != nil {
		return result, err
	}
	r := w.request
	running, stop := w.record.patient()
	defer stop()
	outcome, err := w.tasks.runner.Run(running, agent.Spec{
		ID: id, Caller: call.Caller, Endpoint: Endpoint, Model: call.Model, Prompt: p.prompt, System: r.System,
		Tools: listed(r.Tools), Agents: listed(r.Agents), Skills: listed(r.Skills), Directory: r.Directory,
		Workspace: p.workspace, Session: p.session, MaxCostMicroUSD: left, MaxTurns: int(r.Turns), Ask: r.Approval == ApprovalAsk,
	}, w.record)
	result = gateway.Result{Summary: message.Summary{Model: outcome.Model, Usage: outcome.Usage}, CostMicroUSD: outcome.CostMicroUSD}
	if noted := w.record.ended(&outcome, id); err == nil {
		err = noted
	}
	if err != nil {
		return result, reason(running, err)
	}
	return result, short(&outcome, r)
}

// affordable refuses a task whose caller's budgets are spent, before anything of it is
// done: they hold for each of its calls again.
func (w *walk) affordable(ctx context.Context, call *gateway.Call) error {
	probe := call.Child(call.RequestID)
	caller := *call.Caller
	caller.Key, caller.Project = gateway.RateLimits{}, gateway.RateLimits{}
	probe.Caller, probe.Request, probe.Part, probe.Backend, probe.Model = &caller, call.Request, true, call.Backend, call.Model
	if err := w.rooms.Admitter.Admit(ctx, probe); err != nil {
		return err
	}
	defer w.rooms.Admitter.Release(probe, gateway.Result{CostMicroUSD: new(int64)})
	err := w.rooms.Admitter.Reserve(ctx, probe)
	if e := apierror.From(err); e != nil && e.RetryAfter > 0 {
		return nil // others hold the rest, for as long as they run
	}
	return err
}

// left is what the task may still cost, after earlier runs.
func (w *walk) left(ctx context.Context) (int64, error) {
	p := &w.record.progress
	spent := p.Spent
	if w.tasks.options.Spent != nil && p.Runs > 1 {
		known, err := w.tasks.options.Spent(ctx, w.record.run.Job())
		if err != nil {
			return 0, fmt.Errorf("add up what the task has cost: %w", err)
		}
		spent = max(spent, known)
	}
	if spent >= w.request.Cost {
		return 0, spentAll(w.request)
	}
	return w.request.Cost - spent, nil
}

func spentAll(r *Request) error {
	return &apierror.Error{
		Category: apierror.BudgetExceeded, Code: stopCost, Param: "max_cost",
		Message: fmt.Sprintf("the task has reached its max_cost of %g USD", float64(r.Cost)/1e6),
	}
}

// short says that a task has ended before its work was done; nil: it hasn't.
func short(o *agent.Outcome, r *Request) error {
	switch o.End {
	case agent.EndMaxCost:
		return spentAll(r)
	case agent.EndMaxTurns:
		return &apierror.Error{
			Category: apierror.BadRequest, Code: stopTurns, Param: "max_turns", Message: fmt.Sprintf("the task has reached its max_turns of %d", r.Turns),
		}
	case agent.EndCompleted:
	}
	return nil
}

// reason gives an error that came from the context's end its meaning.
func reason(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	var said *apierror.Error
	switch {
	case cause == nil:
		return err
	case errors.As(cause, &said):
		ended := *said
		ended.Cause = errors.Join(cause, err)
		return &ended
	case errors.Is(cause, job.ErrCancelled):
		return &apierror.Error{Category: apierror.ClientClosed, Code: CodeCancelled, Message: cancelled, Cause: cause}
	case errors.Is(cause, job.ErrStopping), errors.Is(cause, job.ErrLost):
		return &apierror.Error{Category: job.CategoryInterrupted, Message: "the service stopped before the task was done", Cause: cause}
	case errors.Is(cause, context.Canceled):
		return apierror.Wrap(apierror.ClientClosed, "the caller left", errors.Join(cause, err))
	}
	return err
}

// Record implements gateway.Recorder: a run that is handed on has no row of its own.
func (w *walk) Record(ctx context.Context, entry gateway.Entry) error {
	if w.back() != nil {
		return nil
	}
	return w.rooms.Recorder.Record(ctx, entry)
}

// Observe implements gateway.Observer.
func (w *walk) Observe(entry gateway.Entry) {
	if !w.queued {
		w.rooms.Observer.Observe(entry)
		return
	}
	w.seen = append(w.seen, entry)
}

// back gives the error with which a queued task goes back to the queue; nil: it has
// ended.
func (w *walk) back() error {
	e := apierror.From(w.err)
	if e == nil || !w.queued {
		return nil
	}
	waited := time.Duration(0)
	var j job.Job
	if w.record != nil {
		j = w.record.run.Job()
		waited = time.Since(j.Created)
	}
	started := w.record != nil && w.record.hasBegun()
	switch {
	case errors.Is(w.err, job.ErrStopping), errors.Is(w.err, job.ErrLost):
		return w.err
	case !started && waited < longest && (e.Category == apierror.RateLimited || e.Category == apierror.Overloaded || e.Category == apierror.BudgetExceeded && e.RetryAfter > 0):
		return job.Later(w.err, max(soon, min(e.RetryAfter, time.Minute)))
	case e.MayPass() && e.Category != apierror.Timeout && !w.record.changed() && j.Attempt < j.MaxAttempts:
		return job.Again(w.err)
	}
	return nil
}
