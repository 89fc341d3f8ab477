package audit

import (
	"fmt"
	"net/netip"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// The log can't be pruned, so nobody may fill the disk by being refused: what
// follows bounds the callers without a key, all together, to 200 events a minute.
const (
	// refusalWindow is the time in which refusals of one kind are counted together.
	refusalWindow = time.Minute
	// callerSingles is how many refusals of one key and category a window has events
	// of their own for, and strangerSingles those of one address and category without
	// a key, and of a key that isn't taken any more. Further ones are summed up.
	callerSingles   = 100
	strangerSingles = 10
	// maxStrangers is how many addresses and categories a window tells apart. Those
	// beyond are summed up together.
	maxStrangers = 16
)

// Refusals is a gateway.Observer that records the requests that the service
// refused for their key, its rights, its limits or its budgets, and tells the
// next observer of all requests. What the upstream refused is no refusal of the
// service's. The first refusals of a minute have an event each; how many more
// there were, of the same key or address and category, is one event at its end;
// those of more addresses than it tells apart stand under the address "others".
// It is safe for concurrent use.
type Refusals struct {
	log  *Log
	next gateway.Observer

	mu        sync.Mutex
	counts    map[source]*count // of the present window
	strangers int               // sources in counts that have no key
	window    *time.Timer       // ends the present window
	closed    bool
}

// source is whose refusals are counted together: a key's, or those from an
// address; and of which category.
type source struct {
	actor, address string
	category       apierror.Category
}

type count struct {
	project string
	singles int // so many may have an event of their own
	refused int
}

var _ gateway.Observer = (*Refusals)(nil)

// NewRefusals makes a Refusals in front of next. Close must be called, before the
// log is closed.
func NewRefusals(log *Log, next gateway.Observer) *Refusals {
	r := &Refusals{log: log, next: next, counts: map[source]*count{}}
	r.window = time.AfterFunc(refusalWindow, r.endWindow)
	r.window.Stop()
	return r
}

// Observe implements gateway.Observer. It doesn't wait.
func (r *Refusals) Observe(entry gateway.Entry) {
	if category := apierror.Category(entry.Category); entry.Refused && audited(category) {
		r.record(entry, category)
	}
	r.next.Observe(entry)
}

func audited(category apierror.Category) bool {
	switch category {
	case apierror.AuthError, apierror.Permission, apierror.RateLimited, apierror.BudgetExceeded:
		return true
	}
	return false
}

func (r *Refusals) record(entry gateway.Entry, category apierror.Category) {
	from, project := source{category: category}, ""
	if entry.Caller == nil {
		from.address = network(entry.Address)
	} else {
		from.actor, project = entry.Caller.KeyID, entry.Caller.ProjectID
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	if len(r.counts) == 0 {
		r.window.Reset(refusalWindow)
	}
	c := r.count(from)
	c.project = project
	c.refused++
	if c.refused > c.singles {
		return
	}
	r.log.Record(Event{
		Actor: from.actor, Address: entry.Address, Action: Refused, Target: entry.Endpoint, Project: project,
		Detail: string(category), RequestID: entry.RequestID,
	})
}

// count gives a source's count in this window, or the one that it shares.
func (r *Refusals) count(from source) *count {
	c := r.counts[from]
	switch {
	case c != nil:
		return c
	case from.actor != "" && from.category == apierror.AuthError:
		c = &count{singles: strangerSingles}
	case from.actor != "":
		c = &count{singles: callerSingles}
	case r.strangers < maxStrangers:
		r.strangers++
		c = &count{singles: strangerSingles}
	default:
		from.address = "others"
		if c = r.counts[from]; c != nil {
			return c
		}
		c = &count{}
	}
	r.counts[from] = c
	return c
}

// network is what one attacker without a key has: an IPv4 address, or 64 bits of
// IPv6.
func network(address string) string {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		pair, err := netip.ParseAddrPort(address)
		if err != nil {
			return gateway.Storable(address, maxText)
		}
		ip = pair.Addr()
	}
	ip = ip.Unmap().WithZone("")
	if ip.Is4() {
		return ip.String()
	}
	prefix, _ := ip.Prefix(64) // fails only for a length that no address has
	return prefix.String()
}

// endWindow says how many refusals had no event of their own.
func (r *Refusals) endWindow() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sumUp()
}

func (r *Refusals) sumUp() {
	for from, c := range r.counts {
		if more := c.refused - c.singles; more > 0 {
			r.log.Record(Event{
				Action: Refused, Actor: from.actor, Address: from.address, Project: c.project,
				Detail: fmt.Sprintf("%s, %d more within a minute", from.category, more),
			})
		}
	}
	clear(r.counts)
	r.strangers = 0
}

// Close sums up the present window and ends the recording. Entries that come
// later only reach the next observer.
func (r *Refusals) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.window.Stop()
	r.closed = true
	r.sumUp()
}
