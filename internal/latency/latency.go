// Package latency names the stages of one request and measures them.
package latency

import (
	"strconv"
	"sync/atomic"
	"time"
)

// Stage is one step of a request's walk through the service.
type Stage uint8

// The stages, in the order of the walk.
const (
	// Auth is the look-up of the caller's key.
	Auth Stage = iota
	// Decode is reading and decoding the request body.
	Decode
	// Admit is the check of the caller's limits.
	Admit
	// Queue is the wait for a free worker; on the direct path there is none.
	Queue
	// Bind is giving a worker the request's model, system prompt and history.
	Bind
	// FirstByte is from the prompt's departure to the upstream's first event.
	FirstByte
	// Generate is from the first event to the last.
	Generate
	// Record is the ledger's commit.
	Record
	// Total is from the request's arrival to the answer's last byte.
	Total

	// Count is the number of stages.
	Count = int(Total) + 1
)

var names = [Count]string{"auth", "decode", "admit", "queue", "bind", "first_byte", "generate", "record", "total"}

// String gives the stage's name as metrics, headers and the ledger write it.
func (s Stage) String() string { return names[s] }

// Clock measures the stages of one request. The goroutine that serves the request
// marks them; others may read meanwhile (StartTime, Took, Last) what it has marked, as
// long as nobody copies the Clock. The zero Clock isn't ready: use Start.
type Clock struct {
	start time.Time
	// last is when the last stage was marked, in nanoseconds since start, shifted left
	// by lastBits, and in those bits that stage and one; 0: none was. It is one number so
	// that whoever reads it sees both of one moment.
	last int64
	// took is what each stage took, in nanoseconds and one; 0: it isn't known.
	took [Count]int64
}

const lastBits = 4

// Start starts a clock now.
func Start() Clock { return Clock{start: time.Now()} }

// StartTime is when the clock was started.
func (c *Clock) StartTime() time.Time { return c.start }

// Mark ends a stage: it took the time since the previous Mark (or Start). A
// stage that is marked twice adds up.
func (c *Clock) Mark(s Stage) {
	now := int64(time.Since(c.start))
	atomic.StoreInt64(&c.took[s], max(c.took[s], 1)+now-c.last>>lastBits)
	atomic.StoreInt64(&c.last, now<<lastBits|int64(s+1))
}

// Finish sets Total.
func (c *Clock) Finish() { atomic.StoreInt64(&c.took[Total], int64(time.Since(c.start))+1) }

// Took gives a stage's duration, and whether it has been measured.
func (c *Clock) Took(s Stage) (time.Duration, bool) {
	took := atomic.LoadInt64(&c.took[s])
	return time.Duration(max(took-1, 0)), took > 0
}

// Last gives the stage that was marked last, and how long after the clock's start that
// was; false when none was.
func (c *Clock) Last() (s Stage, after time.Duration, ok bool) {
	last := atomic.LoadInt64(&c.last)
	if last == 0 {
		return 0, 0, false
	}
	return Stage(last&(1<<lastBits-1) - 1), time.Duration(last >> lastBits), true
}

// AppendServerTiming appends the value of a Server-Timing header (W3C Server
// Timing; durations in milliseconds) with every stage known so far.
func (c *Clock) AppendServerTiming(dst []byte) []byte {
	first := true
	for s := range Stage(Count) {
		took, known := c.Took(s)
		if !known {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = append(dst, names[s]...)
		dst = append(dst, ";dur="...)
		dst = strconv.AppendFloat(dst, float64(took.Microseconds())/1000, 'f', 3, 64)
	}
	return dst
}
