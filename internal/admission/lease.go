package admission

import (
	"math/bits"
	"time"

	"claude-code-api-service/internal/budget"
)

// The times of leases.
const (
	// idleAfter is how long a lease isn't used before it goes back, where other nodes
	// could use it.
	idleAfter = 2 * time.Second
	// patience is how long a caller waits for what other nodes give back, and lookEvery
	// how often it is looked for.
	patience  = 150 * time.Millisecond
	lookEvery = 50 * time.Millisecond
	// paceWindow is over what time a lease's use is measured. A budget's is added to when it
	// holds less than one window's use, for three.
	paceWindow = 2 * time.Second
	// gatherFor is in what steps of time leases are exchanged that nobody waits for,
	// so that they meet.
	gatherFor = time.Second
)

// lease is what this node may use of one resource of an owner. Its shard's lock guards it.
type lease struct {
	about   Ask // whose it is, and what of
	account *account
	// rate is the bucket of a rate; spending is that of a budget.
	rate     *rate
	spending *spending

	// epoch is that of the membership under which it is held.
	epoch int64
	limit int64 // of all nodes together
	// These are as in Ask and Answer.
	granted, grantedReady, given, givenReady, used int64
	open                                           bool // the store may have a row of it
	known                                          bool // the store has answered
	others                                         int64
	pool                                           int64
	toldAt                                         time.Duration

	// waiting is what callers wait for, largest the largest of their claims, and flight
	// what they wait with.
	waiting, largest int64
	flight           *flight
	// begun is when an exchange first brought too little of it, lookAt when the next one
	// may bring more. Until refused nobody asks; 0: none.
	// What would only be useful isn't asked for until calm.
	begun, lookAt, refused, calm time.Duration
	hungry, dirty, closing       bool // what the next exchange is for
	usedAt                       time.Duration
	pace                         pace
	// watched is a budget's limit, and project whose it is, for what is told of its soft
	// limit.
	watched budget.Limit
	project string

	queue // the lender's
}

// flight is what callers wait for: an exchange that began after they asked.
type flight struct {
	done chan struct{}
	err  error // read when done is closed
}

// has is how much is leased and not used up.
func (l *lease) has() int64 { return l.granted - l.given - l.used }

// inUse is how much of it calls that run hold.
func (l *lease) inUse() int64 {
	switch {
	case l.spending != nil:
		return l.spending.held.In(l.about.Unit)
	case l.rate == nil:
		return int64(l.account.running - l.account.parts)
	}
	return 0
}

// free is how much of it can be used now.
func (l *lease) free(now time.Duration) int64 {
	if l.rate == nil {
		return l.has() - l.inUse()
	}
	if l.has() <= 0 {
		return 0
	}
	ready, _ := l.rate.left(int(l.has()), now)
	return int64(ready)
}

// whole says that there is nothing of the resource elsewhere.
func (l *lease) whole() bool { return l.spending == nil && l.has() >= l.limit }

// busy says that something of it may still come back from a call.
func (l *lease) busy() bool {
	return l.waiting > 0 || l.account.running > 0 || l.inUse() > 0 || l.rate != nil && l.rate.newest != nil
}

// touch brings a lease to what is so now: under which membership it is held, and
// what the limit is. A lowered limit takes its part of a lease at once, on each node that
// hears of it.
func (l *lease) touch(epoch, limit int64, now time.Duration) {
	l.sync(epoch, now)
	l.usedAt = now
	former := l.limit
	if limit == former {
		return
	}
	l.limit, l.refused = limit, 0
	switch {
	case former == 0:
	case l.spending != nil:
		l.give(max(0, l.free(now)), now)
		l.dirty = true
	case limit < former && l.has() > 0:
		// A rate's moments stay: what was used up stays used up.
		l.given += l.has() - part(l.has(), limit, former)
		l.dirty = true
	}
}

// sync drops what was leased under another membership: the others have it.
func (l *lease) sync(epoch int64, now time.Duration) {
	if l.epoch == epoch {
		return
	}
	l.epoch = epoch
	l.granted, l.grantedReady, l.given, l.givenReady, l.used = 0, 0, 0, 0, 0
	l.open, l.known, l.dirty, l.closing = false, false, false, false
	l.others, l.pool, l.begun, l.lookAt, l.refused = 0, 0, 0, 0, 0
	if l.rate != nil {
		l.rate.reshape(0, 0, 0, now)
	}
}

// give gives so much of it back, what is ready first.
func (l *lease) give(n int64, now time.Duration) {
	if l.rate != nil {
		if n <= 0 {
			return
		}
		has := l.has()
		ready := min(n, l.free(now))
		if n == has {
			ready = has - l.rate.owed(int(has), now) // with all that is owed
		}
		l.givenReady += ready
		l.rate.pay(int(has), n-ready, now)
		l.rate.reshape(int(has), int(has-n), 0, now)
	}
	l.given += n
}

// ask is what the node says of it now.
func (l *lease) ask(now time.Duration) Ask {
	a := l.about
	a.Limit, a.Given, a.GivenReady, a.Used, a.GrantedReady = l.limit, l.given, l.givenReady, l.used, l.grantedReady
	if l.waiting > 0 {
		a.Want = max(0, l.waiting-l.free(now))
	}
	if a.Want > 0 || l.hungry {
		a.Like = a.Want + l.useful(now)
	}
	a.Recall = a.Want > 0 && l.begun == 0
	a.Close = l.closing && l.has() <= 0 && !l.busy()
	l.hungry, l.dirty, l.closing = false, false, false
	return a
}

// useful is how much more would be of use soon, by what was used lately.
func (l *lease) useful(now time.Duration) int64 {
	recent := l.pace.recent(now)
	switch {
	case l.rate != nil:
		const windows = int64(time.Minute / paceWindow)
		return max(0, recent*windows*3/2-l.has())
	case l.spending != nil:
		return max(0, 3*recent-l.free(now))
	}
	return l.inUse() / 2
}

// hear takes the answer to an ask. Whoever has come since waits for the next one.
func (l *lease) hear(asked Ask, a Answer, now time.Duration) {
	lent := a.Granted - l.granted
	got := lent
	if lent == 0 {
		l.calm = now + heldRetry
	}
	if l.rate != nil {
		got = a.GrantedReady - l.grantedReady
		l.rate.reshape(int(l.has()), int(l.has()+lent), lent-got, now)
	}
	l.granted, l.grantedReady = a.Granted, a.GrantedReady
	l.open, l.known, l.others, l.pool, l.toldAt = !asked.Close, true, a.Others, a.Pool, now
	if s := l.spending; s != nil {
		s.known = true
		// Both are what was spent at least: this node may have heard more.
		if l.about.Unit == budget.USD {
			s.spent.MicroUSD = max(s.spent.MicroUSD, a.Spent)
		} else {
			s.spent.Tokens = max(s.spent.Tokens, a.Spent)
		}
	}
	switch {
	case got >= asked.Want:
		l.begun, l.lookAt = 0, 0
	case a.Others == 0 || l.begun > 0 && now-l.begun >= patience:
		l.begun, l.lookAt, l.refused = 0, 0, now+heldRetry
	default:
		if l.begun == 0 {
			l.begun = max(now, 1)
		}
		l.lookAt = now + lookEvery
	}
}

// surplus is how much of it another node may have that wants some: of what nobody uses, or what
// is too little for those here, all; else half of what is free, or of a rate what is
// beyond this node's use or half of what is beyond its fair part.
func (l *lease) surplus(nodes int64, now time.Duration) int64 {
	has, free := l.has(), l.free(now)
	switch {
	case !l.open || l.waiting > 0 || has <= 0:
		return 0
	case l.rate == nil && (now < l.refused || now-l.usedAt >= idleAfter/2):
		return max(0, free)
	case l.rate == nil:
		return max(0, (free+1)/2)
	case !l.busy() && (now < l.refused && has < l.largest || now-l.usedAt >= idleAfter/2):
		return has
	}
	const windows = int64(time.Minute / paceWindow)
	beyond := max(has-l.pace.recent(now)*windows*3/2, (has-l.limit/max(nodes, 1)+1)/2)
	if l.rate.newest != nil {
		beyond = min(beyond, free, has-1) // what is owed may yet turn out not to be used
	}
	return max(0, min(beyond, has))
}

// part is n·limit/former, rounded down.
func part(n, limit, former int64) int64 {
	hi, lo := bits.Mul64(uint64(n), uint64(limit))
	quotient, _ := bits.Div64(hi, lo, uint64(former)) // limit < former
	return int64(quotient)
}

// pace measures how much is used in a window of time.
type pace struct {
	began       time.Duration
	now, before int64
}

func (p *pace) add(n int64, now time.Duration) {
	p.roll(now)
	p.now += n
}

func (p *pace) recent(now time.Duration) int64 {
	p.roll(now)
	return min(max(p.now, p.before), 1<<50)
}

func (p *pace) roll(now time.Duration) {
	switch passed := now - p.began; {
	case passed >= 2*paceWindow:
		p.began, p.now, p.before = now, 0, 0
	case passed >= paceWindow:
		p.began, p.now, p.before = p.began+paceWindow, 0, p.now
	}
}
