package message_test

import (
	"testing"

	"claude-code-api-service/internal/message"
)

func TestRules(t *testing.T) {
	always := message.Rules{Thinking: []string{"adaptive"}}
	bounded := message.Rules{Thinking: []string{"adaptive", "disabled"}, DisabledUpTo: "high"}
	between := message.Rules{Thinking: []string{"adaptive", "between_tools"}}
	old := message.Rules{Thinking: []string{"enabled", "disabled"}, Efforts: []string{}}
	unknown := message.Rules{}
	for _, test := range []struct {
		name      string
		got, want any
	}{
		{"adaptive only", always.TakesThinking("enabled"), false},
		{"adaptive", always.TakesThinking("adaptive"), true},
		{"always on can't be disabled", always.TakesDisabled("low"), false},
		{"always on has no least", always.LeastThinking(), ""},
		{"disabled at the default effort", bounded.TakesDisabled(""), true},
		{"disabled at high", bounded.TakesDisabled("high"), true},
		{"not disabled at xhigh", bounded.TakesDisabled("xhigh"), false},
		{"the least is off", bounded.LeastThinking(), "disabled"},
		{"the least is between tools", between.LeastThinking(), "between_tools"},
		{"disabled at any effort", old.TakesDisabled("max"), true},
		{"no effort at all", old.TakesEffort("low"), false},
		{"unknown takes any thinking", unknown.TakesThinking("enabled"), true},
		{"unknown takes any effort", unknown.TakesEffort("max"), true},
		{"unknown can be disabled", unknown.TakesDisabled("max"), true},
	} {
		if test.got != test.want {
			t.Errorf("%s: %v, want %v", test.name, test.got, test.want)
		}
	}
}
