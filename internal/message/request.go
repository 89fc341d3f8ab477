// Package message is the canonical form of a generation inside the service:
// the Anthropic Messages API's own shape, with its bytes kept, so that what is
// only forwarded is never decoded (platform.claude.com/docs, "Messages").
package message

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
)

// Request is one generation: the body of a Messages request and the few fields
// of it that the service itself reads. It is immutable after ParseRequest and
// safe for concurrent use; the body belongs to it.
type Request struct {
	Model     string // as asked; "" when the body names none
	Stream    bool
	MaxTokens int64 // 0 when absent
	UseCLI    *bool // our own member use_cli; never sent upstream
	// HasTools says that the body holds a tools member that isn't empty.
	HasTools bool

	body   []byte
	model  span // of the value; empty when absent
	useCLI span // of the whole member with one comma
	// messages, system and the like, decoded only where a backend needs them.
	messages, system, thinking      span
	tools, toolChoice, outputConfig span
	maxTokens, speed                span
	others                          []string
}

// span is a part of a body: from start up to but not including end.
type span struct{ start, end int }

func (s span) of(body []byte) []byte { return body[s.start:s.end] }
func (s span) empty() bool           { return s.start == s.end }

// ParseRequest reads what the service needs from the body of a Messages
// request in one pass and checks that the rest is valid JSON without duplicate
// names. It keeps body and never changes it. An error is an apierror.Error that
// names the field.
func ParseRequest(body []byte) (*Request, error) {
	r := &Request{body: body}
	reader, _ := readers.Get().(*reader)
	defer reader.release()
	dec := reader.over(body)
	if tok, err := dec.ReadToken(); err != nil {
		return nil, InvalidJSON(err)
	} else if tok.Kind() != '{' {
		return nil, apierror.Invalid("", "the request body must be a JSON object")
	}
	previous := int(dec.InputOffset()) // end of the former value, or of "{"
	first := true
	afterUseCLI := false
	for dec.PeekKind() != '}' {
		quoted, err := dec.ReadValue()
		if err != nil {
			return nil, InvalidJSON(err)
		}
		at := int(dec.InputOffset())
		name := memberName(body[at-len(quoted) : at])
		value, err := dec.ReadValue()
		if err != nil {
			return nil, InvalidJSON(err)
		}
		end := int(dec.InputOffset())
		if afterUseCLI {
			// use_cli was the first member: the comma behind it goes with it.
			r.useCLI.end = previousComma(body, r.useCLI.end) + 1
			afterUseCLI = false
		}
		if err := r.take(name, value, span{end - len(value), end}); err != nil {
			return nil, err
		}
		if string(name) == "use_cli" {
			r.useCLI = span{previous, end}
			afterUseCLI = first
		}
		previous, first = end, false
	}
	if _, err := dec.ReadToken(); err != nil {
		return nil, InvalidJSON(err)
	}
	if _, err := dec.ReadToken(); !errors.Is(err, io.EOF) {
		return nil, apierror.Invalid("", "the request body has data after the JSON object")
	}
	if r.messages.empty() {
		return nil, apierror.Invalid("messages", "messages: field required")
	}
	return r, nil
}

// reader is a JSON decoder that is used again: making one costs 20 allocations.
type reader struct {
	buffer  bytes.Buffer
	decoder *jsontext.Decoder
}

var readers = sync.Pool{New: func() any { return &reader{decoder: jsontext.NewDecoder(new(bytes.Buffer))} }}

func (r *reader) over(body []byte) *jsontext.Decoder {
	r.buffer = *bytes.NewBuffer(body)
	// The decoder reads a Buffer's bytes in place.
	r.decoder.Reset(&r.buffer)
	return r.decoder
}

// release lets go of the body.
func (r *reader) release() {
	r.over(nil)
	readers.Put(r)
}

// previousComma finds the comma that follows a value which ends at end.
func previousComma(body []byte, end int) int {
	return end + bytes.IndexByte(body[end:], ',')
}

// memberName gives a member's name of a string that was read as valid. It copies
// only what is escaped.
func memberName(quoted []byte) []byte {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted[1 : len(quoted)-1]
	}
	name, _ := jsontext.AppendUnquote(nil, quoted)
	return name
}

func (r *Request) take(name []byte, value jsontext.Value, at span) error {
	kind := value.Kind()
	switch string(name) {
	case "model":
		if kind != '"' {
			return apierror.Invalid("model", "model: must be a string")
		}
		model, err := jsontext.AppendUnquote(nil, value)
		if err != nil {
			return InvalidJSON(err)
		}
		r.Model, r.model = string(model), at
	case "stream":
		switch kind {
		case 't', 'f':
			r.Stream = kind == 't'
		case 'n':
		default:
			return apierror.Invalid("stream", "stream: must be a boolean")
		}
	case "max_tokens":
		n, err := strconv.ParseInt(string(value), 10, 64)
		if err != nil || n < 1 {
			return apierror.Invalid("max_tokens", "max_tokens: must be a whole number of at least 1")
		}
		r.MaxTokens, r.maxTokens = n, at
	case "use_cli":
		switch kind {
		case 't', 'f':
			use := kind == 't'
			r.UseCLI = &use
		case 'n':
		default:
			return apierror.Invalid("use_cli", "use_cli: must be a boolean")
		}
	case "messages":
		if kind != '[' {
			return apierror.Invalid("messages", "messages: must be an array")
		}
		r.messages = at
	case "system":
		r.system = at
	case "thinking":
		r.thinking = at
	case "tools":
		if kind != '[' && kind != 'n' {
			return apierror.Invalid("tools", "tools: must be an array")
		}
		r.HasTools = kind == '[' && len(bytes.TrimSpace(value[1:len(value)-1])) > 0
		r.tools = at
	case "tool_choice":
		if kind != '{' && kind != 'n' {
			return apierror.Invalid("tool_choice", "tool_choice: must be an object")
		}
		r.toolChoice = at
	case "output_config":
		r.outputConfig = at
	default:
		if string(name) == "speed" {
			r.speed = at
		}
		if kind != 'n' {
			r.others = append(r.others, string(name))
		}
	}
	return nil
}

// Others names the members of the request that the service itself doesn't read:
// what the Claude Code CLI has no way to set (temperature, top_p, stop_sequences
// and so on).
func (r *Request) Others() []string { return r.others }

// HasFormat says that output_config asks for an answer of a certain form. It
// decodes nothing else.
func (r *Request) HasFormat() bool {
	if r.outputConfig.empty() {
		return false
	}
	var config struct {
		Format jsontext.Value `json:"format"`
	}
	err := json.Unmarshal(r.outputConfig.of(r.body), &config)
	return err == nil && config.Format != nil && config.Format.Kind() != 'n'
}

// Body gives the request's bytes as they came. The caller must not change them.
func (r *Request) Body() []byte { return r.body }

func quote(s string) string {
	b, err := jsontext.AppendQuote(nil, s)
	if err != nil {
		return `""` // s has been decoded from JSON or comes from our own data
	}
	return string(b)
}

// InvalidJSON makes the error for a body that isn't valid JSON. It says where,
// and never quotes the body.
func InvalidJSON(err error) error {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) {
		text := fmt.Sprintf("the request body isn't valid JSON at byte %d", syntactic.ByteOffset)
		param := ""
		if errors.Is(err, jsontext.ErrDuplicateName) {
			param = syntactic.JSONPointer.LastToken()
			text = fmt.Sprintf("%s: the name appears twice in one object", param)
		}
		return &apierror.Error{Category: apierror.BadRequest, Param: param, Message: text, Cause: err}
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) && semantic.JSONPointer != "" {
		param := fieldName(semantic.JSONPointer)
		return &apierror.Error{Category: apierror.BadRequest, Param: param, Message: param + ": wrong type", Cause: err}
	}
	return &apierror.Error{Category: apierror.BadRequest, Message: "the request body isn't valid JSON", Cause: err}
}

// fieldName writes a JSON pointer as the APIs write field names:
// messages.0.content.
func fieldName(p jsontext.Pointer) string {
	var b []byte
	for tok := range p.Tokens() {
		if len(b) > 0 {
			b = append(b, '.')
		}
		b = append(b, tok...)
	}
	return string(b)
}
