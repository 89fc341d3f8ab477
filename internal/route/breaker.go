package route

import (
	"sync"
	"time"
)

// State is a circuit breaker's.
type State int

// The states, by the number that the metric has for them.
const (
	Closed   State = iota // calls go through
	HalfOpen              // one call is let through, to see how it goes
	Open                  // calls are refused at once
)

var stateNames = [...]string{"closed", "half-open", "open"}

// String gives the state's name.
func (s State) String() string { return stateNames[s] }

// outcome is what became of a call, as far as a breaker minds.
type outcome int

const (
	neither outcome = iota // it says nothing of the upstream
	success
	failure
)

// busyProbe is when to try again while a probe is under way: nobody knows when it
// ends.
const busyProbe = time.Second

// breaker opens after so many failures in a row, lets one probe through after a
// while, and closes when that succeeds. It is safe for concurrent use, holds its lock
// only to count, and needs no goroutine.
type breaker struct {
	threshold int
	recovery  time.Duration
	changed   func(from, to State) // called without the lock

	mu       sync.Mutex
	state    State
	failures int       // in a row, while closed
	since    time.Time // when it opened, or the last probe began
	round    uint64    // grows with each change of state: older calls don't count
	probe    uint64    // the last probe's number
	probing  bool      // it hasn't ended
}

// ticket is a call that was let through.
type ticket struct{ round, probe uint64 }

// enter lets a call through, or says when to try again.
func (b *breaker) enter() (t ticket, wait time.Duration, ok bool) {
	b.mu.Lock()
	from, now := b.state, time.Now()
	if wait = b.wait(now); wait == 0 {
		ok = true
		if b.state != Closed {
			if b.state == Open {
				b.become(HalfOpen)
			}
			b.probe++
			b.probing, b.since = true, now
			t.probe = b.probe
		}
		t.round = b.round
	}
	to := b.state
	b.mu.Unlock()
	b.tell(from, to)
	return t, wait, ok
}

// wait is how long no call is let through; 0: one is. The lock must be held. A probe
// that takes longer than the time to recover doesn't keep others from trying.
func (b *breaker) wait(now time.Time) time.Duration {
	if b.state == Closed || b.state == HalfOpen && !b.probing {
		return 0
	}
	left := max(b.recovery-now.Sub(b.since), 0)
	if b.state == HalfOpen {
		return min(left, busyProbe)
	}
	return left
}

// answers tells that the upstream began to answer: a probe has succeeded by that,
// however long the answer is.
func (b *breaker) answers(t ticket) {
	if t.probe != 0 {
		b.leave(t, success)
	}
}

// leave tells what became of a call that was let through.
func (b *breaker) leave(t ticket, o outcome) {
	b.mu.Lock()
	from := b.state
	if t.round == b.round {
		b.count(t, o)
	}
	to := b.state
	b.mu.Unlock()
	b.tell(from, to)
}

func (b *breaker) count(t ticket, o outcome) {
	switch {
	case o == success && b.state == HalfOpen:
		b.become(Closed)
	case o == success:
		b.failures = 0
	case o == failure && b.state == HalfOpen:
		b.become(Open)
	case o == failure:
		if b.failures++; b.failures >= b.threshold {
			b.become(Open)
		}
	case t.probe == b.probe: // it has shown nothing: another one may try
		b.probing = false
	}
}

func (b *breaker) become(s State) {
	b.state, b.failures, b.probing, b.since = s, 0, false, time.Now()
	b.round++
}

func (b *breaker) tell(from, to State) {
	if from != to {
		b.changed(from, to)
	}
}

// now gives the state, how long no call is let through, and how many have failed in a row.
func (b *breaker) now() (State, time.Duration, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.state, b.wait(time.Now()), b.failures
}
