package responsesapi

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// tool is one function.
type tool struct {
	protocol.Function
	name string // decoded
}

// toolFields is one tool while it is read.
type toolFields struct {
	protocol.Function
	request *request
	kind    jsontext.Value
}

// choiceFields is the object form of tool_choice while it is read.
type choiceFields struct {
	request *request

	kind, name, mode jsontext.Value
	tools            []string
}

// formatFields is text.format while it is read.
type formatFields struct {
	request *request

	kind, name, schema, description jsontext.Value
}

// The tables of what a request says of tools and formats. They are never changed.
var (
	toolObject = protocol.NewObject(openapi.Schema{Name: "ResponseTool", Description: "A function that the caller runs."},
		func(t *toolFields, s *protocol.Scanner, name string) error {
			return t.request.ignore(s, "tools."+name)
		},
		protocol.Field[toolFields]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"function"}}, Read: protocol.ReadText(func(t *toolFields) *jsontext.Value { return &t.kind })},
		protocol.Field[toolFields]{Name: "name", Schema: openapi.Text(""), Read: protocol.ReadText(func(t *toolFields) *jsontext.Value { return &t.Name })},
		protocol.Field[toolFields]{Name: "description", Schema: openapi.Nullable(openapi.Text("")), Read: protocol.ReadText(func(t *toolFields) *jsontext.Value { return &t.Description })},
		protocol.Field[toolFields]{Name: "parameters", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Object, Description: "A JSON schema."}), Read: func(t *toolFields, s *protocol.Scanner) (err error) {
			t.Parameters, err = s.ObjectValue()
			return err
		}},
		protocol.Field[toolFields]{Name: "strict", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Boolean, Description: "Calls fit the schema exactly. Not by default here."}), Read: protocol.ReadFlag(func(t *toolFields) *bool { return &t.Strict })},
	)

	choiceObject = protocol.NewObject(openapi.Schema{Description: "A function by its name, or `allowed_tools`: some of the functions."},
		func(t *choiceFields, s *protocol.Scanner, name string) error {
			return t.request.ignore(s, "tool_choice."+name)
		},
		protocol.Field[choiceFields]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"function", "allowed_tools"}}, Read: protocol.ReadText(func(t *choiceFields) *jsontext.Value { return &t.kind })},
		protocol.Field[choiceFields]{Name: "name", Schema: openapi.Text("Of a function."), Read: protocol.ReadText(func(t *choiceFields) *jsontext.Value { return &t.name })},
		protocol.Field[choiceFields]{Name: "mode", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"auto", "required"}, Description: "Of allowed_tools."}, Read: protocol.ReadText(func(t *choiceFields) *jsontext.Value { return &t.mode })},
		protocol.Field[choiceFields]{Name: "tools", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}, Description: "Of allowed_tools."}, Read: readAllowed},
	)

	formatObject = protocol.NewObject(openapi.Schema{Description: "The form of the answer's text."},
		func(f *formatFields, s *protocol.Scanner, name string) error {
			return f.request.ignore(s, "text.format."+name)
		},
		protocol.Field[formatFields]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"text", "json_object", "json_schema"}, Description: "json_object is asked for in the system prompt, and a Markdown code fence around the answer is taken off; json_schema binds the model."}, Read: protocol.ReadText(func(f *formatFields) *jsontext.Value { return &f.kind })},
		protocol.Field[formatFields]{Name: "name", Schema: openapi.Text("Of json_schema."), Read: protocol.ReadText(func(f *formatFields) *jsontext.Value { return &f.name })},
		protocol.Field[formatFields]{Name: "schema", Schema: &openapi.Schema{Type: openapi.Object, Description: "Of json_schema. Keywords that the model can't be bound to move into the descriptions, with a warning."}, Read: func(f *formatFields, s *protocol.Scanner) (err error) {
			f.schema, err = s.ObjectValue()
			return err
		}},
		protocol.Field[formatFields]{Name: "description", Schema: openapi.Text("Stands in the schema's own description."), Read: protocol.ReadText(func(f *formatFields) *jsontext.Value { return &f.description })},
		protocol.Field[formatFields]{Name: "strict", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Boolean, Description: "Has no effect: the schema always binds."}), Read: skip[formatFields]},
	)
)

// readTools reads functions as the Messages API's tools.
func (c *request) readTools(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	start := s.Offset()
	err := s.Array(func(int) error {
		t := toolFields{request: c}
		if err := toolObject.Read(s, &t); err != nil {
			return err
		}
		switch kind := protocol.Unquote(t.kind); {
		case kind != "function":
			return s.Invalid("type", "tools of the type "+kind+" aren't supported; function is")
		case len(protocol.Inner(t.Name)) == 0:
			return s.Invalid("name", "field required")
		}
		if t.Strict {
			t.Field = s.Field("parameters")
		}
		c.tools = append(c.tools, tool{t.Function, protocol.Unquote(t.Name)})
		return nil
	})
	c.rawTools = s.Since(start)
	return err
}

// toolChoice is a decoded tool_choice.
type toolChoice struct {
	mode    string // none, auto, required, function, allowed_tools; "" when absent
	name    string // of function
	force   bool   // of allowed_tools: one of them must be called
	allowed []string
	raw     jsontext.Value // to be echoed
}

// readAllowed reads the functions of allowed_tools.
func readAllowed(t *choiceFields, s *protocol.Scanner) error {
	return s.Array(func(int) error {
		var kind, name jsontext.Value
		err := s.Object(func(member []byte) (err error) {
			switch string(member) {
			case "type":
				kind, err = s.Text()
			case "name":
				name, err = s.Text()
			default:
				err = t.request.ignore(s, "tool_choice.tools."+string(member))
			}
			return err
		})
		switch {
		case err != nil:
			return err
		case string(protocol.Inner(kind)) != "function":
			return s.Invalid("type", "must be function")
		}
		t.tools = append(t.tools, protocol.Unquote(name))
		return nil
	})
}

func (t *toolChoice) read(c *request, s *protocol.Scanner) error {
	switch s.Kind() {
	case 'n':
		return s.Skip()
	case '"':
		value, err := s.Text()
		if err != nil {
			return err
		}
		t.raw = value
		switch t.mode = string(protocol.Inner(value)); t.mode {
		case "none", "auto", "required":
			return nil
		}
		return s.Invalid("", "must be none, auto, required, a function or allowed_tools")
	}
	f := choiceFields{request: c}
	start := s.Offset()
	err := choiceObject.Read(s, &f)
	t.raw = s.Since(start)
	if err != nil {
		return err
	}
	t.name = protocol.Unquote(f.name)
	switch t.mode = protocol.Unquote(f.kind); t.mode {
	case "function":
		if t.name == "" {
			return s.Invalid("name", "field required")
		}
		return nil
	case "allowed_tools":
		mode := protocol.Unquote(f.mode)
		if mode != "auto" && mode != "required" {
			return s.Invalid("mode", "must be auto or required")
		}
		t.force, t.allowed = mode == "required", f.tools
		return nil
	}
	return s.Invalid("type", "must be function or allowed_tools")
}

// allow leaves of the tools only those of allowed_tools.
func (c *request) allow() error {
	for _, name := range c.choice.allowed {
		if !slices.ContainsFunc(c.tools, func(t tool) bool { return t.name == name }) {
			return apierror.Invalid("tool_choice", "tool_choice: there is no function %s", name)
		}
	}
	c.tools = slices.DeleteFunc(c.tools, func(t tool) bool { return !slices.Contains(c.choice.allowed, t.name) })
	return nil
}

// forced gives the Messages API's tool_choice.type for a model with these rules,
// "" where nothing is to be said. One that can't be forced is asked.
func (c *request) forced(rules *message.Rules) string {
	kind := ""
	switch c.choice.mode {
	case "none", "auto":
		kind = c.choice.mode
	case "required":
		kind = "any"
	case "function":
		kind = "tool"
	case "allowed_tools":
		if c.choice.force {
			kind = "any"
		}
	}
	if rules.NoForcedTools && (kind == "any" || kind == "tool") {
		c.warn("tool_choice", "the model can't be forced to call a function; it may answer without")
		kind = "auto"
		if c.choice.mode == "function" && slices.ContainsFunc(c.tools, func(t tool) bool { return t.name == c.choice.name }) {
			// It is left with no other function to call.
			c.tools = slices.DeleteFunc(c.tools, func(t tool) bool { return t.name != c.choice.name })
		}
	}
	return kind
}

// appendTools appends the members tools and tool_choice.
func (c *request) appendTools(dst []byte, kind string, rules *message.Rules) ([]byte, error) {
	if len(c.tools) == 0 {
		if c.choice.mode == "required" || c.choice.mode == "function" || c.choice.force {
			return nil, apierror.Invalid("tool_choice", "tool_choice: forces a function, but there is none")
		}
		return dst, nil
	}
	if c.choice.mode == "function" && !slices.ContainsFunc(c.tools, func(t tool) bool { return t.name == c.choice.name }) {
		return nil, apierror.Invalid("tool_choice", "tool_choice: there is no function %s", c.choice.name)
	}
	dst = append(dst, `"tools":[`...)
	for i := range c.tools {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = c.tools[i].Append(dst, rules, c.warn); err != nil {
			return nil, err
		}
	}
	return protocol.AppendToolChoice(append(dst, "],"...), kind, protocol.AppendText(nil, c.choice.name), c.parallel != nil && !*c.parallel), nil
}

// textFormat is a decoded text.format.
type textFormat struct {
	protocol.OutputFormat
	raw jsontext.Value // to be echoed
}

func (t *textFormat) read(c *request, s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	f := formatFields{request: c}
	start := s.Offset()
	err := formatObject.Read(s, &f)
	t.raw = s.Since(start)
	if err != nil {
		return err
	}
	switch protocol.Unquote(f.kind) {
	case "text":
	case "json_object":
		t.JSON = true
	case "json_schema":
		if f.schema == nil {
			return s.Invalid("schema", "field required")
		}
		t.OutputFormat = protocol.OutputFormat{Schema: f.schema, Description: f.description, Field: "text.format.schema"}
	default:
		return s.Invalid("type", "must be text, json_object or json_schema")
	}
	return nil
}
