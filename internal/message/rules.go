package message

import "slices"

// Rules say what a model refuses of a Messages request, with a 400. The zero
// value refuses nothing: it stands for a model that isn't known.
type Rules struct {
	// Thinking are the values of thinking.type that the model takes (adaptive,
	// enabled with budget_tokens, between_tools, disabled); nil: any.
	Thinking []string `json:"thinking"`
	// ThinksByDefault says that a request without thinking thinks adaptively.
	ThinksByDefault bool `json:"thinks_by_default"`
	// DisabledUpTo is the highest effort with which thinking may be disabled; "":
	// any.
	DisabledUpTo string `json:"disabled_up_to"`
	// ThinkingHidden says that thinking blocks come without their text unless
	// thinking.display is summarized.
	ThinkingHidden bool `json:"thinking_hidden"`
	// Efforts are the values of output_config.effort that the model takes, in
	// rising order; nil: any; empty: none.
	Efforts []string `json:"efforts"`
	// NoSampling: no temperature, top_p or top_k but the defaults.
	NoSampling bool `json:"no_sampling"`
	// NoPrefill: messages must not end with one of the assistant.
	NoPrefill bool `json:"no_prefill"`
	// NoForcedTools: no tool_choice of type any or tool.
	NoForcedTools bool `json:"no_forced_tools"`
	// NoStructuredOutputs: no output_config.format.
	NoStructuredOutputs bool `json:"no_structured_outputs"`
	// MaxOutputTokens is the most that max_tokens may be; 0: not known.
	MaxOutputTokens int `json:"-"`
}

// The values of thinking.type.
const (
	ThinkingAdaptive     = "adaptive"
	ThinkingEnabled      = "enabled" // with budget_tokens
	ThinkingBetweenTools = "between_tools"
	ThinkingDisabled     = "disabled"
)

// efforts are the values of output_config.effort, in rising order.
var efforts = [...]string{"low", "medium", "high", "xhigh", "max"}

// TakesThinking says whether the model takes a value of thinking.type.
func (r *Rules) TakesThinking(kind string) bool {
	return r.Thinking == nil || slices.Contains(r.Thinking, kind)
}

// TakesEffort says whether the model takes a value of output_config.effort.
func (r *Rules) TakesEffort(effort string) bool {
	return r.Efforts == nil || slices.Contains(r.Efforts, effort)
}

// TakesDisabled says whether thinking may be disabled at an effort, "" being
// the default one.
func (r *Rules) TakesDisabled(effort string) bool {
	if !r.TakesThinking(ThinkingDisabled) {
		return false
	}
	return r.DisabledUpTo == "" || slices.Index(efforts[:], effort) <= slices.Index(efforts[:], r.DisabledUpTo)
}

// LeastThinking is the value of thinking.type with which the model thinks least:
// disabled, or between_tools. "" means that the model always thinks, and that an
// effort of low makes it think little.
func (r *Rules) LeastThinking() string {
	for _, kind := range [...]string{ThinkingDisabled, ThinkingBetweenTools} {
		if r.TakesThinking(kind) {
			return kind
		}
	}
	return ""
}
