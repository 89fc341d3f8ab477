package task

import (
	"context"
	"errors"
	"io"
	"iter"
	"slices"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
)

// Run does a task in its caller's request, to its end, on the gateway that the request
// has opened its call on. listen hears of every event in order, one at a time, but not
// of the one that is a task's last; an error of it ends the task, as the end of ctx
// does. nil: nobody listens.
//
// What refuses the task before it has begun is the error. What fails it later is told
// by the view, which is the answer, and by last, its last event.
func (t *Tasks) Run(ctx context.Context, g *gateway.Gateway, call *gateway.Call, r *Request, listen func(e job.Event) error) (v *View, last job.Event, err error) {
	if err := t.take(g, call, r); err != nil {
		return nil, last, err
	}
	ctx, cancel := r.deadline(ctx)
	defer cancel()
	var finish func(result jsontext.Value, err error) error
	w := &walk{tasks: t, rooms: g.Options, request: r, open: func(ctx context.Context) (*record, error) {
		run, end, err := t.jobs.Begin(ctx, t.job(call.Caller, r))
		if err != nil {
			return nil, err
		}
		rec, err := newRecord(t, run, r, listen)
		if err != nil {
			return nil, errors.Join(err, end(nil, err))
		}
		finish = end
		return rec, nil
	}}
	err = w.gateway().Serve(ctx, call, gateway.Silent{})
	if w.record == nil {
		return nil, last, err
	}
	w.record.listen = nil
	v, last = w.record.finish(err)
	if lost := finish(encode(v.Result), err); lost != nil {
		t.log.ErrorContext(ctx, "a task's end couldn't be kept", "request_id", call.RequestID, "task", v.ID, "error", lost)
	}
	return v, last, nil
}

// take checks a task and prepares its call.
func (t *Tasks) take(g *gateway.Gateway, call *gateway.Call, r *Request) (err error) {
	if t.options.Off != "" {
		return off(t.options.Off)
	}
	if err := r.Check(g, call.Caller); err != nil {
		return err
	}
	if err := t.exist(r); err != nil {
		return err
	}
	if text := agent.Unknown(paramTools, &call.Caller.Permissions, r.Tools); text != "" {
		call.Warn(text)
	}
	r.RequestID, r.Trace = call.RequestID, call.Trace.Keep()
	if call.Prefer == gateway.BackendDirect {
		call.Warn("X-Claude-Backend: a task runs on the CLI")
	}
	call.Prefer, call.Metered = gateway.BackendCLI, true
	call.Request, err = r.message()
	return err
}

// exist refuses names of agents and skills that there aren't: without them the task
// would be another one than was meant.
func (t *Tasks) exist(r *Request) error {
	if t.options.Known == nil || len(r.Agents)+len(r.Skills) == 0 {
		return nil
	}
	agents, skills := t.options.Known(r.Directory)
	for _, list := range []struct {
		param           string
		names, thereAre []string
	}{{"allow_agents", r.Agents, agents}, {"allow_skills", r.Skills, skills}} {
		for _, name := range list.names {
			if name != gateway.All && !slices.Contains(list.thereAre, name) {
				return apierror.Invalid(list.param, "%s: there is no %q; GET /v1/capabilities lists what there is", list.param, name)
			}
		}
	}
	return nil
}

func (t *Tasks) job(caller *gateway.Caller, r *Request) job.Job {
	return job.Job{Kind: job.KindTask, KeyID: caller.KeyID, ProjectID: caller.ProjectID, Priority: int(r.Priority), Request: r.keep()}
}

// Submit queues a task. It is durable when Submit returns. An error is an
// apierror.Error.
func (t *Tasks) Submit(ctx context.Context, g *gateway.Gateway, call *gateway.Call, r *Request) (*View, error) {
	if err := t.take(g, call, r); err != nil {
		return nil, err
	}
	var kept job.Job
	err := g.Accept(ctx, call, func(ctx context.Context) (err error) {
		waiting, err := t.jobs.List(ctx, call.Caller.KeyID, job.Filter{Kind: job.KindTask, State: job.Queued, Limit: t.options.Queued})
		if err != nil {
			return told(err)
		}
		if len(waiting) >= t.options.Queued {
			return &apierror.Error{Category: apierror.RateLimited, Message: "too many tasks of the key wait already", RetryAfter: time.Minute}
		}
		asked := t.job(call.Caller, r)
		asked.Once = call.Once
		kept, err = t.jobs.Submit(ctx, asked)
		return err
	})
	if err != nil {
		return nil, err
	}
	return viewOf(kept), nil
}

// told gives an error of the jobs its meaning for callers.
func told(err error) error {
	switch {
	case errors.Is(err, job.ErrNotFound):
		return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "id", Message: "there is no such task", Cause: err}
	case errors.Is(err, job.ErrEnded):
		return ended()
	}
	return err
}

// CodeEnded refuses what only a task takes that hasn't ended.
const CodeEnded apierror.Code = "task_ended"

func ended() error {
	return &apierror.Error{Category: apierror.BadRequest, Code: CodeEnded, Message: "the task has ended"}
}

// find gives a task of the caller.
func (t *Tasks) find(ctx context.Context, caller *gateway.Caller, id string) (job.Job, error) {
	j, err := t.jobs.Job(ctx, caller.KeyID, id)
	if err == nil && j.Kind != job.KindTask {
		err = job.ErrNotFound
	}
	if err != nil {
		return job.Job{}, told(err)
	}
	return j, nil
}

// Get gives a task of the caller. One that has ended without saying what it did has
// the log of what is known.
func (t *Tasks) Get(ctx context.Context, caller *gateway.Caller, id string) (*View, error) {
	j, err := t.find(ctx, caller, id)
	if err != nil {
		return nil, err
	}
	v := viewOf(j)
	if j.State.Ended() && v.Result == nil {
		v.Result, err = t.known(ctx, j)
	}
	return v, err
}

// known makes the result of a task that gave none, of its events.
func (t *Tasks) known(ctx context.Context, j job.Job) (*Result, error) {
	r := &record{tools: map[string]string{}}
	for e, err := range t.jobs.Events(ctx, j.KeyID, j.ID, 0) {
		if err != nil {
			return nil, told(err)
		}
		var d data
		if decode(e.Data, &d) == nil {
			r.replay(&d, &e)
		}
	}
	result := empty()
	result.Log, result.LogLeft, result.Warnings = append(result.Log, r.log.entries...), r.log.left, r.result.Warnings
	return &result, nil
}

// List gives tasks of the caller, the newest first.
func (t *Tasks) List(ctx context.Context, caller *gateway.Caller, filter job.Filter) ([]*View, error) {
	filter.Kind = job.KindTask
	jobs, err := t.jobs.List(ctx, caller.KeyID, filter)
	if err != nil {
		return nil, told(err)
	}
	views := make([]*View, len(jobs))
	for i, j := range jobs {
		views[i] = viewOf(j)
		if j.State != job.Running {
			continue
		}
		// A list has no progress; few of its tasks run.
		if j, err = t.jobs.Job(ctx, caller.KeyID, j.ID); err != nil && !errors.Is(err, job.ErrNotFound) {
			return nil, told(err)
		}
		views[i].Approvals = waiting(j)
	}
	return views, nil
}

// Cancel ends a task of the caller; one that has ended already is forgotten, and
// removed is true.
func (t *Tasks) Cancel(ctx context.Context, caller *gateway.Caller, id string) (v *View, removed bool, err error) {
	if _, err := t.find(ctx, caller, id); err != nil {
		return nil, false, err
	}
	j, err := t.jobs.Cancel(ctx, caller.KeyID, id)
	if !errors.Is(err, job.ErrEnded) {
		if err != nil {
			return nil, false, told(err)
		}
		return viewOf(j), false, nil
	}
	if err := t.jobs.Remove(ctx, caller.KeyID, id); err != nil {
		return nil, false, told(err)
	}
	return nil, true, nil
}

// Events gives the events of a task of the caller after a number, and those to come,
// until it has ended. Its last event is a result or an error; where none was kept, the
// error says what is known and has the number 0.
func (t *Tasks) Events(ctx context.Context, caller *gateway.Caller, id string, after int64) (iter.Seq2[job.Event, error], error) {
	if _, err := t.find(ctx, caller, id); err != nil {
		return nil, err
	}
	return func(yield func(job.Event, error) bool) {
		last := ""
		for e, err := range t.jobs.Events(ctx, caller.KeyID, id, after) {
			if err != nil {
				yield(e, told(err))
				return
			}
			if last = e.Type; !yield(e, nil) {
				return
			}
		}
		if last == EventResult || last == EventError {
			return
		}
		v, err := t.Get(ctx, caller, id)
		if err != nil || v.Status != job.Completed {
			yield(v.last(), err)
		}
	}, nil
}

// last is the event with which a task ends; v may be nil.
func (v *View) last() job.Event {
	e := job.Event{Type: EventResult}
	if v != nil && v.Error != nil {
		e.Type = EventError
	}
	e.Data = encode(&struct {
		Type string `json:"type"`
		*View
	}{e.Type, v})
	return e
}

// Artifacts gives what a task of the caller has created or changed.
func (t *Tasks) Artifacts(ctx context.Context, caller *gateway.Caller, id string) ([]Artifact, error) {
	v, err := t.Get(ctx, caller, id)
	if err != nil || v.Result == nil {
		return []Artifact{}, err
	}
	return v.Artifacts, nil
}

// Artifact opens one of them, which whoever reads it closes.
func (t *Tasks) Artifact(ctx context.Context, caller *gateway.Caller, id, path string) (io.ReadCloser, Artifact, error) {
	all, err := t.Artifacts(ctx, caller, id)
	if err != nil {
		return nil, Artifact{}, err
	}
	for _, a := range all {
		if a.Path != path || !a.Kept || t.runner == nil {
			continue
		}
		file, kept, err := t.runner.Artifact(caller.KeyID, a.Run, path)
		if e := apierror.From(err); e != nil && e.Code == apierror.CodeNotFound {
			return nil, a, &apierror.Error{Category: e.Category, Code: e.Code, Param: "path", Message: "the artifact was kept, but isn't on this machine: the node that did the task has it", Cause: err}
		}
		a.Bytes = kept.Bytes
		return file, a, err
	}
	return nil, Artifact{}, &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "path", Message: "there is no such artifact, or its content wasn't kept"}
}

// Forgotten removes what was kept of a task's runs on this machine: what an engine calls
// when it forgets the job.
func (t *Tasks) Forgotten(ctx context.Context, j job.Job) {
	if j.Kind != job.KindTask || t.runner == nil || j.Progress == nil {
		return
	}
	p, err := progressOf(j)
	if err != nil {
		t.log.ErrorContext(ctx, "a task's progress can't be read", "task", j.ID, "error", err)
		return
	}
	traces := append(p.Former, footprint{p.Session, p.Workspace})
	for n := range max(p.Runs, len(traces)) {
		var left footprint
		if n < len(traces) {
			left = traces[n]
		}
		err := t.runner.Forget(j.KeyID, left.Workspace, runID(j.ID, n+1))
		if left.Session != "" {
			err = errors.Join(err, t.runner.ForgetSession(j.KeyID, left.Session))
		}
		if err != nil {
			t.log.WarnContext(ctx, "what a task has left can't be removed", "task", j.ID, "error", err)
		}
	}
}

var _ Runner = (*agent.Runner)(nil)
