// Package audit is the append-only log of who did what: changes of keys and
// budgets, and every request that was refused. It holds no key's text and no word
// of a prompt.
package audit

import (
	"context"
	"fmt"
	"time"

	"claude-code-api-service/internal/gateway"
)

// Actions that this package itself writes. Others write their own, in the same
// form: what it was done to, a full stop, what was done.
const (
	// Refused is a request that the service refused.
	Refused = "request.refused"
	// Dropped says how many events were lost because they came faster than they
	// could be stored.
	Dropped = "audit.dropped"
)

// Actors that aren't keys.
const (
	// CLI has used the commands on the machine itself.
	CLI = "cli"
	// Embedding is a program that has the service in it.
	Embedding = "program"
)

// The texts of an event are bounded, in bytes. Callers choose some of them (a
// request id), and no real one is longer. Only those who administer the service
// write long details: what a profile permits.
const (
	maxText   = 256
	maxDetail = 4096
)

// Event is one thing that was done or refused. What isn't known is "".
type Event struct {
	ID        int64 // the store's, rising; 0 before the event is stored
	Time      time.Time
	Actor     string // a key's id, CLI, Embedding, or ""
	Address   string // the network address that the actor spoke from
	Action    string // key.created, key.revoked, budget.set, request.refused, …
	Target    string // what it was done to: a key's or a project's id, an endpoint
	Project   string // whose it is
	Detail    string // a short text for people
	RequestID string // as in the ledger and in the log
}

// Filter chooses events. A zero field chooses all.
type Filter struct {
	Since   time.Time // those of this moment and later
	Action  string
	Actor   string
	Project string
	Key     string // a key's id: what it did, and what was done to it
}

// Store keeps the events. It is safe for concurrent use, and other processes may
// write to the same log. It can neither change nor remove an event.
type Store interface {
	// AppendAudit stores all events or none, in one transaction; they are durable on
	// return. Event.ID is ignored. Times are kept to the microsecond, in UTC.
	AppendAudit(ctx context.Context, events []Event) error
	// ListAudit gives at most limit of the chosen events whose ID is above after, by
	// ID: the way to page through the log.
	ListAudit(ctx context.Context, after int64, limit int, filter Filter) ([]Event, error)
	// NewestAudit gives at most limit of the chosen events whose ID is below before, 0: of
	// all, the newest first: the way to page back through the log.
	NewestAudit(ctx context.Context, before int64, limit int, filter Filter) ([]Event, error)
}

// Write stores all events or none and returns when they are durable: for what must
// not happen without a trace. An event without a time gets the present one.
func Write(ctx context.Context, store Store, events ...Event) error {
	storable := make([]Event, len(events))
	for i, e := range events {
		storable[i] = e.storable()
	}
	if err := store.AppendAudit(ctx, storable); err != nil {
		return fmt.Errorf("write %d audit events: %w", len(events), err)
	}
	return nil
}

// storable makes the event what any database keeps: with a time, and texts of
// valid UTF-8 without control characters, none of them too long.
func (e Event) storable() Event {
	if e.Time.IsZero() {
		e.Time = time.Now()
	}
	for _, text := range []*string{&e.Actor, &e.Address, &e.Action, &e.Target, &e.Project, &e.RequestID} {
		*text = gateway.Storable(*text, maxText)
	}
	e.Detail = gateway.Storable(e.Detail, maxDetail)
	return e
}
