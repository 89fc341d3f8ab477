package meter_test

import (
	"context"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/meter"
)

// BenchmarkCall measures what the meter adds to one streamed call, with the size of the
// CLI's own: the same call to the upstream and through the meter, in turns.
func BenchmarkCall(b *testing.B) {
	for name, size := range map[string]int{"2KB": 2_000, "100KB": 100_000} {
		b.Run(name, func(b *testing.B) {
			s := start(b, false)
			a := s.open(b, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: 1 << 50})
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			body := strings.Replace(prompt("true", "claude-haiku-5-5", "hello [[tokens=20]]"), `{`, `{"system":"`+strings.Repeat("word ", size/5)+`",`, 1)
			var took [2][]time.Duration
			for b.Loop() {
				for i, url := range [...]string{s.upstream.URL(), a.BaseURL()} {
					began := time.Now()
					if err := post(b.Context(), client, url, a.Token(), body); err != nil {
						b.Fatal(err)
					}
					took[i] = append(took[i], time.Since(began))
				}
			}
			for i := range took {
				slices.Sort(took[i])
			}
			p := func(i int, q float64) float64 {
				return float64(took[i][int(q*float64(len(took[i])-1))].Nanoseconds()) / 1e3
			}
			b.ReportMetric(p(0, 0.5), "direct-p50-µs")
			b.ReportMetric(p(1, 0.5)-p(0, 0.5), "added-p50-µs")
			b.ReportMetric(p(1, 0.95)-p(0, 0.95), "added-p95-µs")
		})
	}
}

func post(ctx context.Context, client *http.Client, url, token, body string) error {
	r, err := http.NewRequestWithContext(ctx, "POST", url+"/v1/messages", strings.NewReader(body))
	if err != nil {
		return err
	}
	r.Header.Set("X-Api-Key", token)
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	_, err = io.Copy(io.Discard, response.Body)
	return err
}

// BenchmarkOpen measures what an account costs a run that begins.
func BenchmarkOpen(b *testing.B) {
	s := start(b, false)
	r := meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: 1}
	for b.Loop() {
		s.open(b, r).Close()
	}
}
