package gateway_test

import (
	"math"
	"testing"

	"claude-code-api-service/internal/message"
)

// TestAnswersAreBounded: what an upstream says that it has used is added up, so it
// must neither take anything back nor overflow.
func TestAnswersAreBounded(t *testing.T) {
	const most = 1_000_000_000
	for name, test := range map[string]struct{ told, want, cost, wantCost int64 }{
		"sensible": {told: 7, want: 7, cost: 70, wantCost: 70},
		"negative": {told: -7, want: 0, cost: -70, wantCost: 0},
		"absurd":   {told: math.MaxInt64, want: most, cost: math.MaxInt64, wantCost: 1_000_000_000_000},
		"lowest":   {told: math.MinInt64, want: 0, cost: math.MinInt64, wantCost: 0},
	} {
		t.Run(name, func(t *testing.T) {
			usage := func(n int64) message.Usage {
				return message.Usage{
					InputTokens: n, OutputTokens: n, CacheReadInputTokens: n, CacheCreationInputTokens: n,
					CacheCreation: message.CacheCreation{Ephemeral5mInputTokens: n, Ephemeral1hInputTokens: n},
					ServerToolUse: message.ServerToolUse{WebSearchRequests: n, WebFetchRequests: n},
				}
			}
			r := &rooms{}
			r.result.Usage, r.result.CostMicroUSD = usage(test.told), &test.cost
			if _, err := serve(t, t.Context(), r); err != nil {
				t.Fatal(err)
			}
			for place, got := range map[string]message.Usage{"recorded": r.rows[0].Result.Usage, "released": r.released[0].Usage, "observed": r.heard[0].Result.Usage} {
				if got != usage(test.want) {
					t.Errorf("%s: %+v", place, got)
				}
			}
			if cost := *r.rows[0].Result.CostMicroUSD; cost != test.wantCost || *r.released[0].CostMicroUSD != cost {
				t.Errorf("cost %d, want %d", cost, test.wantCost)
			}
		})
	}
}
