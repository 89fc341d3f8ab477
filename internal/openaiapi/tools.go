package openaiapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// readTools reads functions as the Messages API's tools.
func (c *chatRequest) readTools(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error {
		var kind jsontext.Value
		var f function
		err := s.Object(func(name []byte) (err error) {
			switch string(name) {
			case "type":
				kind, err = s.Text()
			case "function":
				err = s.Object(func(name []byte) error { return f.read(s, name) })
			default:
				err = s.Skip()
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case string(protocol.Inner(kind)) != "function":
			return s.Invalid("type", "must be function")
		case len(protocol.Inner(f.name)) == 0:
			return s.Invalid("function.name", "field required")
		}
		if len(c.tools) > 0 {
			c.tools = append(c.tools, ',')
		}
		c.tools = f.append(c.tools)
		return nil
	})
}

// function is one function while it is read.
type function struct {
	name, description, parameters jsontext.Value
	strict                        bool
}

func (f *function) read(s *protocol.Scanner, name []byte) (err error) {
	switch string(name) {
	case "name":
		f.name, err = s.Text()
	case "description":
		f.description, err = s.Text()
	case "strict":
		f.strict, err = readFlag(s)
	case "parameters":
		switch s.Kind() {
		case 'n':
			return s.Skip()
		case '{', 0:
			f.parameters, err = s.Value()
			return err
		}
		if err = s.Skip(); err == nil {
			err = s.Invalid("", "must be an object")
		}
	default:
		err = s.Skip()
	}
	return err
}

func (f *function) append(dst []byte) []byte {
	dst = append(append(dst, `{"name":`...), f.name...)
	if f.description != nil {
		dst = append(append(dst, `,"description":`...), f.description...)
	}
	dst = append(dst, `,"input_schema":`...)
	if f.parameters == nil || len(f.parameters) == len("{}") {
		// A function without parameters; the Messages API wants a type.
		dst = append(dst, `{"type":"object","properties":{}}`...)
	} else {
		dst = append(dst, f.parameters...)
	}
	if f.strict {
		dst = append(dst, `,"strict":true`...)
	}
	return append(dst, '}')
}

// toolChoice is a decoded tool_choice: none, auto, required, or a function.
type toolChoice struct {
	mode string         // "" when absent
	name jsontext.Value // the function's name where mode is "function"
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
		case "none", "auto", "required":
			return nil
		}
		return s.Invalid("", "must be none, auto, required or a function")
	}
	var kind jsontext.Value
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			kind, err = s.Text()
		case "function":
			err = s.Object(func(name []byte) (err error) {
				if string(name) == "name" {
					t.name, err = s.Text()
					return err
				}
				return s.Skip()
			})
		default:
			err = s.Skip()
		}
		return err
	})
	switch t.mode = string(protocol.Inner(kind)); {
	case err != nil:
		return err
	case t.mode != "function":
		return s.Invalid("type", "must be function")
	case len(protocol.Inner(t.name)) == 0:
		return s.Invalid("function.name", "field required")
	}
	return nil
}

// forces says that the model must call a tool.
func (t *toolChoice) forces() bool { return t.mode == "required" || t.mode == "function" }

// kind gives the Messages API's name of the mode.
func (t *toolChoice) kind() string {
	switch t.mode {
	case "required":
		return "any"
	case "function":
		return "tool"
	case "none":
		return "none"
	}
	return "auto"
}

// appendTools appends the members tools and tool_choice.
func (c *chatRequest) appendTools(dst []byte) ([]byte, error) {
	if len(c.tools) == 0 {
		if c.choice.forces() {
			return nil, apierror.Invalid("tool_choice", "tool_choice: forces a tool, but tools is empty")
		}
		return dst, nil
	}
	dst = append(append(append(dst, `"tools":[`...), c.tools...), "],"...)
	if c.choice.mode == "" && !c.serial {
		return dst, nil
	}
	dst = append(append(append(dst, `"tool_choice":{"type":"`...), c.choice.kind()...), '"')
	if c.choice.mode == "function" {
		dst = append(append(dst, `,"name":`...), c.choice.name...)
	}
	if c.serial && c.choice.mode != "none" {
		dst = append(dst, `,"disable_parallel_tool_use":true`...)
	}
	return append(dst, "},"...), nil
}
