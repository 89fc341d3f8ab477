package simulator

import (
	"bytes"
	"math"
	"unicode/utf8"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/message"
)

// content is one block of an answer.
type content struct {
	kind string // "thinking", "text" or "tool_use"
	text []byte // the text, or a tool's input as JSON
	id   string // of a tool_use
	name []byte // of a tool_use
	// signature of a thinking block.
	signature string
}

// answer is what will be sent.
type answer struct {
	id           string
	content      []content
	stopReason   string
	stopSequence []byte // nil when none
	usage        message.Usage
}

// prompt finds the text to answer: the last text of the last user message,
// without directives and without what the CLI puts beside it. It reads the
// directives on its way.
func (x *exchange) prompt(d *directives) ([]byte, *fault) {
	texts := x.req.lastUser.texts
	var last []byte
	for i, t := range texts {
		text := t.of(x.arena)
		reminder := bytes.HasPrefix(text, []byte("<system-reminder>"))
		if bytes.Contains(text, []byte("[[")) {
			clean, f := d.scan(nil, text)
			if f != nil {
				return nil, f
			}
			text = bytes.TrimSpace(clean)
		}
		if !reminder || i == 0 {
			last = text
		}
	}
	return last, nil
}

// plan makes the answer's content.
func (x *exchange) plan(d *directives, prompt []byte) (*answer, *fault) {
	a := &answer{id: x.s.id("msg_"), stopReason: message.StopEndTurn}
	a.content = make([]content, 0, 2)
	if f := x.think(a, prompt); f != nil {
		return nil, f
	}
	calls, f := x.calls(d)
	if f != nil {
		return nil, f
	}
	if len(calls) == 0 || d.hasText {
		text, f := x.answerText(d, prompt)
		if f != nil {
			return nil, f
		}
		x.text = text
		a.content = append(a.content, content{kind: "text", text: x.cut(a, text)})
	}
	for _, call := range calls {
		a.content = append(a.content, content{
			kind: "tool_use", text: call.input, id: x.s.id("toolu_"), name: []byte(call.name),
		})
		a.stopReason, a.stopSequence = message.StopToolUse, nil
	}
	if d.stop != "" {
		a.stopReason, a.stopSequence = d.stop, nil
	}
	a.usage = x.promptUsage()
	for i := range a.content {
		a.usage.OutputTokens += int64(tokensOf(len(a.content[i].text)))
	}
	a.usage.OutputTokens = max(1, a.usage.OutputTokens)
	return a, nil
}

// think puts a thinking block in front if the request asks for one. The real
// model may think or not when thinking is adaptive; this one always does.
func (x *exchange) think(a *answer, prompt []byte) *fault {
	raw := x.req.thinking.of(x.body)
	if len(raw) == 0 || raw[0] == 'n' {
		return nil
	}
	var t struct {
		Type    string `json:"type"`
		Budget  *int64 `json:"budget_tokens"`
		Display string `json:"display"`
	}
	if err := json.Unmarshal(raw, &t); err != nil {
		return invalid("thinking: Input should be a valid thinking configuration")
	}
	switch t.Type {
	case "disabled":
		return nil
	case "adaptive":
	case "enabled":
		switch {
		case t.Budget == nil:
			return invalid("thinking.enabled.budget_tokens: Field required")
		case *t.Budget < 1024:
			return invalid("thinking.enabled.budget_tokens: Input should be greater than or equal to 1024")
		case *t.Budget >= x.req.maxTokens:
			return invalid("`max_tokens` must be greater than `thinking.budget_tokens`. " +
				"Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size")
		}
	default:
		return invalid("thinking: Input tag '%s' found using 'type' does not match any of the expected tags: 'adaptive', 'disabled', 'enabled'", t.Type)
	}
	if temperature := x.req.temperature.of(x.body); len(temperature) > 0 && string(temperature) != "1" && string(temperature) != "1.0" {
		return invalid("`temperature` may only be set to 1 when thinking is enabled.")
	}
	c := content{kind: "thinking", signature: signature(prompt)}
	if t.Display != "omitted" {
		c.text = append([]byte("Thinking about: "), clip(prompt, x.s.options.EchoBytes)...)
	}
	a.content = append(a.content, c)
	return nil
}

// answerText makes the answer's whole text, before anything cuts it.
func (x *exchange) answerText(d *directives, prompt []byte) ([]byte, *fault) {
	out, limit := x.text, x.s.options.EchoBytes
	switch {
	case d.hasText:
		return append(out, d.text...), nil
	case d.echoSystem:
		for i, t := range x.req.system {
			if i > 0 {
				out = append(out, "\n\n"...)
			}
			out = append(out, t.of(x.arena)...)
		}
		return out, nil
	case d.tokens > 0:
		return appendWords(out, hash(prompt), d.tokens), nil
	}
	if schema, f := x.outputSchema(); f != nil {
		return nil, f
	} else if schema != nil {
		return generate(out, schema)
	}
	if results := x.req.lastUser.results; len(results) > 0 {
		out = append(out, "Tool result: "...)
		for i, t := range results {
			if i > 0 {
				out = append(out, "; "...)
			}
			out = append(out, clip(t.of(x.arena), limit)...)
		}
		return out, nil
	}
	out = append(out, "Echo: "...)
	return append(out, clip(prompt, limit)...), nil
}

// cut ends the text where a stop sequence or max_tokens says so.
func (x *exchange) cut(a *answer, text []byte) []byte {
	left := x.req.maxTokens
	for _, c := range a.content {
		left -= int64(tokensOf(len(c.text)))
	}
	if left = max(1, left); left < math.MaxInt32 && len(text) > int(left)*4 {
		text = clip(text, int(left)*4)
		a.stopReason = message.StopMaxTokens
	}
	for _, stop := range x.req.stops {
		if at := bytes.Index(text, stop.of(x.arena)); at >= 0 {
			text = text[:at]
			a.stopReason, a.stopSequence = message.StopStopSequence, stop.of(x.arena)
		}
	}
	return text
}

// clip shortens text to at most limit bytes without cutting a character.
func clip(text []byte, limit int) []byte {
	if len(text) <= limit {
		return text
	}
	for limit > 0 && !utf8.RuneStart(text[limit]) {
		limit--
	}
	return text[:limit]
}

// hash is FNV-1a, for answers that differ by prompt and are the same in every
// process.
func hash(text []byte) uint64 {
	h := uint64(14695981039346656037)
	for _, c := range text {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// words are 32 words of three letters: with the space in front each is exactly
// one token.
const words = "sunseaskyashbaycoddewelmfiggemhayicejetkeylogmapnutoakpearyesaptearubvanwaxyakzipowlfoxbeeantram"

// appendWords appends n tokens of text that depend on the seed.
func appendWords(dst []byte, seed uint64, n int) []byte {
	dst = append(dst, "Echo"...)
	for i := 1; i < n; i++ {
		seed = seed*6364136223846793005 + 1442695040888963407 // Knuth's MMIX generator
		at := int(seed>>59) * 3
		dst = append(append(dst, ' '), words[at:at+3]...)
	}
	return dst
}
