package simulator

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/message"
)

// thinking is the member thinking.
type thinking struct {
	Type    string `json:"type"` // "" when the request has none
	Budget  *int64 `json:"budget_tokens"`
	Display string `json:"display"`
}

// check refuses what the request's model doesn't take, in the API's words as far
// as they are known. The rules themselves are pricing's data.
func (x *exchange) check() *fault {
	model := string(x.req.model.of(x.arena))
	x.rules = x.s.models.Rules(model)
	if most := x.rules.MaxOutputTokens; most > 0 && x.req.maxTokens > int64(most) {
		return invalid("max_tokens: %d > %d, which is the maximum allowed number of output tokens for %s", x.req.maxTokens, most, model)
	}
	if x.rules.NoPrefill && x.req.lastRole == 'a' {
		return invalid("This model does not support assistant message prefill. The conversation must end with a user message.")
	}
	for _, check := range [...]func() *fault{x.checkSampling, x.checkChoice, x.checkEffort, x.checkThinking, x.checkFormat, x.checkStrict} {
		if f := check(); f != nil {
			return f
		}
	}
	return nil
}

// checkSampling takes the defaults also where nothing else is taken.
func (x *exchange) checkSampling() *fault {
	if !x.rules.NoSampling {
		return nil
	}
	const defaultTopP = 0.99
	if t, ok := x.number(x.req.temperature); ok && t != 1 {
		return invalid("`temperature` is deprecated for this model.")
	}
	if p, ok := x.number(x.req.topP); ok && p < defaultTopP {
		return invalid("`top_p` is deprecated for this model.")
	}
	if !x.req.topK.empty() {
		return invalid("`top_k` is deprecated for this model.")
	}
	return nil
}

func (x *exchange) number(raw span) (float64, bool) {
	n, err := strconv.ParseFloat(string(raw.of(x.body)), 64)
	return n, err == nil
}

// effort is output_config.effort, "" when it isn't given.
func (x *exchange) effort() string {
	return strings.Trim(string(x.req.effort.of(x.body)), `"`)
}

func (x *exchange) checkEffort() *fault {
	effort := x.effort()
	switch {
	case effort == "":
		return nil
	case x.rules.Efforts != nil && len(x.rules.Efforts) == 0:
		return invalid("This model does not support the effort parameter.")
	case !slices.Contains([]string{"low", "medium", "high", "xhigh", "max"}, effort):
		return invalid("output_config.effort: Input should be 'low', 'medium', 'high', 'xhigh' or 'max'")
	case !x.rules.TakesEffort(effort):
		return invalid("output_config.effort: '%s' is not supported for this model.", effort)
	}
	return nil
}

func (x *exchange) checkThinking() *fault {
	raw := x.req.thinking.of(x.body)
	if len(raw) == 0 {
		return nil
	}
	t := &x.thinking
	if err := json.Unmarshal(raw, t); err != nil {
		return invalid("thinking: Input should be a valid thinking configuration")
	}
	known := []string{message.ThinkingAdaptive, message.ThinkingBetweenTools, message.ThinkingDisabled, message.ThinkingEnabled}
	if !slices.Contains(known, t.Type) {
		return invalid("thinking: Input tag '%s' found using 'type' does not match any of the expected tags: 'adaptive', 'between_tools', 'disabled', 'enabled'", t.Type)
	}
	if !x.rules.TakesThinking(t.Type) {
		return x.refuseThinking()
	}
	switch t.Type {
	case message.ThinkingDisabled:
		if effort := x.effort(); !x.rules.TakesDisabled(effort) {
			return invalid(`"thinking.type.disabled" is not supported with "output_config.effort" of "%s" for this model.`, effort)
		}
		return nil
	case message.ThinkingBetweenTools:
		return nil
	case message.ThinkingEnabled:
		if f := x.checkBudget(); f != nil {
			return f
		}
	}
	if x.choice.forced() && !x.rules.ThinksByDefault {
		return invalid("Thinking may not be enabled when tool_choice forces tool use.")
	}
	if temperature, ok := x.number(x.req.temperature); ok && temperature != 1 {
		return invalid("`temperature` may only be set to 1 when thinking is enabled.")
	}
	return nil
}

func (x *exchange) refuseThinking() *fault {
	if x.thinking.Type == message.ThinkingAdaptive {
		return invalid("adaptive thinking is not supported on this model")
	}
	if !x.rules.TakesThinking(message.ThinkingAdaptive) {
		return invalid(`"thinking.type.%s" is not supported for this model.`, x.thinking.Type)
	}
	least := ""
	if x.thinking.Type == message.ThinkingDisabled && x.rules.TakesThinking(message.ThinkingBetweenTools) {
		least = `"thinking.type.between_tools" for the lowest thinking setting, or `
	}
	return invalid(`"thinking.type.%s" is not supported for this model. Use %s"thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`,
		x.thinking.Type, least)
}

func (x *exchange) checkBudget() *fault {
	const least = 1024
	budget := x.thinking.Budget
	switch {
	case budget == nil:
		return invalid("thinking.enabled.budget_tokens: Field required")
	case *budget < least:
		return invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to %d", least)
	case x.req.maxTokens >= 0 && *budget >= x.req.maxTokens:
		return invalid("`max_tokens` must be greater than `thinking.budget_tokens`. " +
			"Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size")
	}
	return nil
}
