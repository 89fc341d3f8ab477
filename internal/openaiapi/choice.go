package openaiapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// The modes of a tool_choice.
const (
	modeNone     = "none"
	modeAuto     = "auto"
	modeRequired = "required"
	modeFunction = "function"
	modeAllowed  = "allowed_tools" // only while it is read
)

// toolChoice is a decoded tool_choice.
type toolChoice struct {
	mode    string           // "" when absent
	name    jsontext.Value   // the function's name where mode is function
	allowed []jsontext.Value // the names of an allowed_tools; nil: all
	limits  string           // the mode of an allowed_tools
}

var (
	choiceFunctionObject = protocol.NewObject(openapi.Schema{}, nil,
		protocol.Field[jsontext.Value]{Name: "name", Required: true, Schema: openapi.Text(""), Read: protocol.ReadText(func(name *jsontext.Value) *jsontext.Value { return name })})

	allowedToolObject = protocol.NewObject(openapi.Schema{}, nil,
		protocol.Field[jsontext.Value]{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{modeFunction}}, Read: func(_ *jsontext.Value, s *protocol.Scanner) error {
			kind, err := s.Text()
			if err == nil && string(protocol.Inner(kind)) != modeFunction {
				err = s.Invalid("", "must be function")
			}
			return err
		}},
		protocol.Field[jsontext.Value]{Name: "function", Required: true, Schema: choiceFunctionObject.Schema(), Read: func(name *jsontext.Value, s *protocol.Scanner) error {
			return choiceFunctionObject.Read(s, name)
		}},
	)

	allowedToolsObject = protocol.NewObject(openapi.Schema{}, nil,
		protocol.Field[toolChoice]{Name: "mode", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{modeAuto, modeRequired}}, Read: func(t *toolChoice, s *protocol.Scanner) error {
			mode, err := s.Text()
			t.limits = string(protocol.Inner(mode))
			if err == nil && t.limits != modeAuto && t.limits != modeRequired {
				err = s.Invalid("", "must be auto or required")
			}
			return err
		}},
		protocol.Field[toolChoice]{Name: "tools", Required: true, Schema: &openapi.Schema{Type: openapi.Array, Items: allowedToolObject.Schema()}, Read: func(t *toolChoice, s *protocol.Scanner) error {
			t.allowed = []jsontext.Value{}
			return s.Array(func(int) error {
				var name jsontext.Value
				err := allowedToolObject.Read(s, &name)
				t.allowed = append(t.allowed, name)
				return err
			})
		}},
	)

	choiceObject = protocol.NewObject(openapi.Schema{Name: "ChatToolChoice", Description: "Names the function to call, or limits which may be called."}, nil,
		protocol.Field[toolChoice]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{modeFunction, modeAllowed}}, Read: func(t *toolChoice, s *protocol.Scanner) error {
			kind, err := s.Text()
			t.mode = string(protocol.Inner(kind))
			return err
		}},
		protocol.Field[toolChoice]{Name: "function", Schema: choiceFunctionObject.Schema(), Read: func(t *toolChoice, s *protocol.Scanner) error {
			if s.Kind() == 'n' {
				return s.Skip()
			}
			return choiceFunctionObject.Read(s, &t.name)
		}},
		protocol.Field[toolChoice]{Name: "allowed_tools", Schema: allowedToolsObject.Schema(), Read: func(t *toolChoice, s *protocol.Scanner) error {
			if s.Kind() == 'n' {
				return s.Skip()
			}
			return allowedToolsObject.Read(s, t)
		}},
	)
)

func choiceSchema() *openapi.Schema {
	return &openapi.Schema{
		Description: "Where the model can't be forced to call a tool, it is asked to in its system prompt, with a warning.",
		AnyOf:       []*openapi.Schema{{Type: openapi.String, Enum: []string{modeNone, modeAuto, modeRequired}}, choiceObject.Schema()},
	}
}

func (t *toolChoice) read(s *protocol.Scanner) error {
	switch s.Kind() {
	case 'n':
		return s.Skip()
	case '"':
		value, err := s.Text()
		if err != nil {
			return err
		}
		switch t.mode = string(protocol.Inner(value)); t.mode {
		case modeNone, modeAuto, modeRequired:
			return nil
		}
		return s.Invalid("", "must be none, auto, required or a function")
	}
	if err := choiceObject.Read(s, t); err != nil {
		return err
	}
	switch t.mode {
	case modeFunction:
		t.allowed = nil
		if len(protocol.Inner(t.name)) == 0 {
			return s.Invalid("function.name", "field required")
		}
	case modeAllowed:
		if t.allowed == nil {
			return s.Invalid("allowed_tools", "field required")
		}
		t.mode = t.limits
	default:
		return s.Invalid("type", "must be function or allowed_tools")
	}
	return nil
}

// forces says that the model must call a tool.
func (t *toolChoice) forces() bool { return t.mode == modeRequired || t.mode == modeFunction }

// kind gives the Messages API's name of the mode, "" where none is given.
func (t *toolChoice) kind() string {
	switch t.mode {
	case modeRequired:
		return "any"
	case modeFunction:
		return "tool"
	}
	return t.mode // none and auto are the same
}
