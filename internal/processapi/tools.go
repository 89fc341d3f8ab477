package processapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// tools are the client's tools, in the form of the Messages API.
type tools struct {
	list   []tool
	mode   string         // of the choice: none, auto, any, tool; "" when absent
	name   jsontext.Value // the tool's name where the mode is tool
	serial bool           // one call at a time
}

// forces says that the model must call a tool.
func (t *tools) forces() bool { return t.mode == "any" || t.mode == "tool" }

func toolSchema() *openapi.Schema {
	return &openapi.Schema{
		Type:        openapi.Object,
		Description: "A function in the form of the Chat Completions API (`{type: \"function\", function: {name, description, parameters}}`) or a tool in that of the Messages API (`{name, description, input_schema}`).",
	}
}

func toolChoiceSchema() *openapi.Schema {
	return &openapi.Schema{
		Description: "`none`, `auto`, `required`, `any`, or an object in the form of either API that names a tool.",
		AnyOf:       []*openapi.Schema{{Type: openapi.String, Enum: []string{"none", "auto", "required", "any"}}, {Type: openapi.Object}, {Type: openapi.Null}},
	}
}

func (p *processRequest) readTools(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error { return p.readTool(s) })
}

// tool is one tool while it is read.
type tool struct {
	protocol.Function
	kind, schema jsontext.Value
	function     bool           // its members stand in a member function
	own          jsontext.Value // as it came, for a tool of the Messages API
}

func (t *tool) read(s *protocol.Scanner, name []byte) (err error) {
	switch string(name) {
	case "name":
		t.Name, err = s.Text()
	case "description":
		t.Description, err = s.Text()
	case "input_schema":
		t.schema, err = s.ObjectValue()
	case "parameters":
		t.Parameters, err = s.ObjectValue()
	case "strict":
		var strict *bool
		strict, err = s.Bool()
		t.Strict = strict != nil && *strict
	default:
		err = s.Skip()
	}
	return err
}

func (p *processRequest) readTool(s *protocol.Scanner) error {
	var t tool
	start := s.Offset()
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			t.kind, err = s.Text()
		case "function":
			t.function = true
			err = s.Object(func(name []byte) error { return t.read(s, name) })
		default:
			err = t.read(s, name)
		}
		return err
	})
	if err != nil {
		return err
	}
	kind := protocol.Unquote(t.kind)
	if t.function || kind == "function" {
		if len(protocol.Inner(t.Name)) == 0 {
			return s.Invalid("function.name", "field required")
		}
		if t.Parameters == nil {
			t.Parameters = t.schema
		}
		if t.Strict {
			t.Field = s.Field("function.parameters")
		}
		p.tools.list = append(p.tools.list, t)
		return nil
	}
	// A tool of the Messages API stays as it is. One of another type runs at the
	// upstream, or has a schema that the model knows.
	switch {
	case len(protocol.Inner(t.Name)) == 0:
		return s.Invalid("name", "field required")
	case (kind == "" || kind == "custom") && t.schema == nil:
		return s.Invalid("input_schema", "field required")
	}
	t.own = s.Since(start)
	p.tools.list = append(p.tools.list, t)
	return nil
}

// readToolChoice reads the choice of either API.
func (p *processRequest) readToolChoice(s *protocol.Scanner) error {
	t := &p.tools
	switch s.Kind() {
	case 'n':
		return s.Skip()
	case '"':
		choice, err := s.Text()
		if err != nil {
			return err
		}
		return t.choose(s, "", protocol.Unquote(choice))
	}
	var kind jsontext.Value
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			kind, err = s.Text()
		case "name":
			t.name, err = s.Text()
		case "function":
			err = s.Object(func(name []byte) (err error) {
				if string(name) == "name" {
					t.name, err = s.Text()
					return err
				}
				return s.Skip()
			})
		case "disable_parallel_tool_use":
			var serial *bool
			serial, err = s.Bool()
			t.serial = t.serial || serial != nil && *serial
		default:
			err = s.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	return t.choose(s, "type", protocol.Unquote(kind))
}

func (t *tools) choose(s *protocol.Scanner, field, mode string) error {
	switch mode {
	case "none", "auto", "any":
		t.mode = mode
	case "required":
		t.mode = "any"
	case "function", "tool":
		if len(protocol.Inner(t.name)) == 0 {
			return s.Invalid("name", "field required")
		}
		t.mode = "tool"
	default:
		return s.Invalid(field, "must be none, auto, required, any or the name of a tool")
	}
	return nil
}

// append appends the members tools and tool_choice with a comma behind each.
func (t *tools) append(dst []byte, rules *message.Rules, w *warnings) ([]byte, error) {
	if len(t.list) == 0 {
		if t.forces() {
			return nil, apierror.Invalid("tool_choice", "tool_choice: forces a tool, but tools is empty")
		}
		return dst, nil
	}
	dst = append(dst, `"tools":[`...)
	var err error
	for i := range t.list {
		if i > 0 {
			dst = append(dst, ',')
		}
		tool := &t.list[i]
		if tool.own != nil {
			dst = append(dst, tool.own...)
		} else if dst, err = tool.Append(dst, rules, w.warn); err != nil {
			return nil, err
		}
	}
	dst = append(dst, "],"...)
	mode := t.mode
	if t.forces() && rules.NoForcedTools {
		w.warn("tool_choice", "the model can't be made to call a tool; it was set to auto")
		mode = "auto"
	}
	return protocol.AppendToolChoice(dst, mode, t.name, t.serial), nil
}
