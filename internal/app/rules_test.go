package app

import (
	"testing"

	"claude-code-api-service/internal/pricing"
)

func TestRules(t *testing.T) {
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	of := rules(catalogue, map[string]string{"gpt-4o": "sonnet", "old": "claude-opus-4-1", "haiku": "claude-opus-4-1"})
	for _, test := range []struct{ name, same string }{
		{"haiku", "claude-haiku-5-5"}, {"gpt-4o", "claude-sonnet-5-5"}, {"old", "claude-opus-4-1-20250805"}, {"", "auto"},
	} {
		got, want := of(test.name), catalogue.Rules(test.same)
		if test.same == "auto" {
			want = of("auto")
		}
		if got.MaxOutputTokens != want.MaxOutputTokens || len(got.Thinking) != len(want.Thinking) || got.NoForcedTools != want.NoForcedTools {
			t.Errorf("%q: %+v, want %+v", test.name, got, want)
		}
	}
}

// What the rules of auto allow, every model that it may choose must take.
func TestRulesOfAuto(t *testing.T) {
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	auto := rules(catalogue, nil)("auto")
	if len(auto.Thinking) == 0 || len(auto.Efforts) == 0 {
		t.Fatalf("auto takes anything: %+v", auto)
	}
	for _, alias := range catalogue.Aliases() {
		r := catalogue.Rules(alias)
		for _, kind := range auto.Thinking {
			if !r.TakesThinking(kind) {
				t.Errorf("%s doesn't take thinking %s", alias, kind)
			}
		}
		for _, effort := range auto.Efforts {
			if !r.TakesEffort(effort) {
				t.Errorf("%s doesn't take effort %s", alias, effort)
			}
		}
		if r.NoSampling && !auto.NoSampling || r.NoForcedTools && !auto.NoForcedTools || r.NoStructuredOutputs && !auto.NoStructuredOutputs || auto.MaxOutputTokens > r.MaxOutputTokens {
			t.Errorf("%s refuses what auto allows: %+v", alias, r)
		}
	}
}
