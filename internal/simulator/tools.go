package simulator

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// structuredOutput is the tool by which the CLI asks for JSON of a schema; it
// insists until the tool has been called.
const structuredOutput = "StructuredOutput"

// calls decides which tools the answer calls: those that directives name, else
// one where tool_choice or the CLI's structured output asks for it and no
// result has come back yet.
func (x *exchange) calls(d *directives) ([]toolCall, *fault) {
	if len(d.tools) > 0 {
		return x.fill(d.tools)
	}
	if !d.hasText && len(x.req.lastUser.results) == 0 && x.tool(structuredOutput) != nil {
		return x.fill([]toolCall{{name: structuredOutput}})
	}
	raw := x.req.choice.of(x.body)
	if len(raw) == 0 || raw[0] == 'n' {
		return nil, nil
	}
	var choice struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	if err := json.Unmarshal(raw, &choice); err != nil {
		return nil, invalid("tool_choice: Input should be a valid tool choice")
	}
	switch choice.Type {
	case "auto", "none":
		return nil, nil
	case "any", "tool":
	default:
		return nil, invalid("tool_choice: Input tag '%s' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'", choice.Type)
	}
	if len(x.req.tools) == 0 {
		return nil, invalid("tool_choice: tool_choice may only be specified while providing tools.")
	}
	if choice.Type == "any" {
		choice.Name = string(x.req.tools[0].name.of(x.arena))
	}
	if x.tool(choice.Name) == nil {
		return nil, invalid("tool_choice: Tool '%s' not found in provided tools", choice.Name)
	}
	// Unlike the API: a client that always sends the same tool_choice would
	// otherwise never come to an end.
	if len(x.req.lastUser.results) > 0 {
		return nil, nil
	}
	return x.fill([]toolCall{{name: choice.Name}})
}

// tool finds a tool by its name, or by the end of its name as the CLI writes
// those of MCP servers: mcp__SERVER__NAME.
func (x *exchange) tool(name string) *tool {
	for i := range x.req.tools {
		if string(x.req.tools[i].name.of(x.arena)) == name {
			return &x.req.tools[i]
		}
	}
	for i := range x.req.tools {
		if strings.HasSuffix(string(x.req.tools[i].name.of(x.arena)), "__"+name) {
			return &x.req.tools[i]
		}
	}
	return nil
}

// fill completes calls: a tool's whole name, and an input that fits its schema.
func (x *exchange) fill(calls []toolCall) ([]toolCall, *fault) {
	for i := range calls {
		call := &calls[i]
		t := x.tool(call.name)
		if t == nil {
			return nil, invalid("x-simulator: tool %q isn't among the request's tools", call.name)
		}
		call.name = string(t.name.of(x.arena))
		switch {
		case call.input != nil:
		case t.schema.empty():
			call.input = []byte("{}") // a tool of the API's own, whose schema isn't sent
		default:
			input, f := generate(nil, t.schema.of(x.body))
			if f != nil {
				return nil, f
			}
			call.input = input
		}
	}
	return calls, nil
}

// outputSchema gives the JSON schema that the answer must fit, nil when it is
// free.
func (x *exchange) outputSchema() ([]byte, *fault) {
	raw := x.req.schema.of(x.body)
	if len(raw) == 0 || raw[0] == 'n' {
		return nil, nil
	}
	var format struct {
		Type   string         `json:"type"`
		Schema jsontext.Value `json:"schema"`
	}
	if err := json.Unmarshal(raw, &format); err != nil || format.Type != "json_schema" {
		return nil, invalid("output_config.format: Input should be a JSON schema format")
	}
	if format.Schema.Kind() != '{' {
		return nil, invalid("output_config.format.schema: Field required")
	}
	return format.Schema, nil
}

// validObject says whether text is one JSON object.
func validObject(text []byte) bool {
	v := jsontext.Value(text)
	return v.Kind() == '{' && v.IsValid() && bytes.HasSuffix(text, []byte("}"))
}
