package clipool

import (
	"context"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// serveFresh runs the request on a worker that is started for it and ended after it. It
// waits in turn for one of the pool's places, as any other, and its start is what binding
// takes.
func (p *Pool) serveFresh(ctx context.Context, call *gateway.Call, w *work, out gateway.EventWriter) (answer answered) {
	var start start
	start, answer.err = p.place(ctx, w.demand)
	call.Clock.Mark(latency.Queue)
	if answer.err != nil {
		return answer
	}
	worker, err := p.startFor(w.demand, start)
	if err != nil {
		call.Clock.Mark(latency.Bind)
		answer.err = err
		return answer
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.queue.ended(w.demand.key)
		p.discard(worker)
		p.arrange()
		p.publish()
	}()
	if answer.err = ctx.Err(); answer.err != nil {
		return answer // it has left meanwhile
	}
	// It may have waited for the probe's end.
	if answer.err = p.check(call, w); answer.err != nil {
		return answer
	}
	answer = p.run(ctx, call, w, worker, nil, out)
	worker.served = answer.ID != ""
	return answer
}

// place gives a request the right to one more worker, which counts as one that starts
// until startFor has started it: where there is no room, for a worker that it was given
// and that is ended for it. While workers can't be started none is.
func (p *Pool) place(ctx context.Context, d demand) (start, error) {
	p.mu.Lock()
	if !p.closed && p.features.Load() != nil && p.queue.size == 0 && !p.full() && !p.troubled() {
		defer p.mu.Unlock()
		p.queue.began(d.key)
		return p.beginFor(), nil
	}
	p.mu.Unlock()
	given, err := p.acquire(ctx, d)
	if err != nil {
		return start{}, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.failure != nil {
		p.queue.ended(d.key)
		p.park(given)
		p.publish()
		return start{}, p.unavailable()
	}
	s := p.beginFor()
	p.discard(given)
	p.publish()
	return s, nil
}

// beginFor begins to start a worker for a request. The lock must be held.
func (p *Pool) beginFor() start {
	p.starting++
	p.room--
	p.tasks.Add(1) // the pool isn't closed before startFor has ended
	p.publish()
	return p.begin()
}

// startFor starts a worker for a request that has a place.
func (p *Pool) startFor(d demand, start start) (*worker, error) {
	defer p.tasks.Done()
	process, err := p.launch(start.options)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.starting--
	delete(p.started, start.id)
	if err != nil {
		p.room++
		p.queue.ended(d.key)
		p.arrange()
		p.publish()
		return nil, apierror.Wrap(apierror.CLIError, "the Claude Code CLI couldn't be started: "+callerText(err), err)
	}
	w := p.born(process, start)
	p.own(w, p.class(d))
	w.given, w.last = w.since, d
	w.phase.Store(bound)
	if p.closed {
		process.Kill()
	}
	p.publish()
	return w, nil
}
