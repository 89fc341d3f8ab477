package openaiapi

import (
	"math"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// minBudget is the least budget_tokens that the Messages API takes.
const minBudget = 1_024

// rawThinking is a thinking member in the Messages API's form, which passes as
// it is.
type rawThinking struct {
	value  jsontext.Value
	kind   string
	budget int64
}

var thinkingObject = protocol.NewObject(openapi.Schema{Name: "ChatThinking", Description: "The Messages API's own member, passed on as it is. It wins over `reasoning_effort`."}, nil,
	protocol.Field[rawThinking]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Description: "`adaptive`, `enabled` with `budget_tokens`, `disabled`, `between_tools`, as far as the model takes them."}, Read: protocol.ReadString(func(t *rawThinking) *string { return &t.kind })},
	protocol.Field[rawThinking]{Name: "budget_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: minBudget}, Read: protocol.ReadCount(minBudget, func(t *rawThinking) *int64 { return &t.budget })},
)

func (c *chatRequest) readThinking(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	start := s.Offset()
	err := thinkingObject.Read(s, &c.thinking)
	if err == nil {
		c.thinking.value = s.Since(start)
	}
	return err
}

func (c *chatRequest) readEffort(s *protocol.Scanner) error {
	value, err := s.Text()
	if err != nil || value == nil {
		return err
	}
	c.effort = protocol.Unquote(value)
	for _, effort := range protocol.Efforts() {
		if c.effort == effort {
			return nil
		}
	}
	return s.Invalid("", "must be none, minimal, low, medium, high, xhigh or max")
}

// think decides how the model is asked to think, and how long the answer may
// be. raw is the caller's own member thinking, nil where there is none or it
// can't be had.
func (c *chatRequest) think(rules *message.Rules) (t protocol.Thinking, raw jsontext.Value, maxTokens int64) {
	off := ""
	switch {
	case c.choice.forces() && !rules.NoForcedTools:
		off = "is off where tool_choice forces a tool"
	case c.transcript.CallsTools() && !rules.TakesThinking(message.ThinkingAdaptive):
		// The API wants the thinking that led to the call, and the chat form has no
		// place for it.
		off = "is off in an answer to tool results"
	}
	asked := c.thinking.kind == message.ThinkingAdaptive || c.thinking.kind == message.ThinkingEnabled
	if c.thinking.value != nil && (off == "" || !asked) {
		if asked {
			t = protocol.Think(c.effort, rules, "")
		}
		room := max(c.thinking.budget, t.Room)
		if room == 0 && c.thinking.kind == message.ThinkingAdaptive {
			room = protocol.Think("high", rules, "").Room // the API's own default effort
		}
		t = protocol.Thinking{Type: c.thinking.kind, Budget: c.thinking.budget, Room: room, Effort: t.Effort}
		return t, c.thinking.value, c.limit(&t, rules, c.maxTokens == 0 && c.maxCompletion == 0)
	}
	t = protocol.Think(c.effort, rules, off)
	if rules.ThinkingHidden {
		t.Display = "summarized"
	}
	switch {
	case c.thinking.value != nil:
		c.warn("thinking", off)
	case t.Warning != "":
		c.warn("reasoning_effort", t.Warning)
	}
	maxTokens = c.limit(&t, rules, c.maxCompletion == 0)
	if t.Type == message.ThinkingEnabled && t.Budget < minBudget {
		c.warn("reasoning_effort", "there is no room for thinking in so short an answer")
		t = protocol.Think("", rules, "")
		maxTokens = c.limit(&t, rules, c.maxCompletion == 0)
	}
	return t, nil, maxTokens
}

// limit gives max_tokens, which counts the thinking. With room, what thinking
// may take is added to what the caller asks for; else the caller's limit is for
// both, and a budget must leave half of it to the answer. No sum goes beyond
// what the model can write.
func (c *chatRequest) limit(t *protocol.Thinking, rules *message.Rules, room bool) int64 {
	n, field := c.maxCompletion, "max_completion_tokens"
	if n == 0 {
		n, field = c.maxTokens, "max_tokens"
	}
	if n == 0 {
		n = defaultMaxTokens
	}
	most := int64(math.MaxInt64)
	if rules.MaxOutputTokens > 0 {
		most = int64(rules.MaxOutputTokens)
	}
	if n > most {
		c.warnOnce(field, "the model writes at most "+strconv.FormatInt(most, 10)+" tokens")
		n = most
	}
	if room {
		n += min(t.Room, most-n)
	}
	if t.Budget > 0 && c.thinking.value == nil && (!room || t.Budget >= n) {
		t.Budget = min(t.Budget, n/2)
	}
	return n
}

func (c *chatRequest) warnOnce(field, text string) {
	for _, warning := range c.warnings {
		if warning == field+": "+text {
			return
		}
	}
	c.warn(field, text)
}

// appendSampling appends what the model takes of temperature, top_p and top_k.
func (c *chatRequest) appendSampling(dst []byte, rules *message.Rules, thinking bool) []byte {
	sampling := protocol.Sampling{Temperature: c.temperature, TopP: c.topP}
	dst = sampling.Append(dst, rules, thinking, c.warn)
	switch {
	case c.topK <= 0:
	case rules.NoSampling:
		c.warn("top_k", "the model doesn't take it")
	case thinking:
		c.warn("top_k", "can't be set beside reasoning")
	default:
		dst = append(strconv.AppendInt(append(dst, `"top_k":`...), c.topK, 10), ',')
	}
	return dst
}
