package responsesapi

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// What the API's reference and the contract state of a request's fields.
const (
	defaultMaxTokens = 4_096
	maxTemperature   = 2
	maxUserID        = 256 // of the Messages API's metadata.user_id
	maxMetadata      = 16  // pairs
	// minThinkingBudget is the least that thinking.budget_tokens may be, and
	// minAnswer what is left for the answer beside it.
	minThinkingBudget = 1_024
	minAnswer         = 1_024
)

// request is a decoded request. Its slices share memory with the body.
type request struct {
	model, instructions  jsontext.Value
	previous             string // previous_response_id
	input                itemReader
	hasInput             bool
	maxTokens            int64
	sampling             protocol.Sampling
	tools                []tool
	choice               toolChoice
	parallel             *bool
	format               textFormat
	effort, summary      string
	user, safety         jsontext.Value
	store                *bool
	stream               bool
	encrypted            bool // include has reasoning.encrypted_content
	counting             bool // only the count of its tokens is asked for
	useCLI               *bool
	rawTools, rawMeta    jsontext.Value // to be echoed
	cacheKey, truncation jsontext.Value

	warnings []string
}

// stored says whether the response is to be kept.
func (c *request) stored() bool { return c.store == nil || *c.store }

func (c *request) warn(field, text string) {
	c.warnings = append(c.warnings, field+": "+text)
}

// The tables of a request. They are never changed.
var (
	reasoningObject = protocol.NewObject(openapi.Schema{Description: "How the model thinks."},
		func(c *request, s *protocol.Scanner, name string) error { return c.ignore(s, "reasoning."+name) },
		protocol.Field[request]{Name: "effort", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.String, Enum: protocol.Efforts()}), Read: oneOf(func(c *request) *string { return &c.effort }, protocol.Efforts()...)},
		protocol.Field[request]{Name: "summary", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.String, Enum: summaries()}), Read: oneOf(func(c *request) *string { return &c.summary }, summaries()...)},
		protocol.Field[request]{Name: "generate_summary", Schema: deprecated("The former name of summary."), Read: oneOf(func(c *request) *string { return &c.summary }, summaries()...)},
	)

	textObject = protocol.NewObject(openapi.Schema{Description: "What the answer's text looks like."},
		func(c *request, s *protocol.Scanner, name string) error { return c.ignore(s, "text."+name) },
		protocol.Field[request]{Name: "format", Schema: formatObject.Schema(), Read: func(c *request, s *protocol.Scanner) error { return c.format.read(c, s) }},
		protocol.Field[request]{Name: "verbosity", Schema: openapi.Text("Has no effect other than a warning unless it is `medium`."), Read: except[request]("text.verbosity", "medium")},
	)

	requestObject = protocol.NewObject(openapi.Schema{Name: "ResponseRequest", Description: "What can't be honoured is refused, or named in the header X-Claude-Warnings."},
		func(c *request, s *protocol.Scanner, name string) error { return c.ignore(s, name) },
		protocol.Field[request]{Name: "model", Schema: openapi.Text("haiku, sonnet, opus, auto, or a full model id."), Read: protocol.ReadText(func(c *request) *jsontext.Value { return &c.model })},
		protocol.Field[request]{Name: "input", Schema: &openapi.Schema{Description: "A message of the user's, or the items of a conversation.", AnyOf: []*openapi.Schema{openapi.Text(""), {Type: openapi.Array, Items: itemObject.Schema()}}}, Read: (*request).readInput},
		protocol.Field[request]{Name: "instructions", Schema: openapi.Nullable(openapi.Text("The system prompt. It isn't carried over to a later response.")), Read: protocol.ReadText(func(c *request) *jsontext.Value { return &c.instructions })},
		protocol.Field[request]{Name: "previous_response_id", Schema: openapi.Nullable(openapi.Text("A kept response whose conversation goes on. One that isn't known is refused with the code `previous_response_not_found`.")), Read: protocol.ReadString(func(c *request) *string { return &c.previous })},
		protocol.Field[request]{Name: "max_output_tokens", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Description: "Thinking counts. Without it an answer may have 4,096 tokens beside its thinking."}), Read: protocol.ReadCount(1, func(c *request) *int64 { return &c.maxTokens })},
		protocol.Field[request]{Name: "temperature", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Description: "From 0 to 2; above 1 is taken for 1."}), Read: protocol.ReadNumber(0, maxTemperature, func(c *request) **float64 { return &c.sampling.Temperature })},
		protocol.Field[request]{Name: "top_p", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Description: "From 0 to 1; not beside temperature."}), Read: protocol.ReadNumber(0, 1, func(c *request) **float64 { return &c.sampling.TopP })},
		protocol.Field[request]{Name: "stream", Schema: &openapi.Schema{Type: openapi.Boolean}, Read: protocol.ReadFlag(func(c *request) *bool { return &c.stream })},
		protocol.Field[request]{Name: "store", Schema: &openapi.Schema{Type: openapi.Boolean, Default: true, Description: "Keep the response, so that it can be asked for again and gone on from."}, Read: protocol.ReadBool(func(c *request) **bool { return &c.store })},
		protocol.Field[request]{Name: "tools", Schema: &openapi.Schema{Type: openapi.Array, Items: toolObject.Schema(), Description: "Functions. OpenAI's own tools are refused."}, Read: (*request).readTools},
		protocol.Field[request]{Name: "tool_choice", Schema: choiceSchema(), Read: func(c *request, s *protocol.Scanner) error { return c.choice.read(c, s) }},
		protocol.Field[request]{Name: "parallel_tool_calls", Schema: &openapi.Schema{Type: openapi.Boolean, Default: true}, Read: protocol.ReadBool(func(c *request) **bool { return &c.parallel })},
		protocol.Field[request]{Name: "text", Schema: textObject.Schema(), Read: object(textObject)},
		protocol.Field[request]{Name: "reasoning", Schema: reasoningObject.Schema(), Read: object(reasoningObject)},
		protocol.Field[request]{Name: "include", Schema: &openapi.Schema{Type: openapi.Array, Items: openapi.Text(""), Description: "`reasoning.encrypted_content`; others have no effect other than a warning."}, Read: (*request).readInclude},
		protocol.Field[request]{Name: "metadata", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Object}), Read: (*request).readMetadata},
		protocol.Field[request]{Name: "user", Schema: deprecated("Use safety_identifier."), Read: protocol.ReadText(func(c *request) *jsontext.Value { return &c.user })},
		protocol.Field[request]{Name: "safety_identifier", Schema: openapi.Text("Identifies the end user to the upstream."), Read: protocol.ReadText(func(c *request) *jsontext.Value { return &c.safety })},
		protocol.Field[request]{Name: "prompt_cache_key", Schema: openapi.Text("Has no effect: prompts are cached by their beginning."), Read: protocol.ReadText(func(c *request) *jsontext.Value { return &c.cacheKey })},
		protocol.Field[request]{Name: "truncation", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"auto", "disabled"}, Default: "disabled", Description: "auto has no effect other than a warning."}, Read: (*request).readTruncation},
		protocol.Field[request]{Name: "service_tier", Schema: openapi.Text("Has no effect other than a warning unless it is `auto` or `default`."), Read: except[request]("service_tier", "auto", "default")},
		protocol.Field[request]{Name: "stream_options", Schema: &openapi.Schema{Type: openapi.Object, Description: "include_obfuscation has no effect other than a warning."}, Read: (*request).readStreamOptions},
		protocol.Field[request]{Name: "max_tool_calls", Schema: text0("It limits OpenAI's own tools: no effect other than a warning."), Read: ineffective("max_tool_calls")},
		protocol.Field[request]{Name: "use_cli", Schema: &openapi.Schema{Type: openapi.Boolean, Description: "This service's own: true for the CLI, false for the direct API."}, Read: protocol.ReadBool(func(c *request) **bool { return &c.useCLI })},
		protocol.Field[request]{Name: "background", Schema: refused("Responses in the background", openapi.Boolean), Read: refuse("responses in the background aren't supported")},
		protocol.Field[request]{Name: "conversation", Schema: refused("Conversations"), Read: refuse("conversations aren't supported; previous_response_id is")},
		protocol.Field[request]{Name: "prompt", Schema: refused("Prompt templates"), Read: refuse("prompt templates aren't supported")},
		protocol.Field[request]{Name: "top_logprobs", Schema: refused("Log probabilities", openapi.Integer), Read: refuse("log probabilities aren't supported")},
	)
)

func summaries() []string { return []string{"auto", "concise", "detailed"} }

// decode reads a request. What would change the answer's shape is refused; what
// the Messages API has no place for is named in the warnings. An error is an
// apierror.Error.
func (c *request) decode(s *protocol.Scanner) error {
	if err := requestObject.Document(s, c); err != nil {
		return err
	}
	for _, name := range c.input.dropped {
		text := "has no effect here"
		if name == "input.reasoning" {
			text = "items without this service's encrypted_content are left out"
		}
		c.warn(name, text)
	}
	if c.choice.mode == "allowed_tools" {
		return c.allow()
	}
	return nil
}

// firstItems is how many items an input has room for before it grows.
const firstItems = 8

func (c *request) readInput(s *protocol.Scanner) error {
	r := &c.input
	switch s.Kind() {
	case 'n':
		return s.Skip()
	case '"':
		c.hasInput = true
		return r.readText(s)
	}
	c.hasInput = true
	r.arena, r.items = make([]byte, 0, s.Len()+s.Len()/4), make([]item, 0, firstItems)
	return s.Array(func(int) error { return r.read(s) })
}

// fillable are the members that have a default. It is never changed.
var fillable = [...]string{"max_tokens"}

// translate writes the Messages request of a conversation for a model with these
// rules. filled names the members that the caller didn't give. An error is an
// apierror.Error.
func (c *request) translate(talk *conversation, rules *message.Rules) (r *message.Request, filled []string, err error) {
	dst := append(make([]byte, 0, len(talk.turns)+len(talk.system)+1_024), '{')
	if c.model != nil {
		dst = append(append(append(dst, `"model":`...), c.model...), ',')
	}
	choice := c.forced(rules)
	think := c.think(talk, rules, choice)
	maxTokens := c.maxTokens
	if maxTokens == 0 {
		filled = fillable[:]
		maxTokens = defaultMaxTokens + think.Room
		if most := int64(rules.MaxOutputTokens); most > 0 {
			maxTokens = min(maxTokens, most)
		}
	}
	dst = think.Append(dst)
	if !c.counting { // what doesn't change the count isn't taken there
		dst = append(strconv.AppendInt(append(dst, `"max_tokens":`...), maxTokens, 10), ',')
		dst = c.sampling.Append(dst, rules, think.On(), c.warn)
		if c.stream {
			dst = append(dst, `"stream":true,`...)
		}
		dst = c.appendUser(dst)
	}
	format, err := c.format.Member(rules, func(text jsontext.Value) { talk.addSystem(protocol.Inner(text)) }, c.warn)
	if err != nil {
		return nil, nil, err
	}
	dst = protocol.AppendOutputConfig(dst, think.Effort, format)
	if dst, err = c.appendTools(dst, choice, rules); err != nil {
		return nil, nil, err
	}
	r, err = message.ParseRequest(append(talk.append(dst), '}'))
	return r, filled, err
}

// think says how the model is to think, and warns of what can't be.
func (c *request) think(talk *conversation, rules *message.Rules, choice string) protocol.Thinking {
	off := ""
	switch {
	case choice == "any" || choice == "tool":
		off = "is off where tool_choice forces a function"
	case talk.role == message.RoleUser && talk.calls && !talk.thinks:
		off = "is off in an answer to results whose calls came without the thinking that led to them"
	case c.maxTokens > 0 && c.maxTokens < minThinkingBudget+minAnswer && !rules.TakesThinking(message.ThinkingAdaptive):
		off = "is off where max_output_tokens leaves no room for it"
	}
	think := protocol.Think(c.effort, rules, off)
	if think.Warning != "" {
		c.warn("reasoning.effort", think.Warning)
	}
	if c.maxTokens > 0 && think.Budget > 0 {
		think.Budget = min(think.Budget, c.maxTokens-minAnswer)
	}
	if c.summary != "" {
		if think.On() {
			think.Display = "summarized"
		} else if c.effort != "" && c.effort != "none" {
			c.warn("reasoning.summary", "there is no thinking to show")
		}
	}
	return think
}

func (c *request) appendUser(dst []byte) []byte {
	user, field := c.safety, "safety_identifier"
	if user == nil {
		user, field = c.user, "user"
	}
	switch text := protocol.Unquote(user); {
	case len(text) > maxUserID:
		c.warn(field, "is longer than "+strconv.Itoa(maxUserID)+" bytes and isn't sent on")
	case text != "":
		dst = append(append(append(dst, `"metadata":{"user_id":`...), user...), "},"...)
	}
	return dst
}

// join makes the conversation of earlier items and the request's own.
func (c *request) join(former []item, own []item) (talk conversation, err error) {
	if len(former) == 0 {
		const turn = len(`,{"role":"assistant","content":[]}`)
		talk.turns = make([]byte, 0, len(c.input.arena)+turn*len(own))
	}
	talk.addSystem(protocol.Inner(c.instructions))
	for _, items := range [...][]item{former, own} {
		for i := range items {
			talk.add(&items[i])
		}
	}
	if len(talk.turns) == 0 || talk.begin == 0 && !talk.spoke {
		return talk, apierror.Invalid("input", "input: at least one item that isn't the system's is required")
	}
	return talk, nil
}
