package task

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/latency"
)

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
		RequestID: w.request.RequestID, Endpoint: Endpoint, Caller: caller.Accepted(), Prefer: gateway.BackendCLI, Metered: true,
		Trace: w.request.Trace.Later(), Clock: latency.Start(),
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
	j := r.run.Job()
	here := data{Type: EventStatus, Status: r.tasks.courseOf(j.KeyID, &r.progress).status(), Attempt: r.progress.Runs + 1}
	if err := r.emit(&here); err != nil {
		return err
	}
	for e, err := range r.tasks.jobs.Events(ctx, j.KeyID, j.ID, 0) {
		if err != nil {
			return err
		}
		var d data
		if err := decode(e.Data, &d); err != nil {
			return fmt.Errorf("read an event: %w", err)
		}
		if d.Status == here.Status && d.Attempt == here.Attempt {
			return nil
		}
		r.replay(&d, &e)
	}
	return nil
}

func (r *record) replay(d *data, e *job.Event) {
	r.kept += len(e.Data)
	switch d.Type {
	case EventToolUse:
		r.tools[d.ToolID] = d.Tool
		r.log.add(d, e.Time.UTC())
	case EventToolResult:
		r.log.add(d, e.Time.UTC())
	case EventWarning:
		r.result.Warnings = append(r.result.Warnings, *d.Content)
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
