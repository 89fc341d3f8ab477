package agent

import (
	"sync/atomic"
	"time"
)

// retryFull is when a caller may try again whom the queue had no place for.
const retryFull = 5 * time.Second

// Status is what /health, /ready and metrics tell of agentic work.
type Status struct {
	// Running are the runs and turns at work, Idle the processes of conversations
	// between turns, Spares those that wait for a run, Starting those that aren't ready
	// yet, and Queued the runs that wait for their turn.
	Running, Idle, Spares, Starting, Queued int64
	// Reason is why no run can begin now; "": one can.
	Reason string
}

// gauges is the state outside of all locks: reading it waits for nobody.
type gauges struct {
	running, idle, spares, starting, queued atomic.Int64
	full, closed                            atomic.Bool
	reason                                  atomic.Pointer[string] // why the CLI can't be used; nil: it can
}

var notStarted = "starting: the CLI is being probed"

// Status reads the state. It takes no lock.
func (r *Runner) Status() Status {
	g := &r.status
	s := Status{
		Running: g.running.Load(), Idle: g.idle.Load(), Spares: g.spares.Load(), Starting: g.starting.Load(), Queued: g.queued.Load(),
	}
	switch reason := g.reason.Load(); {
	case g.closed.Load():
		s.Reason = "stopping"
	case reason != nil:
		s.Reason = *reason
	case g.full.Load():
		s.Reason = "saturated: too many tasks wait"
	}
	return s
}
