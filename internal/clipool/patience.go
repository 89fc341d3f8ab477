package clipool

import (
	"context"
	"time"

	"claude-code-api-service/internal/apierror"
)

// How long requests wait, by what the last ones took, and which are refused
// because they would wait for too long. Everything here needs the pool's lock.

// pace is how long requests keep their workers, as a mean in which the newest
// counts for a tenth.
type pace struct {
	each  time.Duration
	known int // how many it rests on, up to leastKnown
}

// leastKnown is how many requests an estimate rests on at least.
const leastKnown = 5

func (p *pace) observe(took time.Duration) {
	switch {
	case p.known == 0:
		p.each = took
	case p.known < leastKnown: // a plain mean at first
		p.each += (took - p.each) / time.Duration(p.known+1)
	default:
		p.each += (took - p.each) / 10
	}
	p.known = min(p.known+1, leastKnown)
}

// wait estimates how long a request waits behind so many others, 0 when that isn't
// known.
func (p *Pool) wait(ahead int) time.Duration {
	if p.pace.known < leastKnown {
		return 0
	}
	serving := p.options.Workers // it grows
	if p.full() {
		serving = len(p.alive) + p.starting
	}
	for _, w := range p.kept {
		if w.kept.parked() {
			serving--
		}
	}
	return p.pace.each * time.Duration(ahead+1) / time.Duration(max(1, serving))
}

// Bounds of what a caller is told to wait before it tries again.
const (
	leastRetryAfter = time.Second
	mostRetryAfter  = 30 * time.Second
)

// retryAfter is an estimate for a request that would wait behind so many others,
// in whole seconds.
func (p *Pool) retryAfter(ahead int) time.Duration {
	wait := (p.wait(ahead) + time.Second - 1).Truncate(time.Second)
	return min(max(wait, leastRetryAfter), mostRetryAfter)
}

// tooLate refuses a request that would still wait when its time is over.
func (p *Pool) tooLate(ctx context.Context, key string) error {
	deadline, has := ctx.Deadline()
	if !has {
		return nil
	}
	ahead := p.queue.ahead(key)
	if wait := p.wait(ahead); wait == 0 || time.Until(deadline) >= wait {
		return nil
	}
	return &apierror.Error{
		Category: apierror.Overloaded, Message: "the CLI queue is longer than the request may wait", RetryAfter: p.retryAfter(ahead),
	}
}

func (p *Pool) queueFull() error {
	return &apierror.Error{Category: apierror.Overloaded, Message: "the CLI queue is full", RetryAfter: p.retryAfter(p.queue.size)}
}

// giveUp ends the wait of a request for which there was no worker in time, unless
// it was given one in the same moment. It takes the lock.
func (p *Pool) giveUp(waiter *waiter) (*worker, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if waiter.lane == nil {
		g := <-waiter.grant
		return g.worker, g.err
	}
	p.queue.remove(waiter)
	p.publish()
	return nil, &apierror.Error{
		Category: apierror.Overloaded, Message: "no CLI worker was free in time",
		RetryAfter: p.retryAfter(p.queue.ahead(waiter.demand.key)),
	}
}
