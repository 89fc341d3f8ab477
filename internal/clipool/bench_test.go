package clipool_test

import (
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/clipool"
)

// number reads name=N from a scripted answer.
func number(b *testing.B, text, name string) int64 {
	b.Helper()
	m := regexp.MustCompile(name + `=(\d+)`).FindStringSubmatch(text)
	if m == nil {
		b.Fatalf("no %s in %s", name, text)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil {
		b.Fatal(err)
	}
	return n
}

func reportQuantiles(b *testing.B, samples []time.Duration) {
	b.Helper()
	slices.Sort(samples)
	b.ReportMetric(float64(samples[len(samples)/2].Nanoseconds()), "p50-ns")
	b.ReportMetric(float64(samples[len(samples)*99/100].Nanoseconds()), "p99-ns")
}

// BenchmarkResultToCaller measures the hand-over from the turn's last line to
// the caller that waits: from the moment when the scripted CLI made its answer
// to the return of Generate.
func BenchmarkResultToCaller(b *testing.B) {
	p := newPool(b, func(o *clipool.Options) { o.Workers = 1 })
	var samples []time.Duration
	for b.Loop() {
		out := &collector{}
		if _, err := p.Generate(b.Context(), newCall(b, "a", body("", "x")), out); err != nil {
			b.Fatal(err)
		}
		samples = append(samples, time.Duration(time.Now().UnixNano()-number(b, out.text.String(), "at")))
	}
	reportQuantiles(b, samples)
}

// BenchmarkFreedToNext measures the hand-over from a freed worker to the next
// request in the queue: from the moment when the scripted CLI said that it was
// empty to the next prompt's arrival there. The queue is never empty.
func BenchmarkFreedToNext(b *testing.B) {
	p := newPool(b, func(o *clipool.Options) { o.Workers = 1 })
	mustAsk(b, p, "a", "", "warm")
	const callers = 8
	var mu sync.Mutex
	var samples []time.Duration
	left := make(chan struct{}, b.N)
	for range b.N {
		left <- struct{}{}
	}
	close(left)
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for range left {
				out := &collector{}
				if _, err := p.Generate(b.Context(), newCall(b, "a", body("", "x")), out); err != nil {
					b.Error(err)
					return
				}
				mu.Lock()
				samples = append(samples, time.Duration(number(b, out.text.String(), "waited")))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(samples) > callers {
		samples = samples[callers:]
	}
	reportQuantiles(b, samples)
}
