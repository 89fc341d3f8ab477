package admission

import (
	"math"
	"math/bits"
	"time"
)

// rate holds an account to so many of something a minute, by the generic cell
// rate algorithm (GCRA): all that is kept is the moment at which the whole limit
// will be free again. Taking n moves that moment by n/limit of a minute; what
// would move it more than a minute ahead is refused. The whole minute may be used
// at once. Moments are durations since the Admitter's start.
type rate struct {
	free   time.Duration
	newest *taken // of those that run
}

// steps gives the time that one takes, at least a nanosecond, and the whole
// limit's: a minute, less what the division lost.
func steps(limit int) (each, whole time.Duration) {
	each = max(time.Minute/time.Duration(limit), 1)
	return each, each * time.Duration(limit)
}

// wait says how long n must wait: not at all when they may be taken now. More
// than the limit can only be taken when all of it is free.
func (r *rate) wait(n, limit int, now time.Duration) time.Duration {
	each, whole := steps(limit)
	return max(r.free, now) + each*time.Duration(min(n, limit)) - now - whole
}

func (r *rate) take(n, limit int, now time.Duration) {
	each, _ := steps(limit)
	r.free = max(r.free, now) + each*time.Duration(n)
}

// taken is what a running request took of a rate, until it is known how much of it
// was used.
type taken struct {
	n            int // 0: nothing was taken
	older, newer *taken
	// low is the least that was still to be waited for, when something was taken,
	// between this one and the next newer one in the list.
	low time.Duration
}

const never time.Duration = math.MaxInt64

// maxDebt is how far ahead what was used beyond what was taken moves the moment at
// most.
const maxDebt = 24 * time.Hour

// hold takes n until settle.
func (r *rate) hold(t *taken, n, limit int, now time.Duration) {
	if r.newest != nil {
		r.newest.low, r.newest.newer = min(r.newest.low, max(r.free-now, 0)), t
	}
	*t = taken{n: n, older: r.newest, low: never}
	r.newest = t
	r.take(n, limit, now)
}

// settle makes what was used of what was taken. The rest comes back as far as it
// wasn't given back by time: where all was free once since, nobody was kept from
// anything, and giving it back would let more through than the limit. Afterwards
// all is as if only that had been taken which was used. Once for each hold.
func (r *rate) settle(t *taken, used, limit int, now time.Duration) {
	each, _ := steps(limit)
	back := each * time.Duration(max(t.n-used, -int(maxDebt/each)))
	if back < 0 {
		r.free = max(r.free, now) - back
	} else {
		back = min(back, max(r.free-now, 0))
		for x := t; x != nil; x = x.newer {
			back = min(back, x.low)
		}
		r.free -= back
		for x := t; x != nil; x = x.newer {
			if x.low != never {
				x.low -= back
			}
		}
	}
	if t.newer != nil {
		t.newer.older = t.older
	} else {
		r.newest = t.older
	}
	if t.older != nil {
		t.older.newer, t.older.low = t.newer, min(t.older.low, t.low)
	}
	*t = taken{}
}

// left says how many may be taken now, and when all of them may.
func (r *rate) left(limit int, now time.Duration) (remaining int, reset time.Duration) {
	each, whole := steps(limit)
	reset = max(r.free-now, 0)
	return int(max((whole-reset)/each, 0)), reset // a lowered limit may leave less than nothing
}

// owed is how many have yet to come back, rounded up.
func (r *rate) owed(limit int, now time.Duration) int64 {
	each, _ := steps(limit)
	return int64((max(r.free-now, 0) + each - 1) / each)
}

// pay takes away so many of those that have yet to come back: somebody else waits for them.
func (r *rate) pay(limit int, owed int64, now time.Duration) {
	each, _ := steps(limit)
	r.free = max(r.free, now) - min(each*time.Duration(owed), max(r.free-now, 0))
}

// reshape makes a bucket of one limit one of another, in which as many have yet to
// come back and so many more. A limit of 0 has nothing to come back.
func (r *rate) reshape(from, to int, more int64, now time.Duration) {
	if r.newest != nil {
		r.newest.low = min(r.newest.low, max(r.free-now, 0))
	}
	var after, before time.Duration
	if to > 0 {
		after, _ = steps(to)
	}
	if from > 0 {
		before, _ = steps(from)
	}
	r.free = now + scale(max(r.free-now, 0), after, before) + after*time.Duration(max(more, 0))
	for x := r.newest; x != nil; x = x.older {
		if x.low != never {
			x.low = scale(x.low, after, before)
		}
	}
}

// scale is d·to/from; nothing where there was nothing or is nothing.
func scale(d, to, from time.Duration) time.Duration {
	if from == 0 || to == from {
		if from == 0 {
			return 0
		}
		return d
	}
	hi, lo := bits.Mul64(uint64(d), uint64(to))
	if hi >= uint64(from) {
		return math.MaxInt64 / 4
	}
	quotient, _ := bits.Div64(hi, lo, uint64(from))
	return time.Duration(min(quotient, math.MaxInt64/4))
}
