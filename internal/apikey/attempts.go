package apikey

import (
	"context"
	"net/netip"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
)

// How failed attempts are slowed: people and programs that mistype a key never
// notice, and whoever tries keys gets one answer a second.
const (
	// attemptBurst is how many failures of one address are answered at once, and
	// attemptEach is the time in which it wins one of them back.
	attemptBurst = 20
	attemptEach  = time.Second
	// attemptWait is the longest that an answer is held back. Further attempts are
	// refused instead: each one that waits keeps a connection.
	attemptWait = 3 * time.Second
	// maxAddresses bounds the memory, to about a megabyte. The addresses beyond it
	// share one account.
	maxAddresses = 10_000
	// siteBits is the part of an IPv6 address that isn't its owner's to choose:
	// providers hand out networks of 64 bits and larger.
	siteBits = 64
)

// attempts slows the answers to failed attempts by network address, with the
// generic cell rate algorithm (GCRA): all that is kept of an address is the moment
// at which its whole burst will be free again. Moments are durations since start.
type attempts struct {
	start time.Time

	mu      sync.Mutex
	free    map[netip.Prefix]time.Duration
	sweptAt time.Duration
}

func newAttempts() *attempts {
	return &attempts{start: time.Now(), free: map[netip.Prefix]time.Duration{}}
}

// refuse holds a refusal back as long as its address has deserved, and gives it
// then, or when ctx ends. An address with too many of them gets an
// apierror.RateLimited at once, which says exactly when the next attempt will be
// looked at again.
func (a *attempts) refuse(ctx context.Context, address string, refusal error) error {
	wait, retry := a.fail(site(address))
	if retry > 0 {
		return &apierror.Error{
			Category: apierror.RateLimited, Message: "too many attempts with keys that aren't valid came from this address",
			RetryAfter: retry, Cause: refusal,
		}
	}
	if wait > 0 {
		timer := time.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return refusal
}

// fail counts a failure. Its answer must wait; or it isn't counted, and the next
// one is only after retry.
func (a *attempts) fail(from netip.Prefix) (wait, retry time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Since(a.start) // under the lock, so that it never runs backwards
	if _, known := a.free[from]; !known && len(a.free) >= maxAddresses {
		if !a.sweep(now) {
			from = netip.Prefix{}
		}
	}
	free := max(a.free[from], now) + attemptEach
	wait = free - now - attemptBurst*attemptEach
	if wait > attemptWait {
		return 0, wait - attemptWait
	}
	a.free[from] = free
	return max(wait, 0), 0
}

// sweep forgets the addresses whose whole burst is free, and says whether there
// is room then. It looks through them once a second at most.
func (a *attempts) sweep(now time.Duration) bool {
	if now-a.sweptAt < time.Second {
		return false
	}
	a.sweptAt = now
	for from, free := range a.free {
		if free <= now {
			delete(a.free, from)
		}
	}
	return len(a.free) < maxAddresses
}

// site is whose attempts are counted together: an IPv4 address, or the network of
// an IPv6 address. What is no address counts as one.
func site(address string) netip.Prefix {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return netip.Prefix{}
	}
	ip = ip.Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = siteBits
	}
	prefix, err := ip.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
