package protocol

import (
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// Efforts are the values of OpenAI's reasoning effort, in rising order
// (openai-go v3, shared.ReasoningEffort).
func Efforts() []string {
	return []string{"none", "minimal", "low", "medium", "high", "xhigh", "max"}
}

// Thinking is how a Messages request asks its model to think.
type Thinking struct {
	Type    string // thinking.type; "" leaves the member thinking out
	Budget  int64  // thinking.budget_tokens, where Type is enabled
	Display string // thinking.display; "" leaves it out
	Effort  string // output_config.effort; "" leaves it out
	// Room is how many tokens thinking may add to an answer: what max_tokens
	// should hold beside the text. 0: the model doesn't think first.
	Room int64
	// Warning says what of the effort couldn't be honoured, "" when all could.
	Warning string
}

// On says that the request asks for thinking.
func (t Thinking) On() bool {
	return t.Type == message.ThinkingAdaptive || t.Type == message.ThinkingEnabled
}

// Think turns an effort of OpenAI's APIs into what a model with these rules
// takes. "" and none ask for no thinking, and minimal for hardly any: a model
// that thinks by itself is asked to think as little as it can. off says why the
// request can't have thinking at all, "" that it can.
func Think(effort string, rules *message.Rules, off string) Thinking {
	budget := effortBudget(effort)
	if budget == 0 || off != "" {
		t := thinkLeast(effort, rules)
		if budget > 0 {
			t.Warning = off
		}
		return t
	}
	t := Thinking{Room: budget}
	switch {
	case rules.TakesThinking(message.ThinkingAdaptive):
		t.Type, t.Effort = message.ThinkingAdaptive, nearestEffort(effort, rules)
		if t.Effort != effort {
			t.Warning = "the model doesn't know " + effort
			if t.Effort != "" {
				t.Warning += "; it was set to " + t.Effort
			}
		}
	case rules.TakesThinking(message.ThinkingEnabled):
		t.Type, t.Budget = message.ThinkingEnabled, budget
	default:
		t = Thinking{Warning: "the model doesn't think"}
	}
	return t
}

// thinkLeast asks for as little thinking as the model can do. Nothing is said to
// a model that doesn't think by itself anyway.
func thinkLeast(effort string, rules *message.Rules) Thinking {
	if !rules.ThinksByDefault {
		return Thinking{}
	}
	if least := rules.LeastThinking(); least != "" {
		return Thinking{Type: least}
	}
	t := Thinking{Room: effortBudget("low")}
	if effort != "" && rules.TakesEffort("low") {
		t.Effort = "low"
	}
	if effort == "none" {
		t.Warning = "the model always thinks; it was asked to think little"
	}
	return t
}

// effortBudget gives the thinking tokens for an effort; zero is off. The least
// that the Messages API takes is 1,024; xhigh is Claude Code's own default.
func effortBudget(effort string) int64 {
	switch effort {
	case "low":
		return 2_048
	case "medium":
		return 8_192
	case "high":
		return 24_576
	case "xhigh", "max":
		return message.DefaultThinkingTokens
	}
	return 0
}

// nearestEffort gives the highest effort that the model takes up to the one
// that is asked for, "" when it takes none.
func nearestEffort(effort string, rules *message.Rules) string {
	known := Efforts()
	for i := slices.Index(known, effort); i >= 0; i-- {
		if rules.TakesEffort(known[i]) {
			return known[i]
		}
	}
	return ""
}

// Append appends the member thinking with a comma behind it, where there is
// anything to say.
func (t Thinking) Append(dst []byte) []byte {
	if t.Type == "" {
		return dst
	}
	dst = append(append(append(dst, `"thinking":{"type":"`...), t.Type...), '"')
	if t.Budget > 0 {
		dst = strconv.AppendInt(append(dst, `,"budget_tokens":`...), t.Budget, 10)
	}
	if t.Display != "" && t.On() {
		dst = append(append(append(dst, `,"display":"`...), t.Display...), '"')
	}
	return append(dst, "},"...)
}

// AppendOutputConfig appends the member output_config with a comma behind it,
// where an effort or a format says anything.
func AppendOutputConfig(dst []byte, effort string, format jsontext.Value) []byte {
	if effort == "" && format == nil {
		return dst
	}
	dst = append(dst, `"output_config":{`...)
	if effort != "" {
		dst = append(append(append(dst, `"effort":"`...), effort...), '"')
	}
	if format != nil {
		if effort != "" {
			dst = append(dst, ',')
		}
		dst = append(append(dst, `"format":`...), format...)
	}
	return append(dst, "},"...)
}
