package processapi

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
)

// lastWords is how long asynchronous requests that were cut off may take to say so.
const lastWords = 2 * time.Second

// errStopped ends the asynchronous requests that still run when nobody waits any
// longer.
var errStopped error = apierror.Wrap(apierror.Overloaded, "the service stopped before the answer was complete", job.ErrStopping)

// grace lets the asynchronous requests that run here come to their end when the
// service stops: the others would do again what they have paid for.
type grace struct {
	mu      sync.Mutex
	running int
	quiet   chan struct{} // closed when none runs; nil: nobody waits

	life context.Context // ends when nobody waits any longer
	end  context.CancelCauseFunc
}

func newGrace() *grace {
	g := &grace{}
	g.life, g.end = context.WithCancelCause(context.Background())
	return g
}

// begin gives a request's own context, which ends with that of its job, but not
// because the service stops: then it ends when nobody waits any longer. done must be
// called.
func (g *grace) begin(ctx context.Context) (own context.Context, done func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.running++
	own, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	forJob := context.AfterFunc(ctx, func() {
		if cause := context.Cause(ctx); !errors.Is(cause, job.ErrStopping) {
			cancel(cause)
		}
	})
	forAll := context.AfterFunc(g.life, func() { cancel(errStopped) })
	return own, func() {
		forJob()
		forAll()
		cancel(nil)
		g.leave()
	}
}

func (g *grace) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.running--; g.running == 0 && g.quiet != nil {
		close(g.quiet)
		g.quiet = nil
	}
}

// idle gives what is closed when none runs.
func (g *grace) idle() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.quiet == nil {
		g.quiet = make(chan struct{})
	}
	quiet := g.quiet
	if g.running == 0 {
		close(g.quiet)
		g.quiet = nil
	}
	return quiet
}

func (g *grace) stop(ctx context.Context) error {
	defer g.end(errStopped)
	select {
	case <-g.idle():
		return nil
	case <-ctx.Done():
	}
	g.end(errStopped)
	last := time.NewTimer(lastWords)
	defer last.Stop()
	select {
	case <-g.idle():
	case <-last.C:
	}
	return fmt.Errorf("asynchronous requests were cut off: %w", ctx.Err())
}
