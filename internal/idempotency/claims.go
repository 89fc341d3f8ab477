package idempotency

import (
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

const (
	// maxRunning is how many requests with an Idempotency-Key one caller may have
	// running: each holds its answer in memory.
	maxRunning = 1_024
	// lastWords is how long requests that were cancelled may take to say so.
	lastWords = 2 * time.Second
)

// errStopped ends the requests that still run when the service stops. Callers may
// read it.
var errStopped error = &apierror.Error{Category: apierror.Overloaded, Message: "the service is stopping", RetryAfter: time.Second}

// name is what one caller calls a request.
type name struct {
	owner string            // the id of the caller's API key
	key   [sha256.Size]byte // the hash of its Idempotency-Key
}

// claim is a request that runs.
type claim struct {
	sum    fingerprint
	cancel context.CancelCauseFunc
}

// claims are the requests that run in this process.
type claims struct {
	mu       sync.Mutex
	running  map[name]claim
	counts   map[string]int // by owner; none is zero
	stopping bool
	idle     chan struct{} // closed when nothing runs and nothing more will
}

func newClaims() claims {
	return claims{running: map[name]claim{}, counts: map[string]int{}, idle: make(chan struct{})}
}

// check refuses a request whose name another one has that runs.
func (c *claims) check(n name, sum fingerprint) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refusal(n, sum)
}

// refusal is why a request can't run; the lock must be held.
func (c *claims) refusal(n name, sum fingerprint) error {
	running, found := c.running[n]
	switch {
	case !found:
		return nil
	case running.sum != sum:
		return errMismatch()
	}
	return errInProgress()
}

func errInProgress() error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeIdempotencyInProgress, Param: protocol.HeaderIdempotencyKey,
		Message:    protocol.HeaderIdempotencyKey + ": the request is being answered; ask again when it is done",
		RetryAfter: time.Second,
	}
}

// begin enters a request. cancel ends it when the service stops; end must be
// called.
func (c *claims) begin(n name, sum fingerprint, cancel context.CancelCauseFunc) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.refusal(n, sum); err != nil {
		return err
	}
	switch {
	case c.stopping:
		return errStopped
	case c.counts[n.owner] >= maxRunning:
		return &apierror.Error{
			Category: apierror.RateLimited, Param: protocol.HeaderIdempotencyKey, RetryAfter: time.Second,
			Message: fmt.Sprintf("%s: %d requests of this API key that carry one are running", protocol.HeaderIdempotencyKey, maxRunning),
		}
	}
	c.running[n] = claim{sum, cancel}
	c.counts[n.owner]++
	return nil
}

func (c *claims) end(n name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.running, n)
	if c.counts[n.owner]--; c.counts[n.owner] == 0 {
		delete(c.counts, n.owner)
	}
	if c.stopping && len(c.running) == 0 {
		close(c.idle)
	}
}

func (c *claims) stop(ctx context.Context) error {
	c.mu.Lock()
	if !c.stopping {
		c.stopping = true
		if len(c.running) == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	select {
	case <-c.idle:
		return nil
	case <-ctx.Done():
	}
	c.mu.Lock()
	for _, running := range c.running {
		running.cancel(errStopped)
	}
	c.mu.Unlock()
	last := time.NewTimer(lastWords)
	defer last.Stop()
	select {
	case <-c.idle:
	case <-last.C:
	}
	return fmt.Errorf("requests with an %s were cancelled: %w", protocol.HeaderIdempotencyKey, ctx.Err())
}
