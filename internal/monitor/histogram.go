package monitor

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram's buckets: unit wide at first, then eight to each power of two, so that a
// duration is known to a sixteenth; the last one takes what is longer than 20 minutes.
const (
	unitBits = 10 // of nanoseconds: about a microsecond
	fineBits = 3
	fine     = 1 << fineBits
	buckets  = 232
)

// histogram counts durations. It is safe for concurrent use; the zero one is empty.
type histogram [buckets]atomic.Uint32

func bucketOf(d time.Duration) int {
	n := uint64(max(d, 0)) >> unitBits
	if n < fine {
		return int(n)
	}
	e := bits.Len64(n) - 1 - fineBits
	return min(e<<fineBits+int(n>>e), buckets-1)
}

// startOf is where a bucket begins.
func startOf(bucket int) time.Duration {
	if bucket < fine {
		return time.Duration(bucket) << unitBits
	}
	e := bucket>>fineBits - 1
	return time.Duration(bucket-e<<fineBits) << e << unitBits
}

func (h *histogram) add(d time.Duration) { h[bucketOf(d)].Add(1) }

// sum is several histograms together, for whoever reads.
type sum struct {
	count  int64
	counts [buckets]int64
}

func (s *sum) add(h *histogram) {
	for i := range h {
		n := int64(h[i].Load())
		s.counts[i] += n
		s.count += n
	}
}

// quantile gives the duration that a share q of all is at most, interpolated within its
// bucket; 0 of none.
func (s *sum) quantile(q float64) time.Duration {
	if s.count == 0 {
		return 0
	}
	rank := q * float64(s.count)
	below := 0.0
	for i, n := range s.counts {
		if n == 0 {
			continue
		}
		if within := float64(n); below+within >= rank {
			start, end := startOf(i), startOf(i+1)
			return start + time.Duration(float64(end-start)*(rank-below)/within)
		}
		below += float64(s.counts[i])
	}
	return startOf(buckets) // rounding: it is the last one
}
