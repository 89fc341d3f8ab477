package processapi

import (
	"context"
	"fmt"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
)

// lastWords is how long asynchronous requests that were cancelled may take to
// say so in the archive.
const lastWords = 2 * time.Second

// runs are the asynchronous requests that run in this process. What the archive
// calls running and isn't among them was ended with a former process.
type runs struct {
	mu       sync.Mutex
	live     map[string]struct{}
	stopping bool
	idle     chan struct{} // closed when nothing runs and nothing more will

	life context.Context // ends when nobody waits any longer
	end  context.CancelCauseFunc
}

func newRuns() *runs {
	r := &runs{live: map[string]struct{}{}, idle: make(chan struct{})}
	r.life, r.end = context.WithCancelCause(context.Background())
	return r
}

// errStopped tells the caller of an asynchronous request that the service
// stopped.
func errStopped() *apierror.Error {
	return apierror.New(apierror.Overloaded, "the service stopped before the answer was complete")
}

// begin enters a run and gives its context: it has the values of the caller's
// and doesn't end with it, but after timeout, and when the service stops without
// waiting. done must be called.
func (r *runs) begin(caller context.Context, id string, timeout time.Duration) (ctx context.Context, done func(), err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stopping {
		return nil, nil, &apierror.Error{Category: apierror.Overloaded, Message: "the service is stopping", RetryAfter: time.Second}
	}
	r.live[id] = struct{}{}
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(caller))
	ctx, release := context.WithTimeout(ctx, timeout)
	unlink := context.AfterFunc(r.life, func() { cancel(context.Cause(r.life)) })
	return ctx, func() {
		unlink()
		release()
		cancel(nil)
		r.leave(id)
	}, nil
}

func (r *runs) leave(id string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.live, id)
	if r.stopping && len(r.live) == 0 {
		close(r.idle)
	}
}

// has says whether a run is under way in this process.
func (r *runs) has(id string) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	_, ok := r.live[id]
	return ok
}

func (r *runs) stop(ctx context.Context) error {
	r.mu.Lock()
	if !r.stopping {
		r.stopping = true
		if len(r.live) == 0 {
			close(r.idle)
		}
	}
	r.mu.Unlock()
	select {
	case <-r.idle:
		r.end(nil)
		return nil
	case <-ctx.Done():
	}
	r.end(errStopped())
	last := time.NewTimer(lastWords)
	defer last.Stop()
	select {
	case <-r.idle:
	case <-last.C:
	}
	return fmt.Errorf("asynchronous requests were cancelled: %w", ctx.Err())
}
