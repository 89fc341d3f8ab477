package clipool

import (
	"context"
	"time"

	"claude-code-api-service/internal/apierror"
)

// demand is what decides which workers may serve a request, and whose share of
// them it takes; and which request it is and for which model, for those who look.
type demand struct{ key, project, system, request, model string }

type grant struct {
	worker *worker
	err    error
}

// acquire gives a worker that may serve the demand: at once when one is idle,
// else in turn. A full queue is shared between the keys too: the newest request of
// the key with the most of them is refused for a key that has fewer.
func (p *Pool) acquire(ctx context.Context, demand demand) (*worker, error) {
	p.mu.Lock()
	class := p.class(demand)
	if !p.closed {
		if w := p.match(class); w != nil {
			p.give(w, demand)
			p.publish()
			p.mu.Unlock()
			return w, nil
		}
	}
	if err := p.refusal(class); err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if err := p.tooLate(ctx, demand.key); err != nil {
		p.mu.Unlock()
		return nil, err
	}
	if p.queue.size >= p.places() {
		last := p.queue.yields(demand.key)
		if last == nil {
			defer p.mu.Unlock()
			return nil, p.queueFull()
		}
		p.queue.remove(last)
		last.grant <- grant{err: p.queueFull()}
	}
	waiter := &waiter{demand: demand, class: class, since: time.Now(), grant: make(chan grant, 1)}
	p.queue.add(waiter)
	p.arrange()
	p.publish()
	p.mu.Unlock()
	var late <-chan time.Time
	if p.options.QueueTimeout > 0 {
		timer := time.NewTimer(p.options.QueueTimeout)
		defer timer.Stop()
		late = timer.C
	}
	select {
	case g := <-waiter.grant:
		return g.worker, g.err
	case <-late:
		return p.giveUp(waiter)
	case <-ctx.Done():
		p.leave(waiter)
		return nil, ctx.Err()
	}
}

// give notes that a worker serves a request from now on.
func (p *Pool) give(w *worker, d demand) {
	p.queue.began(d.key)
	w.given, w.last = time.Now(), d
	w.phase.Store(bound)
}

// places is how many requests may wait.
func (p *Pool) places() int { return p.options.Workers * p.options.QueuePerWorker }

// refusal is why no request of the class can be served now: nobody is there to
// serve it, and no worker can be started. The lock must be held.
func (p *Pool) refusal(class string) error {
	switch {
	case p.closed:
		return &apierror.Error{Category: apierror.Overloaded, Message: "the service is shutting down", RetryAfter: time.Second}
	case p.failure != nil && p.owners[class] == 0:
		return p.unavailable()
	}
	return nil
}

// unavailable says why no worker can be started. The lock must be held, and there must be
// a failure.
func (p *Pool) unavailable() error {
	return &apierror.Error{
		Category: apierror.Overloaded, Message: "the Claude Code CLI isn't available: " + callerText(p.failure),
		RetryAfter: time.Second, Cause: p.failure,
	}
}

func callerText(err error) string { return apierror.From(err).Message }

// leave takes a request out of the queue. A worker that it was given in the
// same moment goes to the next.
func (p *Pool) leave(waiter *waiter) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if waiter.lane != nil {
		p.queue.remove(waiter)
		p.publish()
		return
	}
	if g := <-waiter.grant; g.worker != nil {
		p.queue.ended(waiter.demand.key)
		p.park(g.worker)
		p.publish()
	}
}
