package processapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// The contract's defaults.
const (
	defaultMaxTokens   = 1_000
	defaultTemperature = 0.7
	defaultProject     = "default" // what clients send that have none
)

// maxTemperature is OpenAI's; the Messages API takes at most 1.
const maxTemperature = 2

// maxTimeout is the longest timeout that a request may ask for, in seconds: a
// day, which no answer needs.
const maxTimeout = 86_400

// processRequest is a decoded request. Its slices share memory with the body.
type processRequest struct {
	provider, model, projectID string
	useCLI                     *bool
	async, stream              bool
	timeout                    *float64 // seconds
	work                       protocol.Work

	messages protocol.Transcript // the array
	simple   protocol.Transcript // user_message
	loose    protocol.Transcript // content
	system   jsontext.Value      // system_message
	media    []byte              // content blocks, separated by commas

	generation
	tools  tools
	format protocol.OutputFormat

	warnings
}

// processObject is the table of a request's members. It is never changed.
var processObject = protocol.NewObject(
	openapi.Schema{Name: "ProcessRequest", Description: "The words come as `messages`, or as `user_message` with `system_message`, or as `content`."},
	func(p *processRequest, s *protocol.Scanner, name string) error { return p.unknown(s, name) },
	protocol.Field[processRequest]{Name: "provider", Required: true, Schema: openapi.Text("Any name; it is given back. It doesn't choose the backend: see use_cli."), Read: protocol.ReadString(func(p *processRequest) *string { return &p.provider })},
	protocol.Field[processRequest]{Name: "model_name", Required: true, Schema: openapi.Text("haiku, sonnet, opus, auto, a full id that begins with claude, or another vendor's name, for which a model of ours stands in."), Read: protocol.ReadString(func(p *processRequest) *string { return &p.model })},
	protocol.Field[processRequest]{Name: "messages", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Array, Items: protocol.MessageSchema()}), Read: func(p *processRequest, s *protocol.Scanner) error {
		if s.Kind() == 'n' {
			return s.Skip()
		}
		p.messages.Grow(s.Len())
		return p.messages.Read(s)
	}},
	protocol.Field[processRequest]{Name: "system_message", Schema: openapi.Nullable(openapi.Text("Stands in front of the system messages.")), Read: protocol.ReadText(func(p *processRequest) *jsontext.Value { return &p.system })},
	protocol.Field[processRequest]{Name: "user_message", Schema: wordsSchema("Used where there are no messages but the system's."), Read: func(p *processRequest, s *protocol.Scanner) error { return p.simple.ReadUser(s) }},
	protocol.Field[processRequest]{Name: "content", Schema: wordsSchema("Used where there is neither a message nor a user_message."), Read: func(p *processRequest, s *protocol.Scanner) error { return p.loose.ReadUser(s) }},
	protocol.Field[processRequest]{Name: "media_content", Schema: mediaSchema(), Read: (*processRequest).readMedia},
	protocol.Field[processRequest]{Name: "max_tokens", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: 1, Default: defaultMaxTokens}), Read: protocol.ReadCount(1, func(p *processRequest) *int64 { return &p.maxTokens })},
	protocol.Field[processRequest]{Name: "temperature", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTemperature, Default: defaultTemperature, Description: "More than 1 counts as 1. Left out for models that take none, with a warning where it was given."}), Read: protocol.ReadNumber(0, maxTemperature, func(p *processRequest) **float64 { return &p.temperature })},
	protocol.Field[processRequest]{Name: "tools", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Array, Items: toolSchema()}), Read: (*processRequest).readTools},
	protocol.Field[processRequest]{Name: "tool_choice", Schema: toolChoiceSchema(), Read: (*processRequest).readToolChoice},
	protocol.Field[processRequest]{Name: "parallel_tool_calls", Schema: openapi.Nullable(openapi.Flag("false lets the model call one tool at a time.")), Read: func(p *processRequest, s *protocol.Scanner) error {
		parallel, err := s.Bool()
		p.tools.serial = parallel != nil && !*parallel
		return err
	}},
	protocol.Field[processRequest]{Name: "output_schema", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Object, Description: "A JSON schema; `content` is then a JSON text that fits it."}), Read: (*processRequest).readSchema},
	protocol.Field[processRequest]{Name: "response_format", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Object, Description: "As in the Chat Completions API: of the type `text`, `json_object` or `json_schema`. A Markdown code fence around the JSON is taken off."}), Read: (*processRequest).readFormat},
	protocol.Field[processRequest]{Name: "async_processing", Schema: openapi.Nullable(openapi.Flag("Answers 202 with an id at once; GET /v1/process/{id} gives the answer.")), Read: protocol.ReadFlag(func(p *processRequest) *bool { return &p.async })},
	protocol.Field[processRequest]{Name: "stream", Schema: openapi.Nullable(openapi.Flag("The same as in additional_params.")), Read: (*processRequest).readStream},
	protocol.Field[processRequest]{Name: "timeout", Schema: timeoutSchema(), Read: protocol.ReadNumber(0, maxTimeout, func(p *processRequest) **float64 { return &p.timeout })},
	protocol.Field[processRequest]{Name: "additional_params", Schema: openapi.Nullable(paramsObject.Schema()), Read: func(p *processRequest, s *protocol.Scanner) error {
		if s.Kind() == 'n' {
			return s.Skip()
		}
		return paramsObject.Read(s, p)
	}},
	protocol.Field[processRequest]{Name: "memory", Schema: ignored(), Read: noEffect("memory")},
	protocol.Field[processRequest]{Name: "allowed_tools", Schema: protocol.WorkTools(), Read: func(p *processRequest, s *protocol.Scanner) error { return p.work.ReadTools(s) }},
	protocol.Field[processRequest]{Name: "session_id", Schema: protocol.WorkSession(), Read: func(p *processRequest, s *protocol.Scanner) error { return p.work.ReadSession(s) }},
	protocol.Field[processRequest]{Name: "working_directory", Schema: protocol.WorkDirectory(), Read: func(p *processRequest, s *protocol.Scanner) error { return p.work.ReadDirectory(s) }},
	protocol.Field[processRequest]{Name: "use_cli", Schema: useCLISchema(), Read: protocol.ReadBool(func(p *processRequest) **bool { return &p.useCLI })},
	protocol.Field[processRequest]{Name: "project_id", Schema: projectSchema(), Read: protocol.ReadString(func(p *processRequest) *string { return &p.projectID })},
)

// paramsObject is the table of additional_params. It is never changed.
var paramsObject = protocol.NewObject(
	openapi.Schema{Name: "ProcessParams", Description: "Further parameters. Those that have no place here are named in the warnings."},
	func(p *processRequest, s *protocol.Scanner, name string) error {
		return p.unknown(s, "additional_params."+name)
	},
	protocol.Field[processRequest]{Name: "stream", Schema: openapi.Nullable(openapi.Flag("Answers with server-sent events: token, thinking, tool_use, and at last done or error.")), Read: (*processRequest).readStream},
	protocol.Field[processRequest]{Name: "timeout", Schema: timeoutSchema(), Read: protocol.ReadNumber(0, maxTimeout, func(p *processRequest) **float64 { return &p.timeout })},
	protocol.Field[processRequest]{Name: "top_p", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: 1}), Read: protocol.ReadNumber(0, 1, func(p *processRequest) **float64 { return &p.topP })},
	protocol.Field[processRequest]{Name: "top_k", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: 1}), Read: protocol.ReadCount(1, func(p *processRequest) *int64 { return &p.topK })},
	protocol.Field[processRequest]{Name: "stop", Schema: stopSchema(), Read: (*processRequest).readStops},
	protocol.Field[processRequest]{Name: "stop_sequences", Schema: stopSchema(), Read: (*processRequest).readStops},
	protocol.Field[processRequest]{Name: "thinking", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Object, Description: "The Messages API's own, as far as the model takes it."}), Read: (*processRequest).readThinking},
	protocol.Field[processRequest]{Name: "reasoning_effort", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.String, Enum: protocol.Efforts()}), Read: (*processRequest).readEffort},
	protocol.Field[processRequest]{Name: "user", Schema: openapi.Nullable(openapi.Text("Sent on as metadata.user_id.")), Read: protocol.ReadText(func(p *processRequest) *jsontext.Value { return &p.user })},
)

// decode reads a request. An error is an apierror.Error.
func decode(s *protocol.Scanner) (*processRequest, error) {
	p := &processRequest{}
	p.messages.Blocks, p.simple.Blocks, p.loose.Blocks = true, true, true
	if err := processObject.Document(s, p); err != nil {
		return nil, err
	}
	switch {
	case p.provider == "":
		return nil, s.Invalid("provider", "field required")
	case p.model == "":
		return nil, s.Invalid("model_name", "field required")
	case p.messages.Empty() && p.simple.Empty() && p.loose.Empty():
		return nil, apierror.Invalid("messages", "No messages provided")
	case p.stream && p.async:
		return nil, apierror.Invalid("async_processing", "async_processing: can't be used together with stream")
	}
	return p, nil
}

// words gives the conversation and names what of the request it leaves out.
// messages win over user_message, and that over content; system_message goes in
// front of the system messages.
func (p *processRequest) words() *protocol.Transcript {
	words, name := &p.messages, "messages"
	if words.Empty() {
		words, name = &p.simple, "user_message"
	}
	if words.Empty() {
		words, name = &p.loose, "content"
	}
	if name == "messages" && !p.simple.Empty() {
		p.warn("user_message", "isn't used beside "+name)
	}
	if name != "content" && !p.loose.Empty() {
		p.warn("content", "isn't used beside "+name)
	}
	if words != &p.messages {
		words.PrependSystemOf(&p.messages)
	}
	if p.system != nil {
		words.PrependSystem(p.system)
	}
	for _, ignored := range words.Ignored {
		p.warn(name+": "+ignored, "has no effect here")
	}
	return words
}

func (p *processRequest) readStream(s *protocol.Scanner) error {
	stream, err := s.Bool()
	p.stream = p.stream || stream != nil && *stream
	return err
}

// unknown reads past a member that has no place here. One that asks for nothing
// isn't worth a warning.
func (p *processRequest) unknown(s *protocol.Scanner, name string) error {
	value, err := s.Value()
	if err == nil && !protocol.AsksNothing(value) {
		p.warn(name, "has no effect here")
	}
	return err
}

// noEffect makes a Field's Read for a member that is known and can't be
// honoured.
func noEffect(name string) func(*processRequest, *protocol.Scanner) error {
	return func(p *processRequest, s *protocol.Scanner) error { return p.unknown(s, name) }
}

// warnings name what of a request can't be honoured.
type warnings []string

// maxWarnings bounds them: a request may have any number of members that have no
// place here.
const maxWarnings = 32

func (w *warnings) warn(field, text string) {
	switch n := len(*w); {
	case n < maxWarnings:
		*w = append(*w, field+": "+text)
	case n == maxWarnings:
		*w = append(*w, "and more")
	}
}
