package monitor

import (
	"cmp"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// Other stands for what has no series of its own.
const Other = "other"

// place is where a series stands.
type place struct{ endpoint, backend, model string }

// Percentiles are of one series in a window of time.
type Percentiles struct {
	Endpoint, Backend, Model string
	Count, Errors            int64
	P50, P95, P99, Max       time.Duration // from arrival to the last byte
	// FirstP50 and FirstP95 are of the time to the first token of those that succeeded; 0
	// where there is none.
	FirstP50, FirstP95 time.Duration
	Stages             [latency.Count]StagePercentiles // the total's isn't filled
}

// StagePercentiles are those of one stage, of the requests that had it.
type StagePercentiles struct {
	Count    int64
	P50, P95 time.Duration
}

// The slices of time in which a series counts. A window is looked at in the narrowest
// slices that reach far enough. There are more of them than a window needs, so that none
// is emptied that is being read.
var rings = [...]struct {
	width time.Duration
	count int
}{
	{10 * time.Second, 6 + 3},
	{time.Minute, int(Reach/time.Minute) + 3},
}

// slice is what a series counted in some seconds.
type slice struct {
	epoch         int64 // which slice since the Monitor was made, and one
	count, errors atomic.Int64
	longest       atomic.Int64
	total, first  histogram
	stages        [latency.Total]histogram
}

func (s *slice) add(entry *gateway.Entry, total, first time.Duration, answered bool) {
	s.count.Add(1)
	if failed(entry) {
		s.errors.Add(1)
	}
	s.total.add(total)
	for longest := s.longest.Load(); int64(total) > longest && !s.longest.CompareAndSwap(longest, int64(total)); {
		longest = s.longest.Load()
	}
	if answered {
		s.first.add(first)
	}
	for stage := range latency.Total {
		if took, known := entry.Clock.Took(stage); known {
			s.stages[stage].add(took)
		}
	}
}

// series counts in rings of slices. A slice is replaced, never emptied: whoever still
// adds to a former one, or reads it, does no harm.
type series struct {
	slices [len(rings)][]atomic.Pointer[slice]
}

func newSeries() *series {
	s := &series{}
	for i, r := range rings {
		s.slices[i] = make([]atomic.Pointer[slice], r.count)
	}
	return s
}

// at gives the slice of a ring for a moment.
func (s *series) at(ring int, epoch int64) *slice {
	slot := &s.slices[ring][epoch%int64(len(s.slices[ring]))]
	for {
		present := slot.Load()
		if present != nil && present.epoch >= epoch+1 {
			return present
		}
		if next := (&slice{epoch: epoch + 1}); slot.CompareAndSwap(present, next) {
			return next
		}
	}
}

// table is all series. It is read without a lock.
type table struct {
	origin time.Time
	known  atomic.Pointer[map[place]*series]
	mu     sync.Mutex // for those who add
}

func (t *table) epoch(ring int, now time.Time) int64 {
	return int64(now.Sub(t.origin) / rings[ring].width)
}

func (t *table) add(m *Monitor, now time.Time, entry *gateway.Entry) {
	var first time.Duration
	for stage := range latency.FirstByte + 1 {
		took, _ := entry.Clock.Took(stage)
		first += took
	}
	total, _ := entry.Clock.Took(latency.Total)
	_, began := entry.Clock.Took(latency.FirstByte)
	s := t.find(m, entry)
	for ring := range rings {
		s.at(ring, t.epoch(ring, now)).add(entry, total, first, began && entry.Category == "")
	}
}

// find gives the series of a request: one of its own only where a model has answered,
// so that what callers merely ask for doesn't use up the room.
func (t *table) find(m *Monitor, entry *gateway.Entry) *series {
	at, known := place{entry.Endpoint, entry.Backend, entry.Routed}, t.known.Load()
	if known != nil && (*known)[at] != nil {
		return (*known)[at]
	}
	at.model = Other
	if entry.Category == "" && entry.Result.Model != "" {
		at.model = m.named.once(entry.Routed)
	}
	if known != nil && (*known)[at] != nil {
		return (*known)[at]
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	larger := map[place]*series{}
	if known := t.known.Load(); known != nil {
		// The last place is for all that has none.
		if len(*known) >= MostSeries-1 && (*known)[at] == nil {
			at = place{Other, Other, Other}
		}
		if s := (*known)[at]; s != nil {
			return s
		}
		larger = maps.Clone(*known)
	}
	s := newSeries()
	larger[at] = s
	t.known.Store(&larger)
	return s
}

// Latency gives the percentiles of the requests that ended within a window, at most
// Reach, and up to a slice of time (10 s of a minute or less, else a minute) before it;
// by endpoint, backend and model. Series without one are left out.
func (m *Monitor) Latency(window time.Duration) []Percentiles {
	known := m.table.known.Load()
	if known == nil {
		return nil
	}
	ring := 0
	for ring < len(rings)-1 && window > time.Duration(rings[ring].count-3)*rings[ring].width {
		ring++
	}
	newest := m.table.epoch(ring, time.Now())
	oldest := max(0, newest-int64((window+rings[ring].width-1)/rings[ring].width))
	var all []Percentiles
	for at, s := range *known {
		if p := s.percentiles(ring, oldest, newest); p.Count > 0 {
			p.Endpoint, p.Backend, p.Model = at.endpoint, at.backend, at.model
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b Percentiles) int {
		return cmp.Or(strings.Compare(a.Endpoint, b.Endpoint), strings.Compare(a.Backend, b.Backend), strings.Compare(a.Model, b.Model))
	})
	return all
}

func (s *series) percentiles(ring int, oldest, newest int64) (p Percentiles) {
	var total, first sum
	var stages [latency.Total]sum
	for i := range s.slices[ring] {
		part := s.slices[ring][i].Load()
		if part == nil || part.epoch-1 < oldest || part.epoch-1 > newest {
			continue
		}
		p.Count += part.count.Load()
		p.Errors += part.errors.Load()
		p.Max = max(p.Max, time.Duration(part.longest.Load()))
		total.add(&part.total)
		first.add(&part.first)
		for stage := range stages {
			stages[stage].add(&part.stages[stage])
		}
	}
	// Within a bucket nothing is known, but nothing was longer than the longest.
	at := func(s *sum, q float64) time.Duration { return min(s.quantile(q), p.Max) }
	p.P50, p.P95, p.P99 = at(&total, 0.5), at(&total, 0.95), at(&total, 0.99)
	p.FirstP50, p.FirstP95 = at(&first, 0.5), at(&first, 0.95)
	for stage := range stages {
		s := &stages[stage]
		p.Stages[stage] = StagePercentiles{s.count, at(s, 0.5), at(s, 0.95)}
	}
	return p
}
