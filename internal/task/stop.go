package task

import (
	"context"
	"errors"
	"time"

	"claude-code-api-service/internal/job"
)

// settling is how long a stop of the service waits for the result of a tool that is in
// use: without it, the task couldn't go on.
const settling = 5 * time.Second

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
