package simulator

import (
	"bytes"
	"math"
	"unicode/utf8"

	"claude-code-api-service/internal/message"
)

// content is one block of an answer.
type content struct {
	// kind is thinking, text, tool_use, server_tool_use or web_search_tool_result.
	kind string
	text []byte // the text, a tool's input as JSON, or a search's results as JSON
	id   string // of a call, and of the call that a result belongs to
	name []byte // of a call
	// citation is the JSON of what a text cites; empty for nothing.
	citation []byte
	// signature of a thinking block.
	signature string
}

// tokens counts what the model wrote of the block.
func (c *content) tokens() int64 {
	if c.kind == "web_search_tool_result" {
		return 0
	}
	return int64(tokensOf(len(c.text)))
}

// answer is what will be sent.
type answer struct {
	id           string
	content      []content
	stopReason   string
	stopSequence []byte // nil when none
	usage        message.Usage
	searches     int // web searches
}

// prompt finds the text to answer: the last text of the last user message,
// without directives and without what the CLI puts beside it. It reads the
// directives on its way.
func (x *exchange) prompt(d *directives) ([]byte, *fault) {
	texts := x.req.lastUser.texts
	if len(x.req.lastUser.results) > 0 {
		for _, t := range x.req.prompt {
			if _, f := d.scan(nil, step(t.of(x.arena), x.req.answers)); f != nil {
				return nil, f
			}
		}
	}
	var last []byte
	for i, t := range texts {
		text := step(t.of(x.arena), 0)
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
	x.think(a, d, prompt)
	calls, f := x.calls(d)
	if f != nil {
		return nil, f
	}
	searched := false
	for _, call := range calls {
		if call.server {
			a.content = append(a.content, x.search(call)...)
			a.searches++
			searched = true
		}
	}
	if len(calls) == 0 || d.hasText || searched {
		text, f := x.answerText(d, prompt)
		if f != nil {
			return nil, f
		}
		x.text = text
		a.content = append(a.content, content{kind: "text", text: x.cut(a, text), citation: x.cite()})
	}
	for _, call := range calls {
		if call.server {
			continue
		}
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
		a.usage.OutputTokens += a.content[i].tokens()
	}
	a.usage.OutputTokens = max(1, a.usage.OutputTokens)
	return a, nil
}

// think puts a thinking block in front if the request, or a directive, asks for
// one. The real model may think or not when thinking is adaptive; this one
// always does when it is asked for, and never when nobody says anything.
func (x *exchange) think(a *answer, d *directives, prompt []byte) {
	switch x.thinking.Type {
	case message.ThinkingAdaptive, message.ThinkingEnabled:
	case "":
		if !d.think || !x.rules.ThinksByDefault {
			return
		}
	default:
		return
	}
	if x.choice.forced() {
		return // a model that takes this doesn't think about it
	}
	c := content{kind: "thinking", signature: signature(prompt)}
	hidden := x.rules.ThinkingHidden && x.thinking.Display != "summarized"
	if !hidden && x.thinking.Display != "omitted" {
		c.text = append([]byte("Thinking about: "), clip(prompt, x.s.options.EchoBytes)...)
	}
	a.content = append(a.content, c)
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
	if schema := x.outputSchema(); schema != nil {
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
		left -= c.tokens()
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
