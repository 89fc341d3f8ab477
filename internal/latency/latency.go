// Package latency names the stages of one request and measures them.
package latency

import (
	"strconv"
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

// Clock measures the stages of one request. It belongs to the goroutine that
// serves the request; it isn't safe for concurrent use. The zero Clock isn't
// ready: use Start.
type Clock struct {
	start, last time.Time
	took        [Count]time.Duration
	known       [Count]bool
}

// Start starts a clock now.
func Start() Clock {
	now := time.Now()
	return Clock{start: now, last: now}
}

// StartTime is when the clock was started.
func (c *Clock) StartTime() time.Time { return c.start }

// Mark ends a stage: it took the time since the previous Mark (or Start). A
// stage that is marked twice adds up.
func (c *Clock) Mark(s Stage) {
	now := time.Now()
	c.took[s] += now.Sub(c.last)
	c.known[s] = true
	c.last = now
}

// Finish sets Total.
func (c *Clock) Finish() {
	c.took[Total] = time.Since(c.start)
	c.known[Total] = true
}

// Took gives a stage's duration, and whether it has been measured.
func (c *Clock) Took(s Stage) (time.Duration, bool) { return c.took[s], c.known[s] }

// AppendServerTiming appends the value of a Server-Timing header (W3C Server
// Timing; durations in milliseconds) with every stage known so far.
func (c *Clock) AppendServerTiming(dst []byte) []byte {
	first := true
	for s, known := range c.known {
		if !known {
			continue
		}
		if !first {
			dst = append(dst, ", "...)
		}
		first = false
		dst = append(dst, names[s]...)
		dst = append(dst, ";dur="...)
		dst = strconv.AppendFloat(dst, float64(c.took[s].Microseconds())/1000, 'f', 3, 64)
	}
	return dst
}
