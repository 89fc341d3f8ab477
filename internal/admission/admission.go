// Package admission holds callers to their keys' limits.
package admission

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

const (
	// shardCount spreads the keys over locks, so that two keys rarely meet at
	// one. A power of two.
	shardCount = 64
	// sweepFloor is how many keys a shard holds before it looks for idle ones.
	sweepFloor = 64
)

// Limiter holds every key to its requests per minute, exactly, in memory. A
// key's whole minute may be used at once; after that one more request is
// allowed every 1/limit of a minute. It is a gateway.Admitter and safe for
// concurrent use; a decision does no I/O and allocates nothing.
//
// It is the generic cell rate algorithm (GCRA): all that is kept of a key is
// the moment at which its whole limit will be free again. Admitting a request
// moves that moment by 1/limit of a minute, and a request that would move it
// more than a minute ahead is refused.
type Limiter struct {
	start  time.Time // moments are measured from here, on the monotonic clock
	seed   maphash.Seed
	shards [shardCount]shard
}

type shard struct {
	mu sync.Mutex
	// free is when each key's whole limit is free again, since Limiter.start. A
	// key whose moment has passed is as good as one that isn't here.
	free    map[string]time.Duration
	sweepAt int // the size at which idle keys are dropped
}

var _ gateway.Admitter = (*Limiter)(nil)

// Options is empty: the limits are the keys'.
type Options struct{}

// New makes a Limiter under which no key has made a request yet.
func New(Options) *Limiter {
	l := &Limiter{start: time.Now(), seed: maphash.MakeSeed()}
	for i := range l.shards {
		l.shards[i].free, l.shards[i].sweepAt = map[string]time.Duration{}, sweepFloor
	}
	return l
}

// Admit takes one request from the limit of call.Caller's key and fills
// call.Limits, also when it refuses. The refusal is an apierror.RateLimited
// whose RetryAfter is exactly when one request will be allowed. A limit of 0 is
// none.
func (l *Limiter) Admit(_ context.Context, call *gateway.Call) error {
	limit := call.Caller.RequestsPerMinute
	if limit <= 0 {
		call.Limits = gateway.Limits{}
		return nil
	}
	limits, wait := l.take(call.Caller.KeyID, limit)
	call.Limits = limits
	if wait <= 0 {
		return nil
	}
	return &apierror.Error{
		Category:   apierror.RateLimited,
		Message:    fmt.Sprintf("the key's limit of %d requests per minute is used up", limit),
		RetryAfter: wait,
	}
}

// take returns how long the request must wait: not at all when it is admitted.
func (l *Limiter) take(key string, limit int) (gateway.Limits, time.Duration) {
	// At least a nanosecond, so that a limit beyond 60 billion stays one.
	each := max(time.Minute/time.Duration(limit), 1)
	whole := each * time.Duration(limit) // a minute, less what the division lost

	s := &l.shards[maphash.String(l.seed, key)%shardCount]
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Since(l.start) // under the lock, so that it never runs backwards
	free, known := s.free[key]
	free = max(free, now)
	wait := free + each - now - whole
	if wait <= 0 {
		free += each
		if !known && len(s.free) >= s.sweepAt {
			s.sweep(now)
		}
		s.free[key] = free
	}
	reset := free - now
	remaining := max((whole-reset)/each, 0) // a lowered limit may leave less than nothing
	return gateway.Limits{RequestsLimit: limit, RequestsRemaining: int(remaining), RequestsReset: reset}, wait
}

// sweep drops the keys whose whole limit is free. The next one comes when the
// shard has doubled, so a key pays for it in constant time.
func (s *shard) sweep(now time.Duration) {
	for key, free := range s.free {
		if free <= now {
			delete(s.free, key)
		}
	}
	s.sweepAt = max(sweepFloor, 2*len(s.free))
}
