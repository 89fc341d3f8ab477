package clipool

import (
	"cmp"
	"container/heap"
	"maps"
	"slices"
	"time"
)

// queue holds the requests that wait for a worker and says whose turn it is. It
// shares the workers between keys: the key that has the fewest requests running
// goes first, of those with as many the one whose turn has come (a ring: who is
// given a worker, or begins to wait, goes to its end). So the first request of a
// key that runs nothing is passed by at most one request of each other key that
// waited before it. A key's own requests are served as they came.
//
// No operation takes longer than O(log n), but for a key whose requests are of
// many classes, where it is O(log n) for each of them. The pool's lock guards it.
type queue struct {
	size    int
	clock   int64             // counts what has an order: arrivals and grants
	shares  map[string]*share // of the keys that run something or wait, by key
	lanes   *order[*lane]     // of all classes, the one whose turn it is first
	classes map[string]*group // those that somebody waits for
	longest *order[*share]    // of the keys that wait, the one with the most requests first
}

// share is what one key has of the pool.
type share struct {
	key              string
	running, waiting int
	turn             int64            // its place in the ring
	lanes            map[string]*lane // by class
	place            int              // in longest
}

// group is what waits of one class.
type group struct {
	lanes   *order[*lane]
	waiting int
}

// lane holds the requests of one key and one class, as they came: there is always
// one.
type lane struct {
	share          *share
	class          string
	first, last    *waiter
	inAll, inClass int // its places
}

// waiter is a request in the queue.
type waiter struct {
	demand   demand
	class    string
	since    time.Time
	grant    chan grant // holds one
	arrival  int64
	lane     *lane // nil when it isn't in the queue
	previous *waiter
	next     *waiter
}

func newQueue() *queue {
	return &queue{
		shares: map[string]*share{}, classes: map[string]*group{},
		lanes:   newOrder(sooner, func(l *lane) *int { return &l.inAll }),
		longest: newOrder(func(a, b *share) bool { return a.waiting > b.waiting }, func(s *share) *int { return &s.place }),
	}
}

// sooner says that a's first request is served before b's.
func sooner(a, b *lane) bool {
	switch {
	case a.share.running != b.share.running:
		return a.share.running < b.share.running
	case a.share.turn != b.share.turn:
		return a.share.turn < b.share.turn
	}
	return a.first.arrival < b.first.arrival // of the same key
}

func (q *queue) tick() int64 {
	q.clock++
	return q.clock
}

// first gives the request whose turn it is, nil when none waits.
func (q *queue) first() *waiter {
	if q.size == 0 {
		return nil
	}
	return q.lanes.items[0].first
}

// firstOf is first among the requests of a class.
func (q *queue) firstOf(name string) *waiter {
	c := q.classes[name]
	if c == nil {
		return nil
	}
	return c.lanes.items[0].first
}

// count says how many requests of a class wait.
func (q *queue) count(name string) int {
	if c := q.classes[name]; c != nil {
		return c.waiting
	}
	return 0
}

// ahead is how many requests may be served before one that the key sends now: all
// that wait, but of each other key no more than the key itself then has.
func (q *queue) ahead(key string) int {
	own, others := 0, q.longest.Len()
	if s := q.shares[key]; s != nil && s.waiting > 0 {
		own, others = s.waiting, others-1
	}
	return min(q.size, own+(own+1)*others)
}

// share gives a key's share, a new one where there is none.
func (q *queue) share(key string) *share {
	s := q.shares[key]
	if s == nil {
		s = &share{key: key}
		q.shares[key] = s
	}
	return s
}

// add puts a request at the end of its key's.
func (q *queue) add(w *waiter) {
	s := q.share(w.demand.key)
	w.arrival = q.tick()
	if s.waiting == 0 {
		s.turn = w.arrival
		heap.Push(q.longest, s)
	}
	c := q.classes[w.class]
	if c == nil {
		c = &group{lanes: newOrder(sooner, func(l *lane) *int { return &l.inClass })}
		q.classes[w.class] = c
	}
	l := s.lanes[w.class]
	if l == nil {
		l = &lane{share: s, class: w.class, first: w, last: w}
		if s.lanes == nil {
			s.lanes = map[string]*lane{}
		}
		s.lanes[w.class] = l
		heap.Push(q.lanes, l)
		heap.Push(c.lanes, l)
	} else {
		w.previous, l.last.next, l.last = l.last, w, w
	}
	w.lane = l
	q.size++
	c.waiting++
	s.waiting++
	heap.Fix(q.longest, s.place)
}

// remove takes a request out of the queue.
func (q *queue) remove(w *waiter) {
	l, s, c := w.lane, w.lane.share, q.classes[w.class]
	if w.previous == nil {
		l.first = w.next
	} else {
		w.previous.next = w.next
	}
	if w.next == nil {
		l.last = w.previous
	} else {
		w.next.previous = w.previous
	}
	w.lane, w.previous, w.next = nil, nil, nil
	q.size--
	c.waiting--
	s.waiting--
	if l.first == nil {
		delete(s.lanes, l.class)
		heap.Remove(q.lanes, l.inAll)
		heap.Remove(c.lanes, l.inClass)
		if c.waiting == 0 {
			delete(q.classes, l.class)
		}
	} else {
		q.settle(l)
	}
	if s.waiting == 0 {
		heap.Remove(q.longest, s.place)
	} else {
		heap.Fix(q.longest, s.place)
	}
	q.forget(s)
}

// settle finds a lane's places again.
func (q *queue) settle(l *lane) {
	heap.Fix(q.lanes, l.inAll)
	heap.Fix(q.classes[l.class].lanes, l.inClass)
}

// settleAll finds the places of all lanes of a key again, which are all served later
// now, or sooner. A heap mends one item at a time only where what is below an item that
// sinks, or above one that rises, is in order.
func (q *queue) settleAll(s *share, later bool) {
	lanes := slices.SortedFunc(maps.Values(s.lanes), func(a, b *lane) int { return cmp.Compare(a.inAll, b.inAll) })
	if later {
		slices.Reverse(lanes)
	}
	for _, l := range lanes {
		q.settle(l)
	}
}

// began says that a key has been given a worker.
func (q *queue) began(key string) {
	s := q.share(key)
	s.running++
	s.turn = q.tick()
	q.settleAll(s, true)
}

// ended says that a request of a key, to which a worker had been given, has ended.
func (q *queue) ended(key string) {
	s := q.share(key)
	s.running--
	q.settleAll(s, false)
	q.forget(s)
}

func (q *queue) forget(s *share) {
	if s.running == 0 && s.waiting == 0 {
		delete(q.shares, s.key)
	}
}

// yields gives the request that gives its place in a full queue to one of the key:
// the newest of the key that has most of them. nil when the key would have as many
// then.
func (q *queue) yields(key string) *waiter {
	if q.size == 0 {
		return nil
	}
	longest, own := q.longest.items[0], 0
	if s := q.shares[key]; s != nil {
		own = s.waiting
	}
	if longest.waiting <= own+1 {
		return nil
	}
	var newest *waiter
	for _, l := range longest.lanes {
		if newest == nil || l.last.arrival > newest.arrival {
			newest = l.last
		}
	}
	return newest
}

// empty takes all requests of the classes that match out of the queue, as they
// came.
func (q *queue) empty(match func(class string) bool) []*waiter {
	var out []*waiter
	for name, c := range q.classes {
		if !match(name) {
			continue
		}
		for _, l := range c.lanes.items {
			for w := l.first; w != nil; w = w.next {
				out = append(out, w)
			}
		}
	}
	slices.SortFunc(out, func(a, b *waiter) int { return cmp.Compare(a.arrival, b.arrival) })
	for _, w := range out {
		q.remove(w)
	}
	return out
}

// order is a heap whose items know their places in it.
type order[T any] struct {
	items []T
	less  func(a, b T) bool
	place func(item T) *int
}

func newOrder[T any](less func(a, b T) bool, place func(item T) *int) *order[T] {
	return &order[T]{less: less, place: place}
}

func (o *order[T]) Len() int           { return len(o.items) }
func (o *order[T]) Less(i, j int) bool { return o.less(o.items[i], o.items[j]) }

// Swap implements sort.Interface.
func (o *order[T]) Swap(i, j int) {
	o.items[i], o.items[j] = o.items[j], o.items[i]
	*o.place(o.items[i]), *o.place(o.items[j]) = i, j
}

// Push implements heap.Interface.
func (o *order[T]) Push(item any) {
	own, _ := item.(T) // the queue pushes nothing else
	*o.place(own) = len(o.items)
	o.items = append(o.items, own)
}

// Pop implements heap.Interface.
func (o *order[T]) Pop() any {
	last := len(o.items) - 1
	item := o.items[last]
	clear(o.items[last:])
	o.items = o.items[:last]
	return item
}
