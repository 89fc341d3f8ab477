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

// toolChoice is the member tool_choice.
type toolChoice struct {
	Type   string `json:"type"` // "" when the request has none
	Name   string `json:"name"`
	Single bool   `json:"disable_parallel_tool_use"`
}

// forced says that the answer must be a call.
func (c *toolChoice) forced() bool { return c.Type == "any" || c.Type == "tool" }

// calls decides which tools the answer calls: those that directives name, else
// one where tool_choice or the CLI's structured output asks for it and no
// result has come back yet.
func (x *exchange) calls(d *directives) ([]toolCall, *fault) {
	if x.choice.Type == "none" {
		return nil, nil
	}
	if len(d.tools) > 0 {
		calls := d.tools
		if x.choice.Single {
			calls = calls[:1]
		}
		return x.fill(calls)
	}
	if len(x.req.lastUser.results) > 0 {
		// Unlike the API: a client that always sends the same tool_choice would
		// otherwise never come to an end.
		return nil, nil
	}
	switch {
	case !d.hasText && x.tool(structuredOutput) != nil:
		return x.fill([]toolCall{{name: structuredOutput}})
	case x.choice.Type == "any":
		return x.fill([]toolCall{{name: string(x.req.tools[0].name.of(x.arena))}})
	case x.choice.Type == "tool":
		return x.fill([]toolCall{{name: x.choice.Name}})
	}
	return nil, nil
}

// checkChoice reads tool_choice.
func (x *exchange) checkChoice() *fault {
	raw := x.req.choice.of(x.body)
	if len(raw) == 0 {
		return nil
	}
	choice := &x.choice
	if err := json.Unmarshal(raw, choice); err != nil {
		return invalid("tool_choice: Input should be a valid tool choice")
	}
	switch choice.Type {
	case "auto", "none", "any", "tool":
	default:
		return invalid("tool_choice: Input tag '%s' found using 'type' does not match any of the expected tags: 'auto', 'any', 'tool', 'none'", choice.Type)
	}
	if !choice.forced() {
		return nil
	}
	if len(x.req.tools) == 0 {
		return invalid("tool_choice: tool_choice may only be specified while providing tools.")
	}
	if choice.Type == "tool" && x.tool(choice.Name) == nil {
		return invalid("tool_choice: Tool '%s' not found in provided tools", choice.Name)
	}
	if x.rules.NoForcedTools {
		return invalid(`tool_choice: type "tool" and "any" are not supported for this model.`)
	}
	return nil
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
		call.server = bytes.HasPrefix(t.kind.of(x.body), []byte(`"web_search_`))
		switch {
		case call.server && call.input == nil:
			call.input = []byte(`{"query":"simulator"}`)
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

// validObject says whether text is one JSON object.
func validObject(text []byte) bool {
	v := jsontext.Value(text)
	return v.Kind() == '{' && v.IsValid() && bytes.HasSuffix(text, []byte("}"))
}
