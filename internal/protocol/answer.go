package protocol

import (
	"errors"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// Answer is a whole answer of the Messages API, cut into what other protocols
// say of it. Its slices share memory with the body where they can.
type Answer struct {
	ID, Model, StopReason string

	Text     []byte // all text blocks, joined, as the inside of a JSON string
	Thinking []byte // likewise
	Tools    []ToolCall
	Blocks   jsontext.Value // the content array as it came
	// TextOnly says that there is no block but text.
	TextOnly bool
	// Refusal is why the model refused, as far as the upstream says so: a string,
	// quoted; nil where it doesn't.
	Refusal jsontext.Value
	Details UsageDetails

	block Block // that is being read
}

// UsageDetails is what an upstream may say beside the token counts.
type UsageDetails struct {
	ServiceTier string // "" where it isn't said
	// ThinkingTokens are those of the output that went into thinking; nil where
	// that isn't said.
	ThinkingTokens *int64
}

// Read reads a usage object and keeps what it says. What is of another kind than
// it should be is passed over.
func (d *UsageDetails) Read(s *Scanner) error {
	if s.Kind() != '{' {
		return s.Skip()
	}
	return s.Object(func(name []byte) error {
		switch {
		case string(name) == "service_tier" && s.Kind() == '"':
			tier, err := s.unquoted()
			d.ServiceTier = tier
			return err
		case string(name) == "output_tokens_details" && s.Kind() == '{':
			return s.Object(func(name []byte) error { return d.readOutput(s, name) })
		}
		return s.Skip()
	})
}

func (d *UsageDetails) readOutput(s *Scanner, name []byte) error {
	if string(name) != "thinking_tokens" {
		return s.Skip()
	}
	value, err := s.Value()
	if n, parseErr := strconv.ParseInt(string(value), 10, 64); parseErr == nil {
		d.ThinkingTokens = &n
	}
	return err
}

// ReadRefusal reads a stop_details object: the reason for a refusal as a quoted
// string, nil where there is none.
func ReadRefusal(s *Scanner) (reason jsontext.Value, err error) {
	if s.Kind() != '{' {
		return nil, s.Skip()
	}
	err = s.Object(func(name []byte) error {
		if string(name) != "explanation" || s.Kind() != '"' {
			return s.Skip()
		}
		value, err := s.Value()
		if len(Inner(value)) > 0 {
			reason = value
		}
		return err
	})
	return reason, err
}

// ToolCall is one call of a client's tool.
type ToolCall struct {
	ID, Name jsontext.Value // strings, quoted
	Input    jsontext.Value // "{}" where the upstream left it out
}

// errNoMessage says that a JSON object isn't a message.
var errNoMessage = errors.New("it has no content")

// ReadAnswer reads an answer from a Scanner and cuts it into its parts. each is
// called for each content block in turn; the Block lasts until it returns. It may
// be nil. An error is an apierror.Error of the upstream's.
func ReadAnswer(s *Scanner, each func(b *Block)) (*Answer, error) {
	a := &Answer{TextOnly: true}
	b := &a.block
	member := func(name []byte) error { return b.member(s, name) }
	err := s.Document(func(name []byte) (err error) {
		switch string(name) {
		case "id":
			a.ID, err = s.unquoted()
		case "model":
			a.Model, err = s.unquoted()
		case "stop_reason":
			a.StopReason, err = s.unquoted()
		case "content":
			start := s.Offset()
			err = s.Array(func(int) error {
				*b = Block{}
				if err := s.Object(member); err != nil {
					return err
				}
				a.add(b)
				if each != nil {
					each(b)
				}
				return nil
			})
			a.Blocks = s.Since(start)
		case "usage":
			err = a.Details.Read(s)
		case "stop_details":
			a.Refusal, err = ReadRefusal(s)
		default:
			err = s.Skip()
		}
		return err
	})
	if err == nil && a.Blocks == nil {
		err = errNoMessage
	}
	if err != nil {
		return nil, apierror.Wrap(apierror.UpstreamError, "the upstream's answer couldn't be read", err)
	}
	return a, nil
}

func (s *Scanner) unquoted() (string, error) {
	value, err := s.Text()
	return Unquote(value), err
}

func (a *Answer) add(b *Block) {
	switch string(b.Kind()) {
	case "text":
		a.Text = join(a.Text, b.Text)
		return
	case "thinking":
		a.Thinking = join(a.Thinking, b.Thinking)
	case "tool_use":
		a.Tools = append(a.Tools, ToolCall{ID: Quoted(b.ID), Name: Quoted(b.Name), Input: b.Arguments()})
	}
	a.TextOnly = false
}

// join copies only where there is more than one text.
func join(texts []byte, text jsontext.Value) []byte {
	inner := Inner(text)
	if len(texts) == 0 {
		return inner[:len(inner):len(inner)]
	}
	return append(texts, inner...)
}

// FinishReason gives the chat form's word for a stop reason of the Messages API.
func FinishReason(stopReason string) string {
	switch stopReason {
	case message.StopMaxTokens, "model_context_window_exceeded":
		return "length"
	case message.StopToolUse:
		return "tool_calls"
	case message.StopRefusal:
		return "content_filter"
	}
	return "stop" // end_turn, stop_sequence, and pause_turn, which no client here can resume
}
