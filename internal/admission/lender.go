package admission

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/budget"
)

const (
	// tickEvery is how often leases are looked through.
	tickEvery = 500 * time.Millisecond
	// countEvery is how often a node that was alone looks whether it still is, spentEvery
	// how often what all nodes have spent is asked for while a soft limit may be reached.
	countEvery, spentEvery = 5 * time.Second, 2 * time.Second
	// exchangeTimeout bounds one exchange, exchangeMost the leases in it.
	exchangeTimeout = 5 * time.Second
	exchangeMost    = 256
	// failedRetry is how soon what couldn't be said is said again.
	failedRetry = 250 * time.Millisecond
)

// lender exchanges this node's leases with the other nodes: one exchange at a time,
// for all leases that need one then.
type lender struct {
	admitter *Admitter
	shares   Shares
	member   Member
	identity atomic.Pointer[identity]
	nodes    atomic.Int64 // as last told
	turn     int64        // the exchanging goroutine's
	counted  time.Duration

	mu     sync.Mutex // guards what follows; taken under a shard's lock
	due    []*lease
	closed bool

	wake chan struct{}
	stop chan context.Context
	done chan struct{}
}

// identity is a membership; epochs rise.
type identity struct {
	node  string
	epoch int64
}

// queue is a lease's place among those that need an exchange. The lender's lock guards it.
type queue struct {
	shard  *shard
	queued bool
	at     time.Duration
}

func newLender(a *Admitter, shares Shares, member Member) *lender {
	l := &lender{
		admitter: a, shares: shares, member: member,
		wake: make(chan struct{}, 1), stop: make(chan context.Context), done: make(chan struct{}),
	}
	l.identity.Store(&identity{member.ID(), 1})
	stopRecalls := shares.Recalls(l.recall)
	go func() {
		defer close(l.done)
		defer stopRecalls()
		l.run()
	}()
	return l
}

// held gives the membership under which this node may use what it leases; false: none.
func (l *lender) held() (*identity, bool) {
	now := l.identity.Load()
	if l.member.Is(now.node) {
		return now, true
	}
	if id := l.member.ID(); id != now.node {
		l.identity.CompareAndSwap(now, &identity{id, now.epoch + 1})
		now = l.identity.Load()
		return now, l.member.Is(now.node)
	}
	return now, false
}

// later has a lease exchanged, at a moment. Its shard's lock is held.
func (l *lender) later(x *lease, at time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.closed:
		if x.flight != nil {
			x.flight.err = errFenced
			close(x.flight.done)
			x.flight = nil
		}
		return
	case x.queued:
		x.at = min(x.at, at)
	default:
		x.queued, x.at = true, at
		l.due = append(l.due, x)
	}
	select {
	case l.wake <- struct{}{}:
	default: // a signal is waiting already
	}
}

// take gives the leases whose exchange is due, and how long it is until the next one's.
func (l *lender) take(now time.Duration) (batch []*lease, next time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	next = never
	rest := l.due[:0]
	for _, x := range l.due {
		if x.at <= now && len(batch) < exchangeMost {
			x.queued = false
			batch = append(batch, x)
			continue
		}
		next = min(next, max(x.at-now, 0))
		rest = append(rest, x)
	}
	clear(l.due[len(rest):])
	l.due = rest
	return batch, next
}

func (l *lender) run() {
	tick := time.NewTicker(tickEvery)
	defer tick.Stop()
	for {
		select {
		case ctx := <-l.stop:
			l.end(ctx)
			return
		case <-tick.C:
			l.maintain(false)
		default:
		}
		batch, next := l.take(l.admitter.now())
		if len(batch) > 0 {
			l.exchange(context.Background(), batch)
			continue
		}
		timer := time.NewTimer(min(next, tickEvery))
		select {
		case <-l.wake:
		case <-timer.C:
		case <-tick.C:
			l.maintain(false)
		case ctx := <-l.stop:
			timer.Stop()
			l.end(ctx)
			return
		}
		timer.Stop()
	}
}

// end gives everything back that no call holds.
func (l *lender) end(ctx context.Context) {
	l.maintain(true)
	for ok := true; ok; {
		batch, _ := l.take(never)
		ok = len(batch) > 0 && l.exchange(ctx, batch)
	}
	l.mu.Lock()
	l.closed = true
	rest := l.due
	l.due = nil
	l.mu.Unlock()
	for _, x := range rest {
		l.fail([]*lease{x}, nil, errFenced)
	}
}

// exchange has a batch answered, or says false.
func (l *lender) exchange(ctx context.Context, batch []*lease) bool {
	id, ok := l.held()
	asks, flights := make([]Ask, len(batch)), make([]*flight, len(batch))
	for i, x := range batch {
		x.shard.mu.Lock()
		x.sync(id.epoch, l.admitter.now())
		asks[i], flights[i], x.flight = x.ask(l.admitter.now()), x.flight, nil
		x.open = x.open || ok // whether or not an answer comes
		x.shard.mu.Unlock()
	}
	if !ok {
		l.fail(batch, flights, errFenced)
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, exchangeTimeout)
	defer cancel()
	l.turn++
	answers, nodes, err := l.shares.Exchange(ctx, id.node, l.turn, asks)
	if err != nil {
		l.fail(batch, flights, err)
		return false
	}
	l.told(int64(nodes))
	for i, x := range batch {
		x.shard.mu.Lock()
		if x.epoch == id.epoch {
			x.hear(asks[i], answers[i], l.admitter.now())
		}
		crossed := l.admitter.reached(x)
		x.shard.mu.Unlock()
		if flights[i] != nil {
			close(flights[i].done)
		}
		l.admitter.tell(crossed)
	}
	return true
}

// fail tells those who wait, and says what it said again soon. flights may be nil.
func (l *lender) fail(batch []*lease, flights []*flight, err error) {
	for i, x := range batch {
		x.shard.mu.Lock()
		waited := x.flight
		if flights != nil {
			waited = flights[i]
		} else {
			x.flight = nil
		}
		x.dirty = x.dirty || x.open
		if x.dirty {
			l.later(x, l.admitter.now()+failedRetry)
		}
		x.shard.mu.Unlock()
		if waited != nil {
			waited.err = err
			close(waited.done)
		}
	}
}

func (l *lender) told(nodes int64) {
	l.nodes.Store(nodes)
	l.counted = l.admitter.now()
}

// alone says that no other node lives that could use what this one doesn't.
func (l *lender) alone() bool { return l.nodes.Load() <= 1 }

// maintain gives back what isn't used: all says that nothing will be.
func (l *lender) maintain(all bool) {
	id, ok := l.held()
	now := l.admitter.now()
	if ok && !all && l.alone() && now-l.counted >= countEvery {
		ctx, cancel := context.WithTimeout(context.Background(), exchangeTimeout)
		if _, nodes, err := l.shares.Exchange(ctx, id.node, 0, nil); err == nil {
			l.told(int64(nodes))
		}
		cancel()
	}
	patient := idleAfter
	if l.alone() {
		patient = forgetAfter
	}
	for i := range l.admitter.shards {
		s := &l.admitter.shards[i]
		s.mu.Lock()
		for _, account := range s.accounts {
			account.leases = slices.DeleteFunc(account.leases, func(x *lease) bool {
				x.sync(id.epoch, now)
				idle := now - x.usedAt
				switch {
				case x.open && !x.busy() && (all || idle >= patient):
					x.give(max(0, x.has()), now)
					x.closing = true
					l.later(x, now)
				case x.open && all:
					x.give(max(0, x.free(now)), now)
					l.later(x, now)
				case x.open && x.dirty, x.watches() && !l.alone() && idle < spentEvery && now-x.toldAt >= spentEvery:
					l.later(x, now)
				}
				return !x.open && !x.busy() && x.flight == nil && idle >= forgetAfter && x.drop()
			})
		}
		s.mu.Unlock()
	}
}

// recall gives another node what this one can spare.
func (l *lender) recall(node string, owner budget.Owner, resource string) {
	id, ok := l.held()
	if !ok || node == id.node {
		return
	}
	nodes := max(l.nodes.Load(), 2)
	l.nodes.Store(nodes)
	for i := range l.admitter.shards {
		s := &l.admitter.shards[i]
		s.mu.Lock()
		if account := s.accounts[owner]; account != nil {
			now := l.admitter.now()
			for _, x := range account.leases {
				if x.about.Resource != resource {
					continue
				}
				x.sync(id.epoch, now)
				if n := x.surplus(nodes, now); n > 0 {
					x.give(n, now)
					l.later(x, now)
				}
			}
		}
		s.mu.Unlock()
	}
}

// close ends the lender: what isn't in use is the others' when it returns.
func (l *lender) close(ctx context.Context) {
	select {
	case l.stop <- ctx:
	case <-l.done:
	}
	<-l.done
}

// await waits for an exchange that began after this call for each of the claims.
func (l *lender) await(ctx context.Context, s *shard, claims []claim) error {
	flights := make([]*flight, len(claims))
	s.mu.Lock()
	now := l.admitter.now()
	for i, c := range claims {
		x := c.lease
		if x.waiting == 0 && now-x.begun > 2*patience {
			x.begun, x.lookAt = 0, 0 // those who waited then have left
		}
		if x.waiting == 0 {
			x.largest = 0
		}
		x.waiting, x.largest = x.waiting+c.n, max(x.largest, c.n)
		if x.flight == nil {
			x.flight = &flight{done: make(chan struct{})}
		}
		flights[i] = x.flight
		l.later(x, max(now, x.lookAt))
	}
	s.mu.Unlock()
	var err error
	for _, f := range flights {
		select {
		case <-f.done:
			if err == nil {
				err = f.err
			}
		case <-ctx.Done():
			err = ctx.Err()
		}
	}
	s.mu.Lock()
	for _, c := range claims {
		c.lease.waiting -= c.n
	}
	s.mu.Unlock()
	return err
}
