package idempotency

import (
	"sync"
	"time"
)

const (
	// largeAnswer is from where on an answer counts against its owner's allowance, in
	// bytes. Answers to single prompts are smaller; batches repeat their prompts, which
	// may have cost nothing.
	largeAnswer = 64 << 10
	// allowance is how many bytes of large answers one owner may have kept at once, and
	// wins back in the time that they are kept: so it never has twice as many.
	allowance = 1 << 30
	// rememberOwners is from how many owners on those are looked for whose allowance is
	// whole again.
	rememberOwners = 1_024
)

// allowances bound what the answers of one owner may take of the disk, with the
// generic cell rate algorithm (GCRA): all that is kept of an owner is the moment at
// which its allowance will be whole. It is safe for concurrent use.
type allowances struct {
	mu    sync.Mutex
	whole map[string]time.Time
}

// take says whether an answer of so many bytes may be kept.
func (a *allowances) take(owner string, size int) bool {
	if size < largeAnswer {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	whole := a.whole[owner]
	if whole.Before(now) {
		whole = now
	}
	whole = whole.Add(TTL / allowance * time.Duration(size))
	if whole.Sub(now) > TTL {
		return false
	}
	if a.whole == nil {
		a.whole = map[string]time.Time{}
	}
	if len(a.whole) >= rememberOwners {
		for other, at := range a.whole {
			if at.Before(now) {
				delete(a.whole, other)
			}
		}
	}
	a.whole[owner] = whole
	return true
}
