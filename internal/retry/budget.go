package retry

import (
	"sync"
	"time"
)

// What a Budget allows (docs/adr/0022).
const (
	// share is what each call adds: one retry for five calls.
	share = 0.2
	// perSecond is what time adds: a service with few calls has retries too.
	perSecond = 1
	// most is what is saved up: four retries of five calls, after which a circuit
	// breaker opens by default.
	most = 20
)

// Budget bounds how many retries all calls of an upstream make together: a fifth of
// the calls, and one a second. A call that finds none left fails with its first
// failure. It is safe for concurrent use. Make it with NewBudget.
type Budget struct {
	mu    sync.Mutex
	left  float64
	since time.Time // when left was true
}

// NewBudget makes a full Budget.
func NewBudget() *Budget { return &Budget{left: most, since: time.Now()} }

// Call counts a call, whatever becomes of it.
func (b *Budget) Call() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left = min(b.left+share, most)
}

// spend takes a retry, if one is left.
func (b *Budget) spend() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.left = min(b.left+max(now.Sub(b.since).Seconds(), 0)*perSecond, most)
	b.since = now
	if b.left < 1 {
		return false
	}
	b.left--
	return true
}
