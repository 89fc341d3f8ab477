package job

import (
	"context"
	"errors"
	"time"
)

const (
	// sweepEvery is how often jobs whose time is over are looked for, and sweepBatch how
	// many are forgotten before others may write.
	sweepEvery = time.Minute
	sweepBatch = 100
)

// keepLeases renews what this node holds, and recovers what others have lost, until ctx
// ends.
func (e *Engine) keepLeases(ctx context.Context) {
	ticker := time.NewTicker(e.options.Lease / 5)
	defer ticker.Stop()
	e.recover(ctx)
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			// What couldn't be renewed isn't to be taken for another's that is lost.
			if e.renew(ctx) {
				e.recover(ctx)
			}
		case <-e.look:
			e.renew(ctx)
		}
	}
}

// lookNow has the leases looked at at once.
func (e *Engine) lookNow() {
	select {
	case e.look <- struct{}{}:
	default:
	}
}

func (e *Engine) held() map[Hold]*Run {
	e.mu.Lock()
	defer e.mu.Unlock()
	held := make(map[Hold]*Run, len(e.runs))
	for _, r := range e.runs {
		held[r.hold()] = r
	}
	return held
}

// renew prolongs the leases, and ends the runs that have lost theirs or are to end. It
// says whether the store could be asked.
func (e *Engine) renew(ctx context.Context) bool {
	held := e.held()
	if len(held) == 0 {
		return true
	}
	holds := make([]Hold, 0, len(held))
	for h := range held {
		holds = append(holds, h)
	}
	asked := time.Now()
	asking, cancel := context.WithTimeout(ctx, e.options.Lease*2/5)
	defer cancel()
	still, err := e.store.Renew(asking, holds, e.options.Lease)
	if err != nil {
		if ctx.Err() == nil {
			e.log.WarnContext(ctx, "jobs' leases can't be renewed", "jobs", len(holds), "error", err)
		}
		for _, r := range held {
			if !r.valid() {
				r.cancel(ErrLost)
			}
		}
		return false
	}
	for _, h := range still {
		cancelling := h.Cancelling
		h.Cancelling = false
		r := held[h]
		delete(held, h)
		r.mu.Lock()
		r.renewed = asked
		r.mu.Unlock()
		if cancelling {
			r.cancel(ErrCancelled)
		}
	}
	for _, r := range held {
		r.cancel(ErrLost)
	}
	return true
}

// recover hands on what others have lost.
func (e *Engine) recover(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, storeTimeout)
	defer cancel()
	jobs, err := e.store.Recover(ctx, e.options.TTL)
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			e.log.WarnContext(ctx, "lost jobs can't be looked for", "error", err)
		}
		return
	}
	for _, j := range jobs {
		e.log.WarnContext(ctx, "a job's node is gone", "job", j.ID, "attempt", j.Attempt, "node", j.Node, "state", string(j.State))
		e.changed(j.ID)
	}
}

// sweep forgets jobs whose time is over, until ctx ends.
func (e *Engine) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		if err := e.forgetExpired(ctx); err != nil && ctx.Err() == nil {
			e.log.WarnContext(ctx, "jobs whose time is over can't be forgotten", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

func (e *Engine) forgetExpired(ctx context.Context) error {
	for {
		jobs, err := e.store.Expired(ctx, sweepBatch)
		if err != nil {
			return err
		}
		for _, j := range jobs {
			if err := e.forget(ctx, j); err != nil && !errors.Is(err, ErrNotFound) {
				return err
			}
		}
		if len(jobs) < sweepBatch {
			return nil
		}
	}
}

// Hand gives the queue back what this node runs of it, and takes no more: the runs' contexts
// end with ErrStopping, and Hand waits for them until ctx ends. Jobs that run in
// requests go on; Stop ends those too.
func (e *Engine) Hand(ctx context.Context) error {
	e.mu.Lock()
	e.stopping = true
	client := e.client
	for _, r := range e.runs {
		if r.queued {
			r.cancel(ErrStopping)
		}
	}
	e.mu.Unlock()
	if client == nil {
		return nil
	}
	return client.Stop(ctx)
}

// Stop ends everything that runs here and waits for it until ctx ends. The store may be closed
// afterwards.
func (e *Engine) Stop(ctx context.Context) error {
	err := e.Hand(ctx)
	e.mu.Lock()
	for _, r := range e.runs {
		r.cancel(ErrStopping)
	}
	e.mu.Unlock()
	e.wait(ctx)
	e.stopWatch()
	e.end()
	e.background.Wait()
	return err
}

// wait waits until nothing runs here, or ctx ends.
func (e *Engine) wait(ctx context.Context) {
	for {
		ended := e.ended.wait()
		if len(e.held()) == 0 {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-ended:
		}
	}
}
