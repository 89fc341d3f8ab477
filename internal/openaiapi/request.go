package openaiapi

import (
	"bytes"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// What the API's reference and the contract state of a request's fields.
const (
	defaultMaxTokens = 4_096
	maxTemperature   = 2
	maxStops         = 4
	maxUserID        = 256            // of the Messages API's metadata.user_id
	maxTimeout       = 24 * time.Hour // beyond that a deadline says nothing
	maxUnknown       = 8              // how many unknown members are named
)

// chatRequest is a decoded request. Its slices share memory with the body.
type chatRequest struct {
	model, user, safetyID    jsontext.Value
	effort                   string
	thinking                 rawThinking
	maxTokens, maxCompletion int64
	temperature, topP        *float64
	topK                     int64
	stops                    []jsontext.Value
	stream, includeUsage     bool
	useCLI                   *bool
	projectID                string
	timeout                  *float64 // seconds
	work                     protocol.Work

	transcript protocol.Transcript
	tools      []tool
	choice     toolChoice
	serial     bool // parallel_tool_calls is false
	format     responseFormat
	rules      message.Rules // what the model takes

	unknown  int // how many unknown members there were
	warnings []string
}

// requestObject is the table of a request. It is never changed.
var requestObject = protocol.NewObject(openapi.Schema{Name: "ChatRequest", Description: "A request of the Chat Completions API. Null is as good as absent in every optional member. What is read past is named in `X-Claude-Warnings`."},
	readUnknown, requestFields()...)

func requestFields() []protocol.Field[chatRequest] {
	type field = protocol.Field[chatRequest]
	fields := []field{
		{Name: "messages", Required: true, Schema: &openapi.Schema{Type: openapi.Array, Items: protocol.MessageSchema(), Description: "At least one must not be the system's."}, Read: func(c *chatRequest, s *protocol.Scanner) error {
			c.transcript.Grow(s.Len())
			return c.transcript.Read(s)
		}},
		{Name: "model", Schema: openapi.Text("`haiku`, `sonnet`, `opus`, `auto`, a full id that begins with claude, or a name that the operator configured. Absent: `auto`."), Read: protocol.ReadText(func(c *chatRequest) *jsontext.Value { return &c.model })},
		{Name: "max_completion_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Description: "The most that the answer may have, thinking included."}, Read: protocol.ReadCount(1, func(c *chatRequest) *int64 { return &c.maxCompletion })},
		{Name: "max_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Default: defaultMaxTokens, Deprecated: true, Description: "The most that the answer may have beside thinking. `max_completion_tokens` wins."}, Read: protocol.ReadCount(1, func(c *chatRequest) *int64 { return &c.maxTokens })},
		{Name: "temperature", Schema: &openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTemperature, Default: 1, Description: "Above 1 it is 1. Left out, with a warning, where the model doesn't take it."}, Read: protocol.ReadNumber(0, maxTemperature, func(c *chatRequest) **float64 { return &c.temperature })},
		{Name: "top_p", Schema: &openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: 1, Default: 1, Description: "Left out, with a warning, beside a temperature and where the model doesn't take it."}, Read: protocol.ReadNumber(0, 1, func(c *chatRequest) **float64 { return &c.topP })},
		{Name: "top_k", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: -1, Description: "The Messages API's own. Up to 0: none."}, Read: protocol.ReadCount(-1, func(c *chatRequest) *int64 { return &c.topK })},
		{Name: "stop", Schema: &openapi.Schema{AnyOf: []*openapi.Schema{openapi.Text(""), {Type: openapi.Array, Items: openapi.Text(""), MaxItems: maxStops}}}, Read: (*chatRequest).readStop},
		{Name: "stream", Schema: openapi.Flag("Answers with server-sent events."), Read: protocol.ReadFlag(func(c *chatRequest) *bool { return &c.stream })},
		{Name: "stream_options", Schema: streamOptionsObject.Schema(), Read: func(c *chatRequest, s *protocol.Scanner) error {
			if s.Kind() == 'n' {
				return s.Skip()
			}
			return streamOptionsObject.Read(s, c)
		}},
		{Name: "tools", Schema: &openapi.Schema{Type: openapi.Array, Items: toolObject.Schema()}, Read: (*chatRequest).readTools},
		{Name: "tool_choice", Schema: choiceSchema(), Read: func(c *chatRequest, s *protocol.Scanner) error { return c.choice.read(s) }},
		{Name: "parallel_tool_calls", Schema: openapi.Flag("False: at most one call in an answer."), Read: func(c *chatRequest, s *protocol.Scanner) error {
			parallel, err := s.Bool()
			c.serial = parallel != nil && !*parallel
			return err
		}},
		{Name: "response_format", Schema: formatObject.Schema(), Read: (*chatRequest).readFormat},
		{Name: "reasoning_effort", Schema: &openapi.Schema{Type: openapi.String, Enum: protocol.Efforts(), Description: "Asks for thinking, which comes as `reasoning_content`."}, Read: (*chatRequest).readEffort},
		{Name: "thinking", Schema: thinkingObject.Schema(), Read: (*chatRequest).readThinking},
		{Name: "user", Schema: openapi.Text("Sent on as `metadata.user_id`."), Read: protocol.ReadText(func(c *chatRequest) *jsontext.Value { return &c.user })},
		{Name: "safety_identifier", Schema: openapi.Text("Sent on as `metadata.user_id`; wins over `user`."), Read: protocol.ReadText(func(c *chatRequest) *jsontext.Value { return &c.safetyID })},
		{Name: "timeout", Schema: &openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: int(maxTimeout.Seconds()), Description: "This service's own: how many seconds the request may take; then it ends with 504. 0: no limit."}, Read: protocol.ReadNumber(0, maxTimeout.Seconds(), func(c *chatRequest) **float64 { return &c.timeout })},
		{Name: "use_cli", Schema: openapi.Flag("This service's own: true for the CLI, false for the direct path. The header `X-Claude-Backend` wins."), Read: protocol.ReadBool(func(c *chatRequest) **bool { return &c.useCLI })},
		{Name: "project_id", Schema: openapi.Text("This service's own, for callers of its predecessor: the key's project is billed whatever it says."), Read: protocol.ReadString(func(c *chatRequest) *string { return &c.projectID })},
	}
	return append(fields, otherFields()...)
}

// decode reads a request. What would change the answer's shape is refused; what
// has no effect is named in the warnings. An error is an apierror.Error.
func decode(s *protocol.Scanner) (*chatRequest, error) {
	c := &chatRequest{}
	if err := requestObject.Document(s, c); err != nil {
		return nil, err
	}
	if c.transcript.Empty() {
		return nil, s.Invalid("messages", "at least one message that isn't the system's is required")
	}
	if more := c.unknown - maxUnknown; more > 0 {
		c.warnings = append(c.warnings, strconv.Itoa(more)+" more unknown members")
	}
	for _, name := range c.transcript.Ignored {
		c.warn("messages."+name, noEffect)
	}
	return c, nil
}

var streamOptionsObject = protocol.NewObject(openapi.Schema{Name: "ChatStreamOptions"},
	func(c *chatRequest, s *protocol.Scanner, name string) error {
		return readUnknown(c, s, "stream_options."+name)
	},
	protocol.Field[chatRequest]{Name: "include_usage", Schema: openapi.Flag("A last chunk tells the usage."), Read: protocol.ReadFlag(func(c *chatRequest) *bool { return &c.includeUsage })},
	protocol.Field[chatRequest]{Name: "include_obfuscation", Schema: openapi.Flag("Accepted; chunks aren't padded."), Read: func(_ *chatRequest, s *protocol.Scanner) error {
		_, err := s.Bool()
		return err
	}},
)

func (c *chatRequest) readStop(s *protocol.Scanner) error {
	if s.Kind() == '[' {
		n := 0
		err := s.Array(func(int) error {
			if n++; n > maxStops {
				return s.Skip()
			}
			return c.readOneStop(s)
		})
		if err == nil && n > maxStops {
			err = s.Invalid("", "at most "+strconv.Itoa(maxStops)+" strings are allowed")
		}
		return err
	}
	return c.readOneStop(s)
}

func (c *chatRequest) readOneStop(s *protocol.Scanner) error {
	stop, err := s.Text()
	if err != nil || stop == nil {
		return err
	}
	if len(bytes.TrimSpace([]byte(protocol.Unquote(stop)))) == 0 {
		// The Messages API refuses such a sequence.
		c.warn("stop", "a sequence of nothing but white space can't be used")
		return nil
	}
	c.stops = append(c.stops, stop)
	return nil
}

func (c *chatRequest) warn(field, text string) {
	c.warnings = append(c.warnings, field+": "+text)
}
