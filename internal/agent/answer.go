package agent

import (
	"context"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// answer makes one answer of the Messages API of what a run says.
type answer struct {
	call   *gateway.Call
	out    gateway.EventWriter
	id     string
	model  string
	thinks bool // the caller asked for thinking

	began  bool   // the stream has
	blocks int    // how many are finished
	open   bool   // a text block is, in a stream
	sent   string // the open block's text so far, without what stands in front
	whole  []jsontext.Value
}

var _ Handler = (*answer)(nil)

// between stands between two texts of an answer: there was work in between.
const between = "\n\n"

// Event implements Handler.
func (a *answer) Event(e Event) error {
	if e.Parent != "" {
		return nil // a sub-agent's: the run says what comes of it
	}
	switch e.Type {
	case EventStarted:
		if a.model == "" {
			a.call.Clock.Mark(latency.Queue)
			a.call.Clock.Mark(latency.Bind)
			a.model = e.Model
		}
	case EventToken:
		if !a.call.Request.Stream {
			return nil
		}
		a.sent += e.Text
		return a.delta(e.Text)
	case EventText:
		return a.text(e.Text)
	case EventThinking:
		return a.thinking(e.Text)
	}
	return nil
}

// Permit implements Handler. Nobody is there to ask.
func (a *answer) Permit(context.Context, PermitRequest) (Decision, error) { return Decision{}, nil }

// text ends a block whose text is known as a whole.
func (a *answer) text(text string) error {
	if !a.call.Request.Stream {
		if a.blocks > 0 {
			text = between + text
		}
		a.add("text", text)
		return nil
	}
	rest, _ := strings.CutPrefix(text, a.sent)
	if err := a.delta(rest); err != nil {
		return err
	}
	return a.close()
}

func (a *answer) thinking(text string) error {
	if !a.thinks || text == "" {
		return nil
	}
	if !a.call.Request.Stream {
		a.add("thinking", text)
		return nil
	}
	if err := a.start("thinking"); err != nil {
		return err
	}
	if err := a.event(message.EventContentBlockDelta, deltaEvent{message.EventContentBlockDelta, a.blocks, delta{Type: "thinking_delta", Thinking: text}}); err != nil {
		return err
	}
	return a.close()
}

// add keeps a block of an answer in one piece.
func (a *answer) add(kind, text string) {
	b, _ := json.Marshal(bodyOf(kind, text)) // texts alone
	a.whole = append(a.whole, b)
	a.blocks++
}

// bodyOf is a content block.
func bodyOf(kind, text string) map[string]string {
	b := map[string]string{"type": kind, kind: text}
	if kind == "thinking" {
		b["signature"] = ""
	}
	return b
}

type delta struct {
	Type     string `json:"type"`
	Text     string `json:"text,omitzero"`
	Thinking string `json:"thinking,omitzero"`
}

type deltaEvent struct {
	Type  string `json:"type"`
	Index int    `json:"index"`
	Delta delta  `json:"delta"`
}

// delta adds to the open text, and opens one.
func (a *answer) delta(text string) error {
	if text == "" {
		return nil
	}
	if !a.open {
		if err := a.start("text"); err != nil {
			return err
		}
		if a.blocks > 0 {
			text = between + text
		}
	}
	return a.event(message.EventContentBlockDelta, deltaEvent{message.EventContentBlockDelta, a.blocks, delta{Type: "text_delta", Text: text}})
}

// start begins a block and, with the first one, the stream.
func (a *answer) start(kind string) error {
	if err := a.begin(); err != nil {
		return err
	}
	a.open = true
	return a.event(message.EventContentBlockStart, struct {
		Type  string            `json:"type"`
		Index int               `json:"index"`
		Block map[string]string `json:"content_block"`
	}{message.EventContentBlockStart, a.blocks, bodyOf(kind, "")})
}

func (a *answer) close() error {
	a.sent = ""
	if !a.open {
		return nil
	}
	a.open = false
	a.blocks++
	return a.event(message.EventContentBlockStop, struct {
		Type  string `json:"type"`
		Index int    `json:"index"`
	}{message.EventContentBlockStop, a.blocks - 1})
}

// whole is an answer in one piece, or as it begins.
type whole struct {
	ID           string           `json:"id"`
	Type         string           `json:"type"`
	Role         string           `json:"role"`
	Model        string           `json:"model"`
	Content      []jsontext.Value `json:"content"`
	StopReason   *string          `json:"stop_reason"`
	StopSequence *string          `json:"stop_sequence"`
	Usage        message.Usage    `json:"usage"`
}

func (a *answer) begin() error {
	if a.began {
		return nil
	}
	a.began = true
	a.call.Clock.Mark(latency.FirstByte)
	return a.event(message.EventMessageStart, struct {
		Type    string `json:"type"`
		Message whole  `json:"message"`
	}{message.EventMessageStart, whole{ID: a.id, Type: "message", Role: message.RoleAssistant, Model: a.model}})
}

// event writes one.
func (a *answer) event(kind string, data any) error {
	encoded, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode an event: %w", err)
	}
	if err := a.out.Event(message.Event{Type: kind, Data: encoded}); err != nil {
		return err
	}
	return a.out.Flush()
}

// end writes what is left of the answer of a run that has ended so.
func (a *answer) end(result *gateway.Result, end End) error {
	if end == EndMaxCost {
		if a.blocks == 0 && !a.open {
			return apierror.New(apierror.BudgetExceeded, "the most that the key's profile allows this to cost was reached before there was an answer")
		}
		a.call.Tell("the answer ends where the most was reached that the key's profile allows it to cost")
		result.StopReason = message.StopMaxTokens
	}
	if !a.call.Request.Stream {
		if a.whole == nil {
			a.add("text", "")
		}
		body, err := json.Marshal(whole{
			ID: a.id, Type: "message", Role: message.RoleAssistant, Model: result.Model, Content: a.whole, StopReason: &result.StopReason, Usage: result.Usage,
		})
		if err != nil {
			return fmt.Errorf("encode the answer: %w", err)
		}
		a.call.Clock.Mark(latency.FirstByte)
		return a.out.Message(body)
	}
	if err := a.begin(); err != nil {
		return err
	}
	if err := a.close(); err != nil {
		return err
	}
	if err := a.event(message.EventMessageDelta, struct {
		Type  string `json:"type"`
		Delta struct {
			StopReason   string  `json:"stop_reason"`
			StopSequence *string `json:"stop_sequence"`
		} `json:"delta"`
		Usage message.Usage `json:"usage"`
	}{Type: message.EventMessageDelta, Usage: result.Usage, Delta: struct {
		StopReason   string  `json:"stop_reason"`
		StopSequence *string `json:"stop_sequence"`
	}{StopReason: result.StopReason}}); err != nil {
		return err
	}
	return a.event(message.EventMessageStop, struct {
		Type string `json:"type"`
	}{message.EventMessageStop})
}
