package monitor

import (
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
)

// second is what ended in one second.
type second struct {
	number                         int64 // since the Monitor was made, and one
	requests, errors, tokens, cost atomic.Int64
	total                          histogram
}

// kept is how many seconds there are: more than Reach needs, so that none is replaced
// that is being read.
const kept = int64(Reach/time.Second) + 10

// seconds is a ring of them. A second is replaced, never emptied.
type seconds struct {
	origin time.Time
	ring   [kept]atomic.Pointer[second]
}

func (s *seconds) number(at time.Time) int64 { return int64(at.Sub(s.origin) / time.Second) }

func (s *seconds) add(now time.Time, entry *gateway.Entry) {
	n := s.number(now)
	slot := &s.ring[n%kept]
	at := slot.Load()
	for at == nil || at.number < n+1 {
		next := &second{number: n + 1}
		if slot.CompareAndSwap(at, next) {
			at = next
			break
		}
		at = slot.Load()
	}
	at.tokens.Add(max(0, entry.Result.Usage.Total()))
	if cost := entry.Result.CostMicroUSD; cost != nil {
		at.cost.Add(*cost)
	}
	if entry.Part {
		return
	}
	at.requests.Add(1)
	if failed(entry) {
		at.errors.Add(1)
	}
	if total, known := entry.Clock.Took(latency.Total); known {
		at.total.add(total)
	}
}

// get gives a second, nil when nothing ended in it.
func (s *seconds) get(n int64) *second {
	if n < 0 {
		return nil
	}
	at := s.ring[n%kept].Load()
	if at == nil || at.number != n+1 {
		return nil
	}
	return at
}

// Rates are of the last minute, or since the Monitor was made where that is less.
type Rates struct {
	Requests, Errors, Tokens float64 // a second
	ErrorRatio               float64 // of the requests; 0 where there were none
	CostMicroUSD             float64 // a minute
}

// Rates gives the rates of the last 60 whole seconds.
func (m *Monitor) Rates() Rates {
	now := m.rates.number(time.Now())
	var requests, errors, tokens, cost int64
	for n := now - 60; n < now; n++ {
		if s := m.rates.get(n); s != nil {
			requests += s.requests.Load()
			errors += s.errors.Load()
			tokens += s.tokens.Load()
			cost += s.cost.Load()
		}
	}
	span := float64(max(1, min(60, now)))
	r := Rates{
		Requests: float64(requests) / span, Errors: float64(errors) / span, Tokens: float64(tokens) / span, CostMicroUSD: float64(cost) / span * 60,
	}
	if requests > 0 {
		r.ErrorRatio = float64(errors) / float64(requests)
	}
	return r
}

// Step is what ended in some seconds.
type Step struct {
	Requests, Errors, Tokens, CostMicroUSD int64
	P50, P95                               time.Duration // of the requests, from arrival to the last byte
}

// Timeline gives what ended in each step of the last minutes, the oldest first, and when
// the first one began. The last is the present one, which isn't over. A step is a second
// or more: there are at most 180.
func (m *Monitor) Timeline(minutes int) (start time.Time, step time.Duration, steps []Step) {
	minutes = min(max(minutes, 1), int(Reach/time.Minute))
	width := int64(1)
	for _, wider := range []int64{2, 5} {
		if int64(minutes)*60/width > 180 {
			width = wider
		}
	}
	count := int64(minutes) * 60 / width
	// Steps begin at multiples of their width, so that they stay the same from one look
	// to the next.
	first := m.rates.number(time.Now())/width - count + 1
	steps = make([]Step, count)
	for i := range steps {
		at, total := &steps[i], sum{}
		for n := range width {
			s := m.rates.get((first+int64(i))*width + n)
			if s == nil {
				continue
			}
			at.Requests += s.requests.Load()
			at.Errors += s.errors.Load()
			at.Tokens += s.tokens.Load()
			at.CostMicroUSD += s.cost.Load()
			total.add(&s.total)
		}
		at.P50, at.P95 = total.quantile(0.5), total.quantile(0.95)
	}
	return m.rates.origin.Add(time.Duration(first*width) * time.Second), time.Duration(width) * time.Second, steps
}
