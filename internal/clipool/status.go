package clipool

import "sync/atomic"

// Status is the pool's state as /health, /ready and /metrics tell it.
type Status struct {
	// Idle are those that may be given a request at once; Held are those among them
	// that hold a conversation at rest. Parked wait for the results of tool calls.
	Idle, Held, Parked, Busy, Starting, Queued int64
	// Reason is why no request can be served now, "" when one can.
	Reason string
	// Failed says that the reason is a CLI that can't be used.
	Failed bool
	// Mode says how workers are used.
	Mode string
}

// gauges is the state outside the lock: reading it waits for nobody.
type gauges struct {
	idle, held, parked, busy, starting, queued atomic.Int64
	reason                                     atomic.Pointer[string]
	failed                                     atomic.Bool
}

var noReason = ""

// publish copies the state into the gauges. The lock must be held.
func (p *Pool) publish() {
	parked := 0
	for _, w := range p.kept {
		if w.kept.parked() {
			parked++
		}
	}
	resting := len(p.idle) + len(p.kept) - parked
	if p.pinged != nil {
		resting++
	}
	p.status.idle.Store(int64(resting))
	p.status.held.Store(int64(len(p.kept) - parked))
	p.status.parked.Store(int64(parked))
	p.status.busy.Store(int64(len(p.alive) - resting - parked))
	p.status.starting.Store(int64(p.starting))
	p.status.queued.Store(int64(p.queue.size))
	failed := p.failure != nil && (len(p.alive) == 0 || p.crashes.loop)
	reason := &noReason
	switch {
	case p.closed:
		text := "shutting down"
		reason = &text
	case failed:
		text := callerText(p.failure)
		reason = &text
	case len(p.alive) == 0:
		text := "starting: no CLI worker is ready yet"
		reason = &text
	case p.queue.size >= p.places():
		text := "saturated: the CLI queue is full"
		reason = &text
	}
	p.status.reason.Store(reason)
	p.status.failed.Store(failed)
}

// Status reads the state. It takes no lock.
func (p *Pool) Status() Status {
	s := Status{
		Idle: p.status.idle.Load(), Held: p.status.held.Load(), Parked: p.status.parked.Load(), Busy: p.status.busy.Load(),
		Starting: p.status.starting.Load(), Queued: p.status.queued.Load(),
		Reason: *p.status.reason.Load(), Failed: p.status.failed.Load(),
	}
	if f := p.features.Load(); f != nil {
		s.Mode = f.Mode()
	}
	return s
}
