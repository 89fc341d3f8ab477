package processapi

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// The contract's defaults.
const (
	defaultMaxTokens   = 1_000
	defaultTemperature = 0.7
	defaultProject     = "default" // what clients send that have none
)

// maxTemperature is OpenAI's; the Messages API takes at most 1.
const maxTemperature = 2

// processRequest is a decoded request.
type processRequest struct {
	provider, model, projectID string
	maxTokens                  int64
	temperature                *float64
	useCLI                     *bool

	messages protocol.Transcript // the array
	simple   protocol.Transcript // user_message
	loose    protocol.Transcript // content
	system   jsontext.Value      // system_message

	warnings []string
}

// decode reads a request. An error is an apierror.Error.
func decode(s *protocol.Scanner) (*processRequest, error) {
	p := &processRequest{maxTokens: defaultMaxTokens}
	p.messages.Blocks, p.simple.Blocks, p.loose.Blocks = true, true, true
	if err := s.Document(func(name []byte) error { return p.read(s, name) }); err != nil {
		return nil, err
	}
	switch {
	case p.provider == "":
		return nil, s.Invalid("provider", "field required")
	case p.model == "":
		return nil, s.Invalid("model_name", "field required")
	case p.messages.Empty() && p.simple.Empty() && p.loose.Empty():
		return nil, apierror.Invalid("messages", "No messages provided")
	}
	return p, nil
}

func (p *processRequest) read(s *protocol.Scanner, name []byte) (err error) {
	switch string(name) {
	case "provider":
		p.provider, err = readText(s)
	case "model_name":
		p.model, err = readText(s)
	case "project_id":
		p.projectID, err = readText(s)
	case "messages":
		if s.Kind() == 'n' {
			return s.Skip()
		}
		p.messages.Grow(s.Len())
		err = p.messages.Read(s)
	case "system_message":
		p.system, err = s.Text()
	case "user_message":
		err = p.simple.ReadUser(s)
	case "content":
		err = p.loose.ReadUser(s)
	case "max_tokens":
		var n int64
		if n, err = s.Count(1); n > 0 {
			p.maxTokens = n
		}
	case "temperature":
		p.temperature, err = s.Number(0, maxTemperature)
	case "use_cli":
		p.useCLI, err = s.Bool()
	case "additional_params":
		err = p.readAdditional(s)
	default:
		err = p.readOther(s, string(name))
	}
	return err
}

func readText(s *protocol.Scanner) (string, error) {
	value, err := s.Text()
	return protocol.Unquote(value), err
}

func (p *processRequest) readAdditional(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Object(func(name []byte) error {
		field := string(name)
		value, err := s.Value()
		switch {
		case err != nil || asksNothing(value):
			return err
		case field == "stream":
			return unavailable("additional_params.stream", "streaming")
		}
		p.warn("additional_params."+field, "has no effect here")
		return nil
	})
}

// readOther reads the fields that can't be honoured: what a caller would wait
// for or rely on is answered with 501, the rest is named in the warnings.
func (p *processRequest) readOther(s *protocol.Scanner, field string) error {
	value, err := s.Value()
	if err != nil || asksNothing(value) {
		return err
	}
	switch field {
	case "stream":
		return unavailable(field, "streaming")
	case "async_processing":
		return unavailable(field, "asynchronous processing")
	case "tools", "output_schema", "media_content":
		return unavailable(field, field)
	case "tool_choice":
		if choice := protocol.Unquote(value); choice != "auto" && choice != "none" {
			return unavailable(field, field)
		}
	case "response_format":
		return unavailable(field, field)
	default:
		p.warn(field, "has no effect here")
	}
	return nil
}

// asksNothing says that a value is what an absent field means.
func asksNothing(value jsontext.Value) bool {
	switch string(value) {
	case "null", "false", "0", `""`, "[]", "{}":
		return true
	}
	return false
}

func (p *processRequest) warn(field, text string) {
	p.warnings = append(p.warnings, field+": "+text)
}

// translate writes the Messages request for a model. Where a caller sends its
// words in more than one form, messages win over user_message, and that over
// content; system_message goes in front of the system messages. The default
// temperature is sent to models that are sampled.
func (p *processRequest) translate(model string, sampled bool, sizeHint int) (*message.Request, error) {
	words := &p.messages
	if words.Empty() {
		words = &p.simple
	}
	if words.Empty() {
		words = &p.loose
	}
	dst := append(make([]byte, 0, sizeHint+256), `{"model":`...)
	dst, err := jsontext.AppendQuote(dst, model)
	if err != nil {
		return nil, apierror.Invalid("model_name", "model_name: isn't valid text")
	}
	dst = strconv.AppendInt(append(dst, `,"max_tokens":`...), p.maxTokens, 10)
	temperature := defaultTemperature
	if p.temperature != nil {
		temperature = *p.temperature
	}
	if temperature > 1 {
		p.warn("temperature", "is at most 1 here, and was set to 1")
		temperature = 1
	}
	if p.temperature != nil || sampled {
		dst = strconv.AppendFloat(append(dst, `,"temperature":`...), temperature, 'g', -1, 64)
	}
	if words != &p.messages {
		words.PrependSystem(p.messages.System())
	}
	words.PrependSystem(p.system)
	return message.ParseRequest(append(words.Append(append(dst, ',')), '}'))
}
