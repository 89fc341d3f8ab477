package claudecli_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/message"
)

// BenchmarkTurns runs turns without tools, bounded by a reservation, with tools that aren't called, and with
// one call and its result, by turns on one warm process, and reports the median of
// each, from Bind to the end of the answer, and of Empty, in microseconds.
func BenchmarkTurns(b *testing.B) {
	for _, version := range []string{install.Version, install.OlderVersion} {
		b.Run(version, func(b *testing.B) {
			upstream := clitest.NewUpstream(b)
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(b, version), Root: b.TempDir(), Model: testModel, Features: bothVersions[version],
				BaseURL: upstream.URL(), APIKey: "sk-simulator",
			})
			if err != nil {
				b.Fatal(err)
			}
			defer p.Close()
			if err := p.Ready(b.Context()); err != nil {
				b.Fatal(err)
			}
			times := map[string][]time.Duration{}
			took := func(name string, run func() error) {
				started := time.Now()
				if err := run(); err != nil {
					b.Fatal(err)
				}
				times[name] = append(times[name], time.Since(started))
			}
			plain := claudecli.Settings{Model: testModel}
			bounded := claudecli.Settings{Model: testModel, Bounded: true}
			tools := claudecli.Settings{Model: testModel, Tools: []message.Tool{clock(), weather()}}
			for b.Loop() {
				turn := func(name string, s claudecli.Settings, text string) (answer claudecli.Answer) {
					took(name+"_bind", func() error { return p.Bind(b.Context(), s) })
					took(name, func() (err error) {
						answer, err = p.Turn(b.Context(), prompt(text), claudecli.Handler{})
						return err
					})
					return answer
				}
				empty := func(name string) { took(name, func() error { return p.Empty(b.Context()) }) }
				turn("plain", plain, "hello")
				empty("plain_empty")
				turn("bounded", bounded, "hello")
				empty("bounded_empty")
				turn("tools", tools, "hello")
				empty("tools_empty")
				answer := turn("call", tools, "hello [[tool=Read]]")
				took("resume", func() error {
					_, err := p.Resume(b.Context(), tools, []claudecli.ToolResult{result(answer.Calls[0], "noon")}, claudecli.Handler{})
					return err
				})
				empty("call_empty")
			}
			for name, all := range times {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds()), fmt.Sprintf("%s_us", name))
			}
		})
	}
}
