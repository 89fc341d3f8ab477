package message

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
)

// The roles of a conversation.
const (
	RoleUser      = "user"
	RoleAssistant = "assistant"
)

// Turn is one message of a conversation. Content is its content as JSON: a
// string or an array of content blocks, exactly as it came.
type Turn struct {
	Role    string         `json:"role"`
	Content jsontext.Value `json:"content"`
}

// Conversation is the decoded part of a Request that the CLI path needs.
type Conversation struct {
	System string // "" when there is none
	// ThinkingTokens is the budget of extended thinking, 0 when it is off.
	ThinkingTokens int64
	Turns          []Turn // at least one; the last is the user's
	Tools          []Tool
	// ToolChoice is the member tool_choice as it came, nil when it is absent.
	ToolChoice jsontext.Value
	// Effort and Format are those of output_config: "" and nil when absent. Format
	// is the JSON object that constrains the answer.
	Effort string
	Format jsontext.Value
	// Unread names what of thinking and output_config isn't in the Conversation.
	Unread []string
}

// Tool is one tool that the model may call.
type Tool struct {
	// Type is "" or "custom" for a tool that the client runs; others run at the
	// API or are of a kind that the model was trained on.
	Type        string         `json:"type"`
	Name        string         `json:"name"`
	Description string         `json:"description"`
	InputSchema jsontext.Value `json:"input_schema"`
	Strict      bool           `json:"strict"`
	// Others are the members of other names, nil for none.
	Others map[string]jsontext.Value `json:",embed"`
}

// Client says that the client runs the tool.
func (t Tool) Client() bool { return t.Type == "" || t.Type == "custom" }

// DefaultThinkingTokens is the budget for a request that asks for thinking
// without saying how much: the CLI's own default.
const DefaultThinkingTokens = 31_999

// minThinkingTokens is the least budget that the Messages API accepts.
const minThinkingTokens = 1_024

type contentBlock struct {
	Type string `json:"type"`
	Text string `json:"text"`
}

// Conversation decodes the request's system prompt, messages and thinking. An
// error is an apierror.Error that names the field. Roles other than user and
// assistant, an empty conversation and one that ends with the assistant are
// refused, and so is a blank prompt; content blocks are checked for their type and
// for a text or source where that type needs one, and otherwise left alone.
func (r *Request) Conversation() (*Conversation, error) {
	c := &Conversation{}
	var err error
	if c.System, err = r.decodeSystem(); err != nil {
		return nil, err
	}
	if c.ThinkingTokens, err = r.decodeThinking(c); err != nil {
		return nil, err
	}
	if err := r.decodeTools(c); err != nil {
		return nil, err
	}
	if err := r.decodeOutputConfig(c); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(r.messages.of(r.body), &c.Turns); err != nil {
		return nil, nested("messages", err)
	}
	if len(c.Turns) == 0 {
		return nil, apierror.Invalid("messages", "messages: at least one message is required")
	}
	for i, turn := range c.Turns {
		field := fmt.Sprintf("messages.%d", i)
		if turn.Role != RoleUser && turn.Role != RoleAssistant {
			return nil, apierror.Invalid(field+".role", "%s.role: must be user or assistant", field)
		}
		if err := checkContent(field+".content", turn.Content); err != nil {
			return nil, err
		}
	}
	last := len(c.Turns) - 1
	if c.Turns[last].Role != RoleUser {
		return nil, apierror.Invalid("messages", "messages: the last message must have the role user")
	}
	if blank(c.Turns[last].Content) {
		field := fmt.Sprintf("messages.%d.content", last)
		return nil, apierror.Invalid(field, "%s: must not be blank", field)
	}
	return c, nil
}

func checkContent(field string, content jsontext.Value) error {
	switch content.Kind() {
	case '"':
		return nil
	case '[':
		var blocks []anyBlock
		if err := json.Unmarshal(content, &blocks); err != nil {
			return nested(field, err)
		}
		if len(blocks) == 0 {
			return apierror.Invalid(field, "%s: at least one content block is required", field)
		}
		for i, b := range blocks {
			if err := b.check(fmt.Sprintf("%s.%d", field, i)); err != nil {
				return err
			}
		}
		return nil
	}
	return apierror.Invalid(field, "%s: must be a string or an array of content blocks", field)
}

// anyBlock is a content block as far as it must be right for the CLI, which
// hangs or dies on one that isn't.
type anyBlock struct {
	Type   string         `json:"type"`
	Text   jsontext.Value `json:"text"`
	Source jsontext.Value `json:"source"`
}

func (b anyBlock) check(field string) error {
	required := func(name string) error {
		return apierror.Invalid(field+"."+name, "%s.%s: field required", field, name)
	}
	switch b.Type {
	case "":
		return required("type")
	case "text":
		if b.Text.Kind() != '"' {
			return required("text")
		}
	case "image", "document":
		var source struct {
			Type string `json:"type"`
		}
		if b.Source.Kind() != '{' || json.Unmarshal(b.Source, &source) != nil || source.Type == "" {
			return required("source")
		}
	}
	return nil
}

// blank says that a turn's content is text without a visible character.
func blank(content jsontext.Value) bool {
	if content.Kind() == '"' {
		var text string
		return json.Unmarshal(content, &text) == nil && strings.TrimSpace(text) == ""
	}
	var blocks []anyBlock
	if err := json.Unmarshal(content, &blocks); err != nil {
		return false
	}
	for _, b := range blocks {
		if b.Type != "text" || !blank(b.Text) {
			return false
		}
	}
	return true
}

func (r *Request) decodeSystem() (string, error) {
	value := jsontext.Value(r.system.of(r.body))
	switch {
	case len(value) == 0 || value.Kind() == 'n':
		return "", nil
	case value.Kind() == '"':
		text, err := jsontext.AppendUnquote(nil, value)
		return string(text), err
	case value.Kind() == '[':
		var blocks []contentBlock
		if err := json.Unmarshal(value, &blocks); err != nil {
			return "", nested("system", err)
		}
		texts := make([]string, 0, len(blocks))
		for i, b := range blocks {
			if b.Type != "text" {
				name := fmt.Sprintf("system.%d.type", i)
				return "", apierror.Invalid(name, "%s: must be text", name)
			}
			texts = append(texts, b.Text)
		}
		return strings.Join(texts, "\n\n"), nil
	}
	return "", apierror.Invalid("system", "system: must be a string or an array of text blocks")
}

func (r *Request) decodeTools(c *Conversation) error {
	if !r.HasTools {
		return nil
	}
	if err := json.Unmarshal(r.tools.of(r.body), &c.Tools); err != nil {
		return nested("tools", err)
	}
	for i, tool := range c.Tools {
		field := fmt.Sprintf("tools.%d", i)
		switch {
		case tool.Name == "":
			return apierror.Invalid(field+".name", "%s.name: field required", field)
		case tool.Client() && tool.InputSchema.Kind() != '{':
			return apierror.Invalid(field+".input_schema", "%s.input_schema: must be an object", field)
		}
	}
	if choice := jsontext.Value(r.toolChoice.of(r.body)); len(choice) > 0 && choice.Kind() != 'n' {
		c.ToolChoice = choice
	}
	return nil
}

func (r *Request) decodeOutputConfig(c *Conversation) error {
	value := jsontext.Value(r.outputConfig.of(r.body))
	if len(value) == 0 || value.Kind() == 'n' {
		return nil
	}
	var config struct {
		Effort string                    `json:"effort"`
		Format jsontext.Value            `json:"format"`
		Others map[string]jsontext.Value `json:",embed"`
	}
	if err := json.Unmarshal(value, &config); err != nil {
		return nested("output_config", err)
	}
	c.unread("output_config", config.Others)
	c.Effort = config.Effort
	switch config.Format.Kind() {
	case '{':
		c.Format = config.Format
	case 'n', 0:
	default:
		return apierror.Invalid("output_config.format", "output_config.format: must be an object")
	}
	return nil
}

// unread notes members that aren't null.
func (c *Conversation) unread(of string, others map[string]jsontext.Value) {
	for _, name := range slices.Sorted(maps.Keys(others)) {
		if others[name].Kind() != 'n' {
			c.Unread = append(c.Unread, of+"."+name)
		}
	}
}

func (r *Request) decodeThinking(c *Conversation) (int64, error) {
	value := jsontext.Value(r.thinking.of(r.body))
	if len(value) == 0 || value.Kind() == 'n' {
		return 0, nil
	}
	var thinking struct {
		Type         string                    `json:"type"`
		BudgetTokens int64                     `json:"budget_tokens"`
		Display      string                    `json:"display"`
		Others       map[string]jsontext.Value `json:",embed"`
	}
	if err := json.Unmarshal(value, &thinking); err != nil {
		return 0, nested("thinking", err)
	}
	c.unread("thinking", thinking.Others)
	if thinking.Display != "" && thinking.Display != "summarized" {
		c.Unread = append(c.Unread, "thinking.display")
	}
	switch thinking.Type {
	case ThinkingDisabled, ThinkingBetweenTools:
		// Between tools means: not before the answer. A process that thinks by a
		// budget can't do that and needn't.
		return 0, nil
	case ThinkingAdaptive:
		return DefaultThinkingTokens, nil
	case ThinkingEnabled:
		if thinking.BudgetTokens < minThinkingTokens {
			return 0, apierror.Invalid("thinking.budget_tokens", "thinking.budget_tokens: must be at least %d", minThinkingTokens)
		}
		return thinking.BudgetTokens, nil
	}
	return 0, apierror.Invalid("thinking.type", "thinking.type: must be enabled, disabled, adaptive or between_tools")
}

// nested is InvalidJSON for a value inside the body: it puts the outer field's
// name in front.
func nested(field string, err error) error {
	e := apierror.From(InvalidJSON(err))
	param := field
	if e.Param != "" {
		param += "." + e.Param
	}
	return &apierror.Error{Category: apierror.BadRequest, Param: param, Message: param + ": wrong type", Cause: err}
}
