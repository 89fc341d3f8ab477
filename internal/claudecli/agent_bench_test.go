package claudecli_test

import (
	"slices"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
)

// BenchmarkAgent starts an agent, parks it, and has it answer. It reports the medians
// in milliseconds: until it is ready, and of a parked one from the prompt, with the
// settings of its run, to the first token and to the end.
func BenchmarkAgent(b *testing.B) {
	for _, version := range clitest.Versions {
		b.Run(version, func(b *testing.B) {
			a := newAgentTest(b, version)
			var ready, first, whole []time.Duration
			for b.Loop() {
				a.agentic.Session = newSession(b)
				began := time.Now()
				agent, err := claudecli.StartAgent(a.options, a.agentic)
				if err != nil {
					b.Fatal(err)
				}
				if err := agent.Ready(b.Context()); err != nil {
					b.Fatal(err)
				}
				ready = append(ready, time.Since(began))
				began = time.Now()
				if err := agent.Bind(b.Context(), claudecli.AgentSettings{Model: testModel, System: "Speak plainly."}); err != nil {
					b.Fatal(err)
				}
				seen := false
				h := claudecli.AgentHandler{Event: func(e claudecli.AgentEvent) error {
					if !seen && e.Type == claudecli.AgentTextDelta {
						seen = true
						first = append(first, time.Since(began))
					}
					return nil
				}}
				if _, err := agent.Turn(b.Context(), quote(b, "hello"), h); err != nil {
					b.Fatal(err)
				}
				whole = append(whole, time.Since(began))
				agent.Close()
			}
			for name, all := range map[string][]time.Duration{"ready_ms": ready, "first_ms": first, "whole_ms": whole} {
				slices.Sort(all)
				b.ReportMetric(float64(all[len(all)/2].Microseconds())/1000, name)
			}
		})
	}
}
