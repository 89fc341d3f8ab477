package monitor

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// Bounds of what is remembered.
const (
	// MostRecent is how many requests that have ended are remembered.
	MostRecent = 500
	// MostSeries is how many combinations of endpoint, backend and model have
	// percentiles of their own. Each that was in use in the last minutes takes a quarter of
	// a megabyte.
	MostSeries = 64
	// Reach is how far back rates and percentiles go.
	Reach = 15 * time.Minute
)

// shards is how many locks the table of running requests has.
const shards = 16

// Options are what a Monitor needs.
type Options struct {
	// Next is told of every request that has ended after the Monitor; nil: nobody is.
	Next gateway.Observer
}

// Monitor hears of every request: as a gateway.Watcher while it runs, and as a
// gateway.Observer of its end. It is safe for concurrent use; no request waits for
// another one, or for whoever reads.
//
// A call that is part of a request, of an agent's run, is there like any other, and its
// tokens and cost count, but it is no request: it is neither among the rates of requests
// nor in the percentiles.
type Monitor struct {
	next  gateway.Observer
	seed  maphash.Seed
	live  [shards]shard
	past  past
	rates seconds
	named named
	table table
	// changes counts what Live and Recent would show otherwise than before.
	changes atomic.Uint64
}

var (
	_ gateway.Watcher  = (*Monitor)(nil)
	_ gateway.Observer = (*Monitor)(nil)
)

// New makes a Monitor.
func New(options Options) *Monitor {
	m := &Monitor{next: options.Next, seed: maphash.MakeSeed()}
	for i := range m.live {
		m.live[i].calls = map[*latency.Clock]*running{}
	}
	m.rates.origin = time.Now()
	m.table.origin = m.rates.origin
	return m
}

// shard is a part of the table of running requests.
type shard struct {
	mu    sync.Mutex
	calls map[*latency.Clock]*running
}

// running is a call that runs. What changes of it is guarded by its shard's lock, but
// for the clock, which is its own.
type running struct {
	clock                               *latency.Clock
	id, endpoint, key, project, request string
	backend, model                      string
	part, fresh                         bool
}

func (m *Monitor) shard(c *latency.Clock) *shard {
	return &m.live[maphash.Comparable(m.seed, c)%shards]
}

// Opened implements gateway.Watcher.
func (m *Monitor) Opened(call *gateway.Call) {
	r := &running{clock: &call.Clock, id: call.RequestID, endpoint: call.Endpoint, request: call.Asked(), part: call.Part, fresh: call.Fresh}
	if call.Caller != nil {
		r.key, r.project = call.Caller.KeyID, call.Caller.ProjectID
	}
	s := m.shard(r.clock)
	s.mu.Lock()
	s.calls[r.clock] = r
	s.mu.Unlock()
	m.changes.Add(1)
}

// Routed implements gateway.Watcher.
func (m *Monitor) Routed(call *gateway.Call) {
	s := m.shard(&call.Clock)
	s.mu.Lock()
	if r := s.calls[&call.Clock]; r != nil {
		r.backend, r.model, r.part = call.Backend, call.Model, call.Part
	}
	s.mu.Unlock()
	m.changes.Add(1)
}

// Closed implements gateway.Watcher.
func (m *Monitor) Closed(call *gateway.Call) { m.forget(&call.Clock) }

// forget takes a call out of those that run.
func (m *Monitor) forget(c *latency.Clock) {
	s := m.shard(c)
	s.mu.Lock()
	delete(s.calls, c)
	s.mu.Unlock()
	m.changes.Add(1)
}

// Observe implements gateway.Observer.
func (m *Monitor) Observe(entry gateway.Entry) {
	now := time.Now()
	m.forget(entry.Clock)
	m.past.add(m, &entry)
	m.rates.add(now, &entry)
	if !entry.Part && entry.Backend != "" {
		m.table.add(m, now, &entry)
	}
	if m.next != nil {
		m.next.Observe(entry)
	}
}

// failed says whether a request counts as an error: not one whose caller has left.
func failed(entry *gateway.Entry) bool {
	return entry.Category != "" && entry.Category != string(apierror.ClientClosed)
}

// Changes grows whenever Live or Recent would show something new, other than time that
// has passed in the stages of what runs.
func (m *Monitor) Changes() uint64 { return m.changes.Load() }

// mostNames bounds the models' names that are kept once.
const (
	mostNames   = 512
	longestName = 128
)

// named keeps each name of a model once, so that what remembers a request doesn't keep
// the body that the name was read from. It is read without a lock.
type named struct {
	known atomic.Pointer[map[string]string]
	mu    sync.Mutex // for those who add
}

// once gives a text like the given one that is kept anyway.
func (n *named) once(name string) string {
	if name == "" {
		return ""
	}
	known := n.known.Load()
	if known != nil {
		if own, ok := (*known)[name]; ok {
			return own
		}
	}
	own := string([]byte(gateway.Storable(name, longestName)))
	if known != nil {
		kept, ok := (*known)[own] // of a name that was shortened
		switch {
		case ok:
			return kept
		case len(*known) >= mostNames:
			return own
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	larger := map[string]string{own: own}
	if known = n.known.Load(); known != nil {
		for k, v := range *known {
			larger[k] = v
		}
	}
	if len(larger) <= mostNames {
		n.known.Store(&larger)
	}
	return own
}
