package agent

import (
	"context"
	"slices"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
)

// slots let so many runs work at once and share them between keys: the key with the
// fewest at work goes first, of those with as many the one that was served longest
// ago. A key's own runs are served as they came.
type slots struct {
	status *gauges

	mu      sync.Mutex
	free    int
	places  int // how many may wait
	closed  bool
	waiting []*waiter // as they came
	working map[string]int
	served  map[string]int64 // when a key that works or waits was served last
	clock   int64
}

type waiter struct {
	key   string
	grant chan error // holds one
}

func newSlots(free, places int, status *gauges) *slots {
	return &slots{status: status, free: free, places: places, working: map[string]int{}, served: map[string]int64{}}
}

var errStopping = &apierror.Error{Category: apierror.Overloaded, Message: "the service is stopping", RetryAfter: time.Second}

// acquire waits for a slot. Whoever got one must release it.
func (s *slots) acquire(ctx context.Context, key string) error {
	w := &waiter{key: key, grant: make(chan error, 1)}
	s.mu.Lock()
	switch {
	case s.closed:
		s.mu.Unlock()
		return errStopping
	case s.free <= 0 && len(s.waiting) >= s.places && !s.makePlace(key):
		s.mu.Unlock()
		return errFull()
	}
	s.waiting = append(s.waiting, w)
	s.next()
	s.mu.Unlock()
	select {
	case err := <-w.grant:
		return err
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.waiting, w); i >= 0 {
		s.waiting = slices.Delete(s.waiting, i, i+1)
		s.forget(key)
		s.publish()
		return context.Cause(ctx)
	}
	if err := <-w.grant; err == nil { // it was given one at the same moment
		s.giveBack(key)
	}
	return context.Cause(ctx)
}

func errFull() error {
	return &apierror.Error{Category: apierror.Overloaded, Message: "too many tasks wait already", RetryAfter: retryFull}
}

// makePlace takes the last run of the key with the most from the full queue, where the
// key that comes would have fewer with one more. The lock is held.
func (s *slots) makePlace(key string) bool {
	waiting, last := map[string]int{}, map[string]int{}
	most := key
	for i, w := range s.waiting {
		waiting[w.key]++
		last[w.key] = i
		if waiting[w.key] > waiting[most] {
			most = w.key
		}
	}
	if waiting[most] <= waiting[key]+1 {
		return false
	}
	s.waiting[last[most]].grant <- errFull()
	s.waiting = slices.Delete(s.waiting, last[most], last[most]+1)
	return true
}

func (s *slots) release(key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.giveBack(key)
}

// giveBack takes a slot back. The lock is held, as for all that follow.
func (s *slots) giveBack(key string) {
	s.free++
	if s.working[key]--; s.working[key] <= 0 {
		delete(s.working, key)
	}
	s.forget(key)
	s.next()
}

// next gives free slots to those whose turn it is.
func (s *slots) next() {
	for s.free > 0 && len(s.waiting) > 0 {
		first := 0
		for i, w := range s.waiting {
			if s.sooner(w.key, s.waiting[first].key) {
				first = i
			}
		}
		w := s.waiting[first]
		s.waiting = slices.Delete(s.waiting, first, first+1)
		s.free--
		s.working[w.key]++
		s.clock++
		s.served[w.key] = s.clock
		w.grant <- nil
	}
	s.publish()
}

func (s *slots) sooner(a, b string) bool {
	if s.working[a] != s.working[b] {
		return s.working[a] < s.working[b]
	}
	return s.served[a] < s.served[b]
}

// forget forgets when a key was served that neither works nor waits.
func (s *slots) forget(key string) {
	if s.working[key] == 0 && !slices.ContainsFunc(s.waiting, func(w *waiter) bool { return w.key == key }) {
		delete(s.served, key)
	}
}

// close refuses those that wait.
func (s *slots) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for _, w := range s.waiting {
		w.grant <- errStopping
	}
	s.waiting = nil
	s.publish()
}

func (s *slots) publish() {
	working := 0
	for _, n := range s.working {
		working += n
	}
	s.status.running.Store(int64(working))
	s.status.queued.Store(int64(len(s.waiting)))
	s.status.full.Store(s.free <= 0 && len(s.waiting) >= s.places)
	s.status.closed.Store(s.closed)
}
