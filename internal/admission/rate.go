package admission

import "time"

// rate holds an account to so many of something a minute, by the generic cell
// rate algorithm (GCRA): all that is kept is the moment at which the whole limit
// will be free again. Taking n moves that moment by n/limit of a minute; what
// would move it more than a minute ahead is refused. The whole minute may be used
// at once. Moments are durations since the Admitter's start.
type rate struct{ free time.Duration }

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

// maxDebt is how far ahead what was used beyond the limit moves the moment at most.
const maxDebt = 24 * time.Hour

// giveBack takes back n of what was taken; a negative n takes more.
func (r *rate) giveBack(n, limit int) {
	each, _ := steps(limit)
	r.free -= each * time.Duration(max(n, -int(maxDebt/each)))
}

// left says how many may be taken now, and when all of them may.
func (r *rate) left(limit int, now time.Duration) (remaining int, reset time.Duration) {
	each, whole := steps(limit)
	reset = max(r.free-now, 0)
	return int(max((whole-reset)/each, 0)), reset // a lowered limit may leave less than nothing
}
