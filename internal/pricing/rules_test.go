package pricing_test

import (
	"slices"
	"testing"

	"claude-code-api-service/internal/message"
)

// TestRules pins what the documentation says of the models that people use
// most.
func TestRules(t *testing.T) {
	c := embedded(t)
	five := []string{"low", "medium", "high", "xhigh", "max"}
	for _, test := range []struct {
		name     string
		thinking []string
		upTo     string
		efforts  []string
		// sampling, prefill, forced tools, structured outputs
		takes [4]bool
	}{
		{"opus", []string{"adaptive"}, "", five, [4]bool{false, false, false, true}},
		{"sonnet", []string{"adaptive", "between_tools"}, "", five, [4]bool{false, false, false, true}},
		{"haiku", []string{"adaptive", "disabled"}, "high", five, [4]bool{false, false, true, true}},
		{"claude-fable-5-2", []string{"adaptive"}, "", five, [4]bool{false, false, false, true}},
		{"claude-opus-5", []string{"adaptive", "disabled"}, "high", five, [4]bool{false, false, true, true}},
		{"claude-opus-4-7", []string{"adaptive", "disabled"}, "", five, [4]bool{false, false, true, true}},
		{"claude-opus-4-6", []string{"adaptive", "enabled", "disabled"}, "", []string{"low", "medium", "high", "max"}, [4]bool{true, false, true, true}},
		{"claude-haiku-4-5-20251001", []string{"enabled", "disabled"}, "", []string{}, [4]bool{true, true, true, true}},
		{"claude-3-5-haiku-latest", []string{"disabled"}, "", []string{}, [4]bool{true, true, true, false}},
		{"claude-of-tomorrow", nil, "", nil, [4]bool{true, true, true, true}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := c.Rules(test.name)
			takes := [4]bool{!r.NoSampling, !r.NoPrefill, !r.NoForcedTools, !r.NoStructuredOutputs}
			if !slices.Equal(r.Thinking, test.thinking) || r.DisabledUpTo != test.upTo ||
				!slices.Equal(r.Efforts, test.efforts) || takes != test.takes {
				t.Errorf("%+v", r)
			}
		})
	}
}

// TestRulesMakeSense looks for mistakes in the data.
func TestRulesMakeSense(t *testing.T) {
	for _, m := range embedded(t).Models() {
		r := m.Rules
		if r.Thinking == nil || r.Efforts == nil {
			t.Errorf("%s has no rules", m.ID)
		}
		if r.ThinksByDefault && !r.TakesThinking(message.ThinkingAdaptive) {
			t.Errorf("%s thinks by default in a way that it doesn't take", m.ID)
		}
		if r.DisabledUpTo != "" && (!r.TakesEffort(r.DisabledUpTo) || !r.TakesDisabled("")) {
			t.Errorf("%s can be disabled up to %q", m.ID, r.DisabledUpTo)
		}
		if r.TakesThinking(message.ThinkingAdaptive) && len(r.Efforts) == 0 {
			t.Errorf("%s thinks adaptively without an effort", m.ID)
		}
	}
}
