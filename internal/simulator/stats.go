package simulator

import (
	"bytes"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
)

// Stats is what a simulator has seen since it was made or reset.
type Stats struct {
	// Requests counts by path: "/", "/v1/messages",
	// "/v1/messages/count_tokens", "/v1/models", "/v1/models/{id}", "other".
	Requests map[string]int64 `json:"requests"`
	// InFlight is how many are being answered now. A client may have read its
	// whole answer a moment before the count falls: use Wait.
	InFlight    int64 `json:"in_flight"`
	MaxInFlight int64 `json:"max_in_flight"`
	// Cancelled counts answers that ended because the client left.
	Cancelled int64 `json:"cancelled"`
	// Streams counts streamed answers that were begun.
	Streams int64 `json:"streams"`
	// Errors counts answers with a status of 400 or more.
	Errors int64 `json:"errors"`
	// ConnectionsOpened and ConnectionsOpen count TCP connections; only where
	// Start listens.
	ConnectionsOpened int64 `json:"connections_opened"`
	ConnectionsOpen   int64 `json:"connections_open"`
}

// Request is a request as it came.
type Request struct {
	Time   time.Time // when it arrived
	Method string
	Path   string
	Query  string // without the question mark
	Header http.Header
	Body   []byte
}

// recorder counts and keeps. Its zero value is ready.
type recorder struct {
	keep int // how many requests

	mu       sync.Mutex
	byPlace  [places]int64
	stats    Stats         // without Requests
	changed  chan struct{} // closed at the next change; nil when nobody waits
	requests []Request     // a ring once it is full
	oldest   int
}

// change makes one change of the counts and wakes those who wait for it.
func (c *recorder) change(f func(*Stats)) {
	c.mu.Lock()
	f(&c.stats)
	c.wake()
	c.mu.Unlock()
}

func (c *recorder) wake() {
	if c.changed != nil {
		close(c.changed)
		c.changed = nil
	}
}

// begin counts a request in and says how many are in flight with it.
func (c *recorder) begin(at place) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.byPlace[at]++
	c.stats.InFlight++
	c.stats.MaxInFlight = max(c.stats.MaxInFlight, c.stats.InFlight)
	c.wake()
	return c.stats.InFlight
}

func (c *recorder) end() { c.change(func(s *Stats) { s.InFlight-- }) }

func (c *recorder) add(r Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.requests) < c.keep {
		c.requests = append(c.requests, r)
	} else {
		c.requests[c.oldest] = r
		c.oldest = (c.oldest + 1) % c.keep
	}
	c.wake()
}

// snapshot must be called with the lock held.
func (c *recorder) snapshot() Stats {
	stats := c.stats
	stats.Requests = make(map[string]int64, places)
	for p, n := range c.byPlace {
		if n > 0 {
			stats.Requests[place(p).String()] = n
		}
	}
	return stats
}

// Stats gives the counts of now. The map is the caller's.
func (s *Simulator) Stats() Stats {
	s.record.mu.Lock()
	defer s.record.mu.Unlock()
	return s.record.snapshot()
}

// Requests gives copies of the latest requests, oldest first, at most
// Options.KeepBodies; those under /simulator/ aren't among them.
func (s *Simulator) Requests() []Request {
	c := &s.record
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make([]Request, 0, len(c.requests))
	for i := range c.requests {
		r := c.requests[(c.oldest+i)%len(c.requests)]
		r.Header, r.Body = r.Header.Clone(), bytes.Clone(r.Body)
		out = append(out, r)
	}
	return out
}

// Bodies gives the bodies of the kept requests for a message, oldest first.
func (s *Simulator) Bodies() [][]byte {
	var bodies [][]byte
	for _, r := range s.Requests() {
		if r.Path == placeMessages.String() {
			bodies = append(bodies, r.Body)
		}
	}
	return bodies
}

// Seen waits until the body of a kept request for a message holds the text. It
// returns the context's error when that ends first.
func (s *Simulator) Seen(ctx context.Context, text string) error {
	return s.Wait(ctx, func(Stats) bool {
		return slices.ContainsFunc(s.Bodies(), func(body []byte) bool { return bytes.Contains(body, []byte(text)) })
	})
}

// Reset sets the counts to zero and forgets the kept requests, the cached
// prefixes and the failures counted by times. What is in flight and the open
// connections stay counted.
func (s *Simulator) Reset() {
	c := &s.record
	c.mu.Lock()
	c.byPlace = [places]int64{}
	c.stats = Stats{
		InFlight: c.stats.InFlight, MaxInFlight: c.stats.InFlight,
		ConnectionsOpen: c.stats.ConnectionsOpen,
	}
	c.requests, c.oldest = nil, 0
	c.wake()
	c.mu.Unlock()
	s.memory.forget()
}

// Wait returns nil as soon as done says true of the counts, or the context's
// error. It looks at once and then after each change, without polling; a state
// that lasts only between two changes that follow closely may be missed.
func (s *Simulator) Wait(ctx context.Context, done func(Stats) bool) error {
	c := &s.record
	for {
		c.mu.Lock()
		stats := c.snapshot()
		if c.changed == nil {
			c.changed = make(chan struct{})
		}
		changed := c.changed
		c.mu.Unlock()
		if done(stats) {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (s *Simulator) serveStats(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/simulator/stats" {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.MarshalWrite(w, s.Stats(), json.Deterministic(true)) // the client left: nobody to tell
}
