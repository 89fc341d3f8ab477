package monitor

import (
	"cmp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// Request is one request, or a part of one, that runs or has ended.
type Request struct {
	// Seq rises with each request that ends; 0 while it runs.
	Seq                          uint64
	ID, Endpoint, KeyID, Project string
	// Requested is the model as asked, Routed as sent to the backend, Answered as the
	// upstream named it; "" where that isn't known (yet).
	Requested, Routed, Answered string
	Backend                     string
	Status                      int // 0 while it runs
	Category                    string
	Started                     time.Time
	Elapsed                     time.Duration
	// Took are the stages that it has passed. Of one that runs, Stage is the one that it
	// is in, and what that has taken so far is among them.
	Took  [latency.Count]time.Duration
	Known [latency.Count]bool
	Stage latency.Stage

	InputTokens, OutputTokens, CacheReadInputTokens, CacheCreationInputTokens int64
	CostMicroUSD                                                              *int64 // nil: not known
	Part, Fresh                                                               bool
}

// FirstToken gives how long after the request's arrival the upstream's first event came;
// false: it didn't (yet).
func (r *Request) FirstToken() (until time.Duration, ok bool) {
	if !r.Known[latency.FirstByte] || r.Status == 0 && r.Stage <= latency.FirstByte {
		return 0, false
	}
	for s := range latency.FirstByte + 1 {
		until += r.Took[s]
	}
	return until, true
}

// stages fills in what a clock has measured.
func (r *Request) stages(c *latency.Clock) {
	for s := range latency.Stage(latency.Count) {
		r.Took[s], r.Known[s] = c.Took(s)
	}
}

// Live gives the requests that run, the oldest first.
func (m *Monitor) Live() []Request {
	var all []Request
	for i := range m.live {
		s := &m.live[i]
		s.mu.Lock()
		for _, call := range s.calls {
			all = append(all, Request{
				ID: call.id, Endpoint: call.endpoint, KeyID: call.key, Project: call.project, Requested: call.request, Routed: call.model,
				Backend: call.backend, Part: call.part, Fresh: call.fresh, Started: call.clock.StartTime(),
			})
			all[len(all)-1].run(call.clock)
		}
		s.mu.Unlock()
	}
	slices.SortFunc(all, func(a, b Request) int { return cmp.Or(a.Started.Compare(b.Started), cmp.Compare(a.ID, b.ID)) })
	return all
}

// run fills in what is known of the time of a request that runs.
func (r *Request) run(c *latency.Clock) {
	last, after, ok := c.Last()
	r.stages(c)
	r.Elapsed = time.Since(r.Started)
	if r.Known[latency.Total] {
		r.Elapsed = r.Took[latency.Total] // the end is on its way
	}
	if ok {
		r.Stage = following(last, r.Backend)
	}
	if r.Stage != last || !ok {
		r.Took[r.Stage] += max(0, r.Elapsed-after)
		r.Known[r.Stage] = true
	}
}

// following is the stage that a request is in after one. The direct path has neither a
// queue nor a worker to bind.
func following(last latency.Stage, backend string) latency.Stage {
	switch {
	case last == latency.Admit && backend == gateway.BackendDirect:
		return latency.FirstByte
	case last >= latency.Record:
		return latency.Record // only the last bytes leave
	}
	return last + 1
}

// past is a ring of the requests that ended last. Each place has a lock of its own.
type past struct {
	last   atomic.Uint64 // the Seq of the last one
	places [MostRecent]struct {
		mu      sync.Mutex
		request Request
		cost    int64 // what CostMicroUSD points at
	}
}

func (p *past) add(m *Monitor, e *gateway.Entry) {
	usage := e.Result.Usage
	r := Request{
		ID: e.RequestID, Endpoint: e.Endpoint, Requested: m.named.once(e.Requested), Routed: m.named.once(e.Routed), Answered: m.named.once(e.Result.Model),
		Backend: e.Backend, Status: e.Status, Category: e.Category, Started: e.Time, Part: e.Part,
		InputTokens: usage.InputTokens, OutputTokens: usage.OutputTokens,
		CacheReadInputTokens: usage.CacheReadInputTokens, CacheCreationInputTokens: usage.CacheCreationInputTokens,
	}
	if e.Caller != nil {
		r.KeyID, r.Project = e.Caller.KeyID, e.Caller.ProjectID
	}
	r.stages(e.Clock)
	r.Elapsed = r.Took[latency.Total]
	r.Seq = p.last.Add(1)
	place := &p.places[r.Seq%MostRecent]
	place.mu.Lock()
	defer place.mu.Unlock()
	if place.request.Seq > r.Seq {
		return // whole laps have passed since
	}
	place.request = r
	if cost := e.Result.CostMicroUSD; cost != nil {
		place.cost = *cost
		place.request.CostMicroUSD = &place.cost
	}
}

// Recent gives the requests that have ended since the one with a Seq, the newest first:
// at most limit of the MostRecent that are remembered. With 0 they are the last ones. One
// is given only with all before it: whoever asks next for those since it misses none.
func (m *Monitor) Recent(since uint64, limit int) []Request {
	last := m.past.last.Load()
	var all []Request
	for seq := last; seq > since && last-seq < MostRecent && len(all) < limit; seq-- {
		place := &m.past.places[seq%MostRecent]
		place.mu.Lock()
		switch r := place.request; {
		case r.Seq < seq:
			all = all[:0] // it is being written
		case r.Seq == seq: // else it was overtaken
			if r.CostMicroUSD != nil {
				cost := place.cost
				r.CostMicroUSD = &cost
			}
			all = append(all, r)
		}
		place.mu.Unlock()
	}
	return all
}
