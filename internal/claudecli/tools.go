package claudecli

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// A client's tools are offered to the CLI as those of an MCP server that lives
// in this program. The CLI puts the server's name in front of a tool's: the
// shorter it is, the longer a tool's own may be.
const (
	toolServer = "c"
	toolPrefix = "mcp__" + toolServer + "__"
)

// MaxToolName is how many characters of the Messages API's 128 are left for the
// name of a tool.
const MaxToolName = 128 - len(toolPrefix)

// CheckTools refuses tools and a tool_choice that can't be offered through the
// CLI: those that run at the API, names that the API itself would refuse or that
// are too long with the CLI's prefix, and a choice that the tools don't allow. The
// error is an apierror.Error that names the field.
func CheckTools(tools []message.Tool, choice jsontext.Value) error {
	names := make(map[string]bool, len(tools))
	for i, tool := range tools {
		field := fmt.Sprintf("tools.%d", i)
		switch {
		case !tool.Client():
			return apierror.Invalid(field+".type", "%s.type: %q runs at the API and can't be used on the CLI backend", field, tool.Type)
		case !validToolName(tool.Name):
			return apierror.Invalid(field+".name", "%s.name: must be 1 to %d letters, digits, _ or - on the CLI backend", field, MaxToolName)
		case names[tool.Name]:
			return apierror.Invalid(field+".name", "%s.name: tool names must be unique", field)
		}
		names[tool.Name] = true
	}
	if len(choice) == 0 {
		return nil
	}
	var c struct {
		Type string `json:"type"`
		Name string `json:"name"`
	}
	if err := json.Unmarshal(choice, &c); err != nil {
		return apierror.Wrap(apierror.BadRequest, "tool_choice: wrong type", err)
	}
	switch {
	case c.Type == "tool" && !names[c.Name]:
		return apierror.Invalid("tool_choice.name", "tool_choice.name: isn't among the tools")
	case c.Type == "any" && len(tools) == 0:
		return apierror.Invalid("tool_choice", "tool_choice: may only be specified with tools")
	}
	return nil
}

func validToolName(name string) bool {
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '_', c == '-':
		default:
			return false
		}
	}
	return len(name) > 0 && len(name) <= MaxToolName
}

// toolNames are the names of the tools, as the client wrote them.
func toolNames(tools []message.Tool) []string {
	names := make([]string, len(tools))
	for i, tool := range tools {
		names[i] = tool.Name
	}
	return names
}

// extraBody is what the CLI merges into the body of its upstream requests, as
// JSON, "" for nothing. The tools are in it whole, because the CLI cuts a
// description (at 2,048 characters, 2.1.197, or 4,096, 2.1.331) and offers those
// of a former request with the new ones (2.1.331).
func (s *Settings) extraBody() (string, error) {
	type tool struct {
		Name        string                    `json:"name"`
		Description string                    `json:"description,omitempty"`
		InputSchema jsontext.Value            `json:"input_schema"`
		Strict      bool                      `json:"strict,omitzero"`
		Others      map[string]jsontext.Value `json:",embed"`
	}
	type outputConfig struct {
		Effort string         `json:"effort,omitempty"`
		Format jsontext.Value `json:"format,omitzero"`
	}
	var body struct {
		Tools        []tool         `json:"tools,omitempty"`
		ToolChoice   jsontext.Value `json:"tool_choice,omitzero"`
		OutputConfig *outputConfig  `json:"output_config,omitzero"`
	}
	for _, t := range s.Tools {
		body.Tools = append(body.Tools, tool{toolPrefix + t.Name, t.Description, t.InputSchema, t.Strict, uncached(t.Others)})
	}
	if len(s.Tools) > 0 && len(s.ToolChoice) > 0 {
		choice, err := prefixName(s.ToolChoice)
		if err != nil {
			return "", fmt.Errorf("decode tool_choice: %w", err)
		}
		body.ToolChoice = choice
	}
	if s.Effort != "" || len(s.Format) > 0 {
		body.OutputConfig = &outputConfig{s.Effort, s.Format}
	}
	if body.Tools == nil && body.OutputConfig == nil {
		return "", nil
	}
	text, err := json.Marshal(body)
	if err != nil {
		return "", fmt.Errorf("encode tools: %w", err)
	}
	return string(text), nil
}

// uncached leaves out a tool's cache marker: the CLI sets its own, and there is a
// limit on their number.
func uncached(others map[string]jsontext.Value) map[string]jsontext.Value {
	if _, marked := others["cache_control"]; !marked {
		return others
	}
	others = maps.Clone(others)
	delete(others, "cache_control")
	return others
}

// prefixName puts the prefix in front of the member name of an object that has
// one.
func prefixName(object jsontext.Value) (jsontext.Value, error) {
	var whole map[string]jsontext.Value
	if err := json.Unmarshal(object, &whole); err != nil {
		return nil, err
	}
	if whole["name"].Kind() != '"' {
		return object, nil
	}
	var name string
	if err := json.Unmarshal(whole["name"], &name); err != nil {
		return nil, err
	}
	quoted, err := json.Marshal(toolPrefix + name)
	if err != nil {
		return nil, err
	}
	whole["name"] = quoted
	return json.Marshal(whole, json.Deterministic(true))
}

// prefixCalls gives an assistant's content with the names of the tools that it
// calls as the CLI knows them.
func prefixCalls(content jsontext.Value) (jsontext.Value, error) {
	if content.Kind() != '[' || !bytes.Contains(content, []byte(`"tool_use"`)) {
		return content, nil
	}
	var blocks []jsontext.Value
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	for i, block := range blocks {
		var b struct {
			Type string `json:"type"`
		}
		err := json.Unmarshal(block, &b)
		if err == nil && b.Type == "tool_use" {
			blocks[i], err = prefixName(block)
		}
		if err != nil {
			return nil, fmt.Errorf("decode message: %w", err)
		}
	}
	return json.Marshal(blocks)
}

// toolUse is a call of a client's tool in an answer.
type toolUse struct{ id, name string }

// renamer gives the client's names back to the tools that an answer calls.
type renamer struct {
	members members
	buffer  []byte
}

// block reads a content block and, if it calls a tool, gives it the client's
// name for it. What it returns is valid until the next call; use is nil for other
// blocks.
func (r *renamer) block(raw []byte) (renamed []byte, use *toolUse, err error) {
	var name []byte
	at := 0
	u := toolUse{}
	called := false
	for r.members.over(raw); r.members.next(); {
		switch string(r.members.name) {
		case `"type"`:
			called = string(r.members.value) == `"tool_use"`
		case `"id"`:
			u.id, err = text(r.members.value)
		case `"name"`:
			name, at = r.members.value, r.members.at
			u.name, err = text(name)
		}
		if err != nil {
			return nil, nil, err
		}
	}
	if r.members.err != nil {
		return nil, nil, r.members.err
	}
	if !called {
		return raw, nil, nil
	}
	own, ok := strings.CutPrefix(u.name, toolPrefix)
	if !ok {
		return raw, &u, nil // the model made it up
	}
	u.name = own
	r.buffer = append(r.buffer[:0], raw[:at]...)
	if r.buffer, err = jsontext.AppendQuote(r.buffer, own); err != nil {
		return nil, nil, err
	}
	r.buffer = append(r.buffer, raw[at+len(name):]...)
	return r.buffer, &u, nil
}

var errNoString = errors.New("not a JSON string")

func text(value []byte) (string, error) {
	if jsontext.Value(value).Kind() != '"' {
		return "", errNoString
	}
	unquoted, err := jsontext.AppendUnquote(nil, value)
	return string(unquoted), err
}

// start gives the event of a content block that begins, with the client's name
// in it if the block calls a tool.
func (r *renamer) start(event []byte) ([]byte, *toolUse, error) {
	// Most blocks are text: this is all that they cost.
	if !bytes.Contains(event, []byte(`"tool_use"`)) {
		return event, nil, nil
	}
	var inner []byte
	at := 0
	for r.members.over(event); r.members.next(); {
		if string(r.members.name) == `"content_block"` {
			inner, at = r.members.value, r.members.at
		}
	}
	if r.members.err != nil || inner == nil {
		return event, nil, r.members.err
	}
	renamed, use, err := r.block(inner)
	if use == nil || err != nil {
		return event, nil, err
	}
	return slices.Concat(event[:at], renamed, event[at+len(inner):]), use, nil
}
