package otlp

import (
	"bytes"
	"context"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"go.opentelemetry.io/otel/attribute"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// The attributes of what was said, which the conventions let only an operator switch on.
const (
	attrInput  = attribute.Key("gen_ai.input.messages")
	attrSystem = attribute.Key("gen_ai.system_instructions")
	attrOutput = attribute.Key("gen_ai.output.messages")
)

// most is how much text each of those attributes holds, in bytes.
const most = 16 << 10

// content is what was said in a call, in the conventions' form.
type content struct{ system, input, output string }

func (c *content) attributes() (all []attribute.KeyValue) {
	if c == nil {
		return nil
	}
	for _, a := range [...]attribute.KeyValue{attrSystem.String(c.system), attrInput.String(c.input), attrOutput.String(c.output)} {
		if a.Value.AsString() != "" {
			all = append(all, a)
		}
	}
	return all
}

// Content gives a backend that keeps what is said for the spans, where
// OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT is true; else the backend itself.
func (e *Exporter) Content(backend gateway.Backend) gateway.Backend {
	if !e.Tracing() || !e.settings.content {
		return backend
	}
	return &listening{backend}
}

// listening is a backend that is listened to.
type listening struct{ gateway.Backend }

// Generate implements gateway.Backend.
func (l *listening) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	s := call.Trace
	if s == nil || !s.Sampled || s.Passed || call.CountOnly {
		return l.Backend.Generate(ctx, call, out)
	}
	heard := &hearing{EventWriter: out}
	result, err := l.Backend.Generate(ctx, call, heard)
	said := &content{output: heard.messages(result.StopReason)}
	said.system, said.input = asked(call.Request)
	s.Note(said)
	return result, err
}

// turn and part are a message and a part of it as the conventions write them.
type turn struct {
	Role   string `json:"role"`
	Parts  []part `json:"parts"`
	Finish string `json:"finish_reason,omitzero"`
}

type part struct {
	Type      string         `json:"type"`
	Content   string         `json:"content,omitzero"`
	ID        string         `json:"id,omitzero"`
	Name      string         `json:"name,omitzero"`
	Arguments jsontext.Value `json:"arguments,omitzero"`
	Response  string         `json:"response,omitzero"`

	written string // of Arguments, while they come
}

// room is how much text may still be written.
type room int

func (r *room) cut(text string) string {
	const dots = "…"
	if len(text) <= int(*r) {
		*r -= room(len(text))
		return text
	}
	text = string(bytes.ToValidUTF8([]byte(text[:*r]), nil)) + dots
	*r = 0
	return text
}

// block is a content block of the Messages API, as far as spans tell of it.
type block struct {
	Type      string         `json:"type"`
	Text      string         `json:"text"`
	Thinking  string         `json:"thinking"`
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Input     jsontext.Value `json:"input"`
	ToolUseID string         `json:"tool_use_id"`
	Content   jsontext.Value `json:"content"`
}

// partsOf reads content: a text, or blocks.
func partsOf(value jsontext.Value, left *room) []part {
	if value.Kind() == '"' {
		var text string
		if json.Unmarshal(value, &text) != nil {
			return nil
		}
		return []part{{Type: "text", Content: left.cut(text)}}
	}
	var blocks []block
	if json.Unmarshal(value, &blocks) != nil {
		return nil
	}
	var parts []part
	for i := range blocks {
		if *left <= 0 {
			break
		}
		parts = append(parts, partOf(&blocks[i], left))
	}
	return parts
}

func partOf(b *block, left *room) part {
	switch b.Type {
	case "text":
		return part{Type: "text", Content: left.cut(b.Text)}
	case "thinking":
		return part{Type: "reasoning", Content: left.cut(b.Thinking)}
	case "tool_use":
		p := part{Type: "tool_call", ID: b.ID, Name: b.Name}
		if len(b.Input) <= int(*left) {
			p.Arguments = b.Input
			*left -= room(len(b.Input))
		}
		return p
	case "tool_result":
		return part{Type: "tool_call_response", ID: b.ToolUseID, Response: left.cut(string(b.Content))}
	}
	return part{Type: b.Type} // of an image, say, only that there is one
}

// asked gives what a request says. What is left out when there is no room is the oldest.
func asked(request *message.Request) (system, input string) {
	var body struct {
		System   jsontext.Value `json:"system"`
		Messages []struct {
			Role    string         `json:"role"`
			Content jsontext.Value `json:"content"`
		} `json:"messages"`
	}
	if json.Unmarshal(request.Body(), &body) != nil {
		return "", ""
	}
	left := room(most)
	if len(body.System) > 0 {
		system = write(partsOf(body.System, &left))
	}
	left = most
	turns := make([]turn, 0, len(body.Messages))
	for i := len(body.Messages) - 1; i >= 0 && left > 0; i-- {
		turns = append(turns, turn{Role: body.Messages[i].Role, Parts: partsOf(body.Messages[i].Content, &left)})
	}
	for i, j := 0, len(turns)-1; i < j; i, j = i+1, j-1 {
		turns[i], turns[j] = turns[j], turns[i]
	}
	return system, write(turns)
}

func write(value any) string {
	text, err := json.Marshal(value, jsontext.AllowInvalidUTF8(true))
	if err != nil {
		return ""
	}
	return string(text)
}

// hearing is an EventWriter that keeps what it passes on, as far as there is room.
type hearing struct {
	gateway.EventWriter
	parts []part
	left  room
	heard bool
}

// Event implements gateway.EventWriter.
func (h *hearing) Event(e message.Event) error {
	h.begin()
	switch e.Type {
	case message.EventContentBlockStart:
		var start struct {
			Block block `json:"content_block"`
		}
		if json.Unmarshal(e.Data, &start) == nil && h.left > 0 {
			h.parts = append(h.parts, partOf(&start.Block, &h.left))
		}
	case message.EventContentBlockDelta:
		var delta struct {
			Delta struct {
				Text     string `json:"text"`
				Thinking string `json:"thinking"`
				JSON     string `json:"partial_json"`
			} `json:"delta"`
		}
		if n := len(h.parts); n > 0 && h.left > 0 && json.Unmarshal(e.Data, &delta) == nil {
			h.parts[n-1].Content += h.left.cut(delta.Delta.Text + delta.Delta.Thinking)
			h.parts[n-1].written += h.left.cut(delta.Delta.JSON)
		}
	}
	return h.EventWriter.Event(e)
}

// Message implements gateway.EventWriter.
func (h *hearing) Message(body []byte) error {
	h.begin()
	var answer struct {
		Content jsontext.Value `json:"content"`
	}
	if json.Unmarshal(body, &answer) == nil && len(answer.Content) > 0 {
		h.parts = partsOf(answer.Content, &h.left)
	}
	return h.EventWriter.Message(body)
}

func (h *hearing) begin() {
	if !h.heard {
		h.heard, h.left = true, most
	}
}

// messages gives what was heard.
func (h *hearing) messages(stopReason string) string {
	if len(h.parts) == 0 {
		return ""
	}
	for i := range h.parts {
		if whole := jsontext.Value(h.parts[i].written); whole.IsValid() {
			h.parts[i].Arguments = whole
		}
	}
	return write([]turn{{Role: "assistant", Parts: h.parts, Finish: stopReason}})
}
