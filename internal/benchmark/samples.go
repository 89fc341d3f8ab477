package benchmark

import (
	"slices"
	"time"
)

// Samples are measured times.
type Samples []time.Duration

// Quantile gives the q-th quantile (0 to 1) by the nearest rank; 0 when there
// are no samples.
func (s Samples) Quantile(q float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	return sorted[rank(q, len(sorted))]
}

// Median is the middle sample.
func (s Samples) Median() time.Duration { return s.Quantile(0.5) }

// rank is the place of the q-th quantile among n sorted values.
func rank(q float64, n int) int { return min(max(int(q*float64(n)+0.999999)-1, 0), n-1) }

// Figures sum up samples: the median, what it is spread over, and how many there
// are. Times are milliseconds.
type Figures struct {
	P10   float64 `json:"p10_ms"`
	P50   float64 `json:"p50_ms"`
	P90   float64 `json:"p90_ms"`
	P95   float64 `json:"p95_ms"`
	Count int     `json:"count"`
}

// Figures sums the samples up.
func (s Samples) Figures() Figures {
	return Figures{
		P10: milliseconds(s.Quantile(0.1)), P50: milliseconds(s.Median()), P90: milliseconds(s.Quantile(0.9)),
		P95: milliseconds(s.Quantile(0.95)), Count: len(s),
	}
}

// milliseconds keeps three digits: microseconds.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// Ratio is how many times as long one side took as the other: that of the medians,
// and what the ratios of the single rounds, in which both were measured one after the
// other, are spread over.
type Ratio struct {
	P10     float64 `json:"p10"`
	Medians float64 `json:"medians"`
	P90     float64 `json:"p90"`
}

// ratioOf compares b with a, sample by sample. Rounds in which a took no time have
// no ratio.
func ratioOf(a, b Samples) Ratio {
	var each []float64
	for i := range min(len(a), len(b)) {
		if a[i] > 0 {
			each = append(each, float64(b[i])/float64(a[i]))
		}
	}
	if len(each) == 0 {
		return Ratio{}
	}
	slices.Sort(each)
	return Ratio{P10: each[rank(0.1, len(each))], Medians: ratio(b.Median(), a.Median()), P90: each[rank(0.9, len(each))]}
}

func ratio(a, b time.Duration) float64 {
	if b == 0 {
		return 0
	}
	return float64(a) / float64(b)
}
