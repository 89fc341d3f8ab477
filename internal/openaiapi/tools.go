package openaiapi

import (
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// tool is one function that the caller offers. Its slices share memory with the
// body.
type tool struct {
	protocol.Function
	request *chatRequest
	kind    jsontext.Value
}

var functionObject = protocol.NewObject(openapi.Schema{},
	func(t *tool, s *protocol.Scanner, name string) error {
		return readUnknown(t.request, s, "tools.function."+name)
	},
	protocol.Field[tool]{Name: "name", Required: true, Schema: openapi.Text(""), Read: protocol.ReadText(func(t *tool) *jsontext.Value { return &t.Name })},
	protocol.Field[tool]{Name: "description", Schema: openapi.Text(""), Read: protocol.ReadText(func(t *tool) *jsontext.Value { return &t.Description })},
	protocol.Field[tool]{Name: "parameters", Schema: &openapi.Schema{Type: openapi.Object, Description: "A JSON schema of an object. Absent: no parameters."}, Read: func(t *tool, s *protocol.Scanner) (err error) {
		t.Parameters, err = s.ObjectValue()
		return err
	}},
	protocol.Field[tool]{Name: "strict", Schema: openapi.Flag("Holds the arguments to the schema. What can't be enforced moves into descriptions, with a warning."), Read: func(t *tool, s *protocol.Scanner) error {
		strict, err := s.Bool()
		if t.Strict = strict != nil && *strict; t.Strict {
			t.Field = strings.TrimSuffix(s.Field(""), "strict") + "parameters"
		}
		return err
	}},
	protocol.Field[tool]{Name: "cache_control", Schema: cacheControl(), Read: (*tool).readControl},
)

var toolObject = protocol.NewObject(openapi.Schema{Name: "ChatTool", Description: "A function that the caller runs."},
	func(t *tool, s *protocol.Scanner, name string) error {
		if name == "custom" {
			return s.Skip() // the type says what is wrong
		}
		return readUnknown(t.request, s, "tools."+name)
	},
	protocol.Field[tool]{Name: "type", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"function"}}, Read: protocol.ReadText(func(t *tool) *jsontext.Value { return &t.kind })},
	protocol.Field[tool]{Name: "function", Schema: functionObject.Schema(), Read: func(t *tool, s *protocol.Scanner) error { return functionObject.Read(s, t) }},
	protocol.Field[tool]{Name: "cache_control", Schema: cacheControl(), Read: (*tool).readControl},
)

func cacheControl() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Object, Description: "The Messages API's own: ends a prefix that is to be cached."}
}

func (t *tool) readControl(s *protocol.Scanner) (err error) {
	t.CacheControl, err = s.ObjectValue()
	return err
}

// readTools reads functions as the Messages API's tools.
func (c *chatRequest) readTools(s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error {
		c.tools = append(c.tools, tool{request: c})
		t := &c.tools[len(c.tools)-1]
		err := toolObject.Read(s, t)
		switch {
		case err != nil:
			return err
		case string(protocol.Inner(t.kind)) != "function":
			return s.Invalid("type", "must be function")
		case len(protocol.Inner(t.Name)) == 0:
			return s.Invalid("function.name", "field required")
		}
		return nil
	})
}

// appendTools appends the members tools and tool_choice.
func (c *chatRequest) appendTools(dst []byte, rules *message.Rules) ([]byte, error) {
	tools, err := c.offered()
	if err != nil || len(tools) == 0 {
		return dst, err
	}
	dst = append(dst, `"tools":[`...)
	for i := range tools {
		if i > 0 {
			dst = append(dst, ',')
		}
		if dst, err = tools[i].Append(dst, rules, c.warn); err != nil {
			return nil, err
		}
	}
	dst = append(dst, "],"...)
	kind := c.choice.kind()
	if c.choice.forces() && rules.NoForcedTools {
		kind = modeAuto
		c.instructCall()
	}
	return protocol.AppendToolChoice(dst, kind, c.choice.name, c.serial), nil
}

// offered gives the tools that the model is to know of: those of an
// allowed_tools, or all.
func (c *chatRequest) offered() ([]tool, error) {
	if len(c.tools) == 0 && c.choice.forces() {
		return nil, apierror.Invalid("tool_choice", "tool_choice: forces a tool, but tools is empty")
	}
	if c.choice.mode == modeFunction && !c.has(c.choice.name) {
		return nil, apierror.Invalid("tool_choice.function.name", "tool_choice.function.name: is none of tools")
	}
	if c.choice.allowed == nil {
		return c.tools, nil
	}
	for _, name := range c.choice.allowed {
		if !c.has(name) {
			return nil, apierror.Invalid("tool_choice.allowed_tools.tools", "tool_choice.allowed_tools.tools: names a function that is none of tools")
		}
	}
	return slices.DeleteFunc(slices.Clone(c.tools), func(t tool) bool {
		return !slices.ContainsFunc(c.choice.allowed, func(name jsontext.Value) bool { return same(name, t.Name) })
	}), nil
}

func (c *chatRequest) has(name jsontext.Value) bool {
	return slices.ContainsFunc(c.tools, func(t tool) bool { return same(name, t.Name) })
}

// same compares two JSON strings, which may be escaped differently.
func same(a, b jsontext.Value) bool {
	return string(a) == string(b) || protocol.Unquote(a) == protocol.Unquote(b)
}

// instructCall asks in words for a call that the model can't be forced to.
func (c *chatRequest) instructCall() {
	instruction := "Answer by calling one of the tools."
	if c.choice.mode == modeFunction {
		instruction = "Answer by calling the tool " + protocol.Unquote(c.choice.name) + "."
	}
	c.transcript.AddSystem(protocol.AppendText(nil, instruction))
	c.warn("tool_choice", "the model can't be forced to call a tool; it was asked to")
}
