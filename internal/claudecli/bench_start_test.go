package claudecli_test

import (
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/confine"
)

// BenchmarkStart starts the real CLI until it is ready, confined and not, by turns,
// and reports the medians in milliseconds.
func BenchmarkStart(b *testing.B) {
	upstream := clitest.NewUpstream(b)
	off, err := confine.New(confine.Off)
	if err != nil {
		b.Fatal(err)
	}
	for _, version := range clitest.Versions {
		b.Run(version, func(b *testing.B) {
			start := func(c confine.Confinement) time.Duration {
				started := time.Now()
				p, err := claudecli.Start(claudecli.Options{
					Path: clitest.Path(b, version), Root: b.TempDir(), Model: testModel, Features: bothVersions[version],
					BaseURL: upstream.URL(), APIKey: "sk-simulator", Confinement: c,
				})
				if err != nil {
					b.Fatal(err)
				}
				defer p.Close()
				if err := p.Ready(b.Context()); err != nil {
					b.Fatal(err)
				}
				return time.Since(started)
			}
			var free, confined []time.Duration
			for b.Loop() {
				free = append(free, start(off))
				confined = append(confined, start(confine.Confinement{}))
			}
			for name, all := range map[string][]time.Duration{"free_ms": free, "confined_ms": confined} {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name)
			}
		})
	}
}
