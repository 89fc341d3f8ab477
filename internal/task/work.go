package task

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

const (
	// soon is when a queued task is tried again whose caller may run no further one now.
	soon = time.Second
	// longest is how long a task may wait in the queue.
	longest = 24 * time.Hour
	// settling is how long a stop of the service waits for the result of a tool that is
	// in use: without it, the task couldn't go on.
	settling = 5 * time.Second
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

// patient gives a context for the agent that ends with the record's. Where the service
// stops and a tool is in use, it ends a little later: with the tool's result, if that
// comes soon.
func (r *record) patient() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(r.ctx))
	unwatch := context.AfterFunc(r.ctx, func() {
		cause := context.Cause(r.ctx)
		if errors.Is(cause, job.ErrStopping) {
			r.settle(ctx)
		}
		cancel(cause)
	})
	return ctx, func() { unwatch(); cancel(nil) }
}

// settle waits until no tool is in use that may have effects, for settling at the most.
func (r *record) settle(ctx context.Context) {
	r.mu.Lock()
	idle := make(chan struct{})
	if len(r.progress.Pending) == 0 {
		close(idle)
	} else {
		r.idle = idle
	}
	r.mu.Unlock()
	timer := time.NewTimer(settling)
	defer timer.Stop()
	select {
	case <-idle:
	case <-timer.C:
	case <-ctx.Done():
	}
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
	started := w.record != nil && w.record.begunBy()
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

// begunBy says that the agent has begun.
func (r *record) begunBy() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// changed says that the task may have changed something.
func (r *record) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress.Effects
}

// Work does a queued task: a job.Work.
func (t *Tasks) Work(ctx context.Context, run *job.Run) (jsontext.Value, error) {
	r, err := readKept(run.Job().Request)
	if err != nil {
		return nil, err
	}
	rec, err := newRecord(t, run, r, nil)
	if err != nil {
		return nil, fmt.Errorf("read the task's progress: %w", err)
	}
	if rec.progress.Runs > 0 {
		if err := rec.recall(ctx); err != nil {
			return nil, err
		}
	}
	w := &walk{tasks: t, rooms: t.options.Walk(), request: r, queued: true, record: rec, open: func(context.Context) (*record, error) { return rec, nil }}
	err = t.serve(ctx, w)
	if back := w.back(); back != nil {
		rec.handOn(back)
		return nil, back
	}
	for _, entry := range w.seen {
		w.rooms.Observer.Observe(entry)
	}
	v, _ := rec.finish(err)
	return encode(v.Result), err
}

// serve walks a queued task's call to its end.
func (t *Tasks) serve(ctx context.Context, w *walk) (err error) {
	j := w.record.run.Job()
	defer func() {
		if w.err == nil {
			w.err = err
		}
	}()
	if t.options.Off != "" {
		return off(t.options.Off)
	}
	caller, err := t.options.Callers.Caller(ctx, j.KeyID)
	if err != nil {
		return err
	}
	// It may have waited for long.
	if err := w.request.still(gateway.New(w.rooms), caller); err != nil {
		return err
	}
	call := &gateway.Call{
		RequestID: w.request.RequestID, Endpoint: Endpoint, Caller: caller.Accepted(), Prefer: gateway.BackendCLI, Metered: true, Clock: latency.Start(),
	}
	if call.Request, err = w.request.message(); err != nil {
		return err
	}
	call.Clock.Mark(latency.Auth)
	meant, end := context.WithCancelCause(context.WithoutCancel(ctx))
	defer end(nil)
	defer context.AfterFunc(ctx, func() { end(reason(ctx, ctx.Err())) })()
	limited, cancel := w.request.deadline(meant)
	defer cancel()
	w.record.ctx = limited
	return w.gateway().Serve(limited, call, gateway.Silent{})
}

// deadline bounds a run's time.
func (r *Request) deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, r.Timeout, &apierror.Error{
		Category: apierror.Timeout, Param: "timeout", Message: fmt.Sprintf("the task took longer than its timeout of %g seconds", r.Timeout.Seconds()),
	})
}

func off(why string) error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotImplemented, Message: why}
}

// recall reads the log of earlier runs, as far as their events tell it.
func (r *record) recall(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	here := data{Type: EventStatus, Status: statusAgain, Attempt: r.progress.Runs + 1}
	if err := r.emit(&here); err != nil {
		return err
	}
	j := r.run.Job()
	for e, err := range r.tasks.jobs.Events(ctx, j.KeyID, j.ID, 0) {
		if err != nil {
			return err
		}
		var d data
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if d.Status == here.Status && d.Attempt == here.Attempt {
			return nil
		}
		r.replay(&d, &e)
	}
	return nil
}

// statusAgain is the status of a task that another run goes on with.
const statusAgain = "resuming"

func (r *record) replay(d *data, e *job.Event) {
	r.kept += len(e.Data)
	switch d.Type {
	case EventToolUse:
		r.tools[d.ToolID] = d.Tool
		r.log.add(d, e.Time.UTC())
	case EventToolResult:
		r.log.add(d, e.Time.UTC())
	}
}

// handOn tells those who listen that the task waits again.
func (r *record) handOn(back error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.started {
		return // nothing was told of it
	}
	// Whoever goes on tells of it too.
	_ = r.emit(&data{Type: EventStatus, Status: string(job.Queued), Reason: apierror.From(back).Message})
}

// finish makes the task as it has ended, and keeps the event that is its last.
func (r *record) finish(err error) (*View, job.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Log, r.result.LogLeft = append(r.result.Log, r.log.entries...), r.log.left
	j := r.run.Job()
	v := viewOf(j)
	v.Result, v.Status, v.EndedAt = &r.result, job.Completed, time.Now().UTC()
	if e := apierror.From(err); e != nil {
		v.fail(e)
		v.Status = job.Failed
		if e.Category == apierror.ClientClosed {
			v.Status = job.Cancelled
		}
	}
	last := v.last()
	// The job has its end in its row, too.
	_ = r.keep(last)
	last.Seq = r.seq
	return v, last
}
