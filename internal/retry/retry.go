// Package retry decides whether a failed call is repeated, and waits before it is:
// so often, within the caller's time, and never so much that an upstream which
// fails gets several times the load.
package retry

import (
	"context"
	"math/rand/v2"
	"time"
)

// The waits between attempts: doubling from half a second up to eight, the
// steps of the official SDKs, but with full jitter, so that callers that failed
// together don't come back together.
const (
	firstWait   = 500 * time.Millisecond
	maxWait     = 8 * time.Second
	doublings   = 4 // from the first wait to the longest
	maxAskedFor = 10 * time.Second
)

// Policy says how calls of one upstream are repeated. It is safe for concurrent use.
type Policy struct {
	// Retries is how often one call is repeated at most.
	Retries int
	// Budget bounds the retries of all calls together. nil: it doesn't.
	Budget *Budget
	// Jitter gives a random duration from zero up to its argument. nil: an even
	// distribution.
	Jitter func(limit time.Duration) time.Duration
	// Retried hears of every retry. May be nil.
	Retried func()
}

// Pause waits before a call is repeated, and says whether it is: attempt counts from
// 0, the first one that failed. asked is how long the upstream asks to wait, if known
// says so: it is kept, or left to the caller when it is longer than ten seconds.
// Nothing is repeated that would begin beyond ctx's deadline, nor when ctx ends
// meanwhile.
func (p *Policy) Pause(ctx context.Context, attempt int, asked time.Duration, known bool) bool {
	if attempt >= p.Retries {
		return false
	}
	wait := asked
	if !known {
		wait = p.jitter(backoff(attempt))
	}
	if wait > maxAskedFor || !beforeDeadline(ctx, wait) || p.Budget != nil && !p.Budget.spend() {
		return false
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return false
	}
	if p.Retried != nil {
		p.Retried()
	}
	return true
}

func (p *Policy) jitter(limit time.Duration) time.Duration {
	if p.Jitter != nil {
		return p.Jitter(limit)
	}
	return time.Duration(rand.Int64N(int64(limit) + 1)) //nolint:gosec // spreads load, guards nothing
}

func backoff(attempt int) time.Duration {
	if attempt > doublings {
		return maxWait
	}
	return min(firstWait<<attempt, maxWait)
}

// beforeDeadline says whether something of the caller's time is left after the
// wait.
func beforeDeadline(ctx context.Context, wait time.Duration) bool {
	deadline, ok := ctx.Deadline()
	return !ok || time.Until(deadline) > wait
}
