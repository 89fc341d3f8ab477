package streamapi

import (
	"cmp"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// The types of a client's messages.
const (
	typeChat    = "chat"
	typeCancel  = "cancel"
	typePing    = "ping"
	typeAuth    = "auth"
	typeAgentic = "agentic_task"
	// typeApproval answers a task that asks.
	typeApproval = "approval"
)

const (
	defaultMaxTokens = 4_096 // as on the chat completions endpoint
	maxTemperature   = 2     // OpenAI's; the Messages API takes at most 1
	maxStops         = 4     // OpenAI's
	maxID            = 128
	maxUnknown       = 16        // unknown members that are named
	maxName          = 64        // bytes of such a name
	minBudget        = 1_024     // the Messages API's least budget_tokens
	defaultProject   = "default" // what clients send that have none
)

// incoming is a decoded message of a client. Its slices share memory with it.
type incoming struct {
	kind, id, key string

	// Of a chat.
	model, system jsontext.Value
	projectID     string
	maxTokens     int64
	temperature   *float64
	useCLI        *bool
	stops         []jsontext.Value
	thinking      thinking
	transcript    protocol.Transcript
	hasMessages   bool
	tools         bool

	// Of a task; it has the chat's model and system.
	task     task.Request
	misnamed error // a member that would have narrowed the task's rights by another name
	// Of an answer to a task's question.
	question int64
	approval task.Approval

	unknown  int
	warnings []string
}

// thinking is the Messages API's own member, which passes as it is.
type thinking struct {
	value  jsontext.Value // nil: absent
	kind   string
	budget int64
}

func (t *thinking) asked() bool {
	return t.kind == message.ThinkingAdaptive || t.kind == message.ThinkingEnabled
}

// incomingTable is the table of a message's members, of all types.
func incomingTable() *protocol.Object[incoming] {
	thinkingObject := protocol.NewObject(
		openapi.Schema{Name: "StreamThinkingRequest", Description: "As in the Messages API, and passed on as it is, as far as the model takes it. Absent: no thinking, or as little as the model can do."}, nil,
		protocol.Field[thinking]{Name: "type", Required: true, Schema: openapi.Text("enabled with budget_tokens, adaptive, disabled"), Read: protocol.ReadString(func(t *thinking) *string { return &t.kind })},
		protocol.Field[thinking]{Name: "budget_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: minBudget}, Read: protocol.ReadCount(minBudget, func(t *thinking) *int64 { return &t.budget })},
	)
	return protocol.NewObject(
		openapi.Schema{Name: "StreamClientMessage", Description: "A client's message. The members below api_key belong to `chat`, those from description on to `agentic_task`, which has model and system too, and those from n on to `approval`. A chat's unknown members are named in the warnings of its `done`, a task's in `warning`."},
		func(m *incoming, s *protocol.Scanner, name string) error {
			if s.Kind() != 'n' {
				m.warnUnknown(name)
			}
			m.misnamed = cmp.Or(m.misnamed, task.Misnamed(name))
			return s.Skip()
		},
		append([]protocol.Field[incoming]{{
			Name: "type", Required: true,
			Schema: &openapi.Schema{Type: openapi.String, Enum: []string{typeChat, typeCancel, typePing, typeAuth, typeAgentic, typeApproval}},
			Read:   protocol.ReadString(func(m *incoming) *string { return &m.kind }),
		},
			{
				Name: "id", Schema: &openapi.Schema{Type: openapi.String, MaxLength: maxID, Description: "Chosen by the client and repeated in all messages that answer this one."},
				Read: readID,
			},
			{
				Name: "api_key", Schema: openapi.Text("The key, where the upgrade brought none."),
				Read: protocol.ReadString(func(m *incoming) *string { return &m.key }),
			},
			{
				Name: "model", Schema: openapi.Text("haiku, sonnet, opus, auto or a full model id. Absent: auto."),
				Read: protocol.ReadText(func(m *incoming) *jsontext.Value { return &m.model }),
			},
			{
				Name: "messages", Read: readMessages,
				Schema: &openapi.Schema{
					Type: openapi.Array, Items: protocol.MessageSchema(),
					Description: "The conversation. Content blocks of the Messages API pass too. Required in a chat.",
				},
			},
			{
				Name: "system", Schema: openapi.Text("A system prompt, in front of the system messages."),
				Read: protocol.ReadText(func(m *incoming) *jsontext.Value { return &m.system }),
			},
			{
				Name: "max_tokens", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Default: defaultMaxTokens},
				Read: protocol.ReadCount(1, func(m *incoming) *int64 { return &m.maxTokens }),
			},
			{
				Name: "temperature", Schema: &openapi.Schema{Type: openapi.Number, Minimum: 0, Maximum: maxTemperature, Description: "Above 1 it is set to 1, with a warning."},
				Read: protocol.ReadNumber(0, maxTemperature, func(m *incoming) **float64 { return &m.temperature }),
			},
			{
				Name: "stop", Read: readStop,
				Schema: &openapi.Schema{
					Description: "Texts at which the answer ends.",
					AnyOf:       []*openapi.Schema{{Type: openapi.String}, {Type: openapi.Array, MaxItems: maxStops, Items: &openapi.Schema{Type: openapi.String}}},
				},
			},
			{
				Name: "thinking", Schema: thinkingObject.Schema(),
				Read: func(m *incoming, s *protocol.Scanner) error { return m.thinking.read(s, thinkingObject) },
			},
			{
				Name: "use_cli", Schema: &openapi.Schema{Type: openapi.Boolean, Description: "true asks for the CLI, false for the direct API, absent for the configured default."},
				Read: protocol.ReadBool(func(m *incoming) **bool { return &m.useCLI }),
			},
			{
				Name: "project_id", Schema: openapi.Text("Has no effect: the key's project is billed."),
				Read: protocol.ReadString(func(m *incoming) *string { return &m.projectID }),
			},
			{
				Name: "stream", Schema: &openapi.Schema{Type: openapi.Boolean, Description: "Answers are always streamed."},
				Read: func(m *incoming, s *protocol.Scanner) error {
					stream, err := s.Bool()
					if stream != nil && !*stream {
						m.warn("stream", "answers are always streamed here")
					}
					return err
				},
			},
			{
				Name: "tools", Schema: &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{Type: openapi.Object}, Description: "Isn't available on this endpoint."},
				Read: readTools,
			},
		}, taskFields()...)...,
	)
}

// taskFields are the members of tasks and of answers to them which a chat doesn't have.
func taskFields() []protocol.Field[incoming] {
	var fields []protocol.Field[incoming]
	for _, f := range task.Fields(func(m *incoming) *task.Request { return &m.task }) {
		if f.Name == "model" || f.Name == "system" {
			continue
		}
		f.Required = false // of a message of another type
		fields = append(fields, f)
	}
	return append(
		fields,
		protocol.Field[incoming]{Name: "n", Schema: &openapi.Schema{Type: openapi.Integer, Minimum: 1, Description: "The question's number."}, Read: protocol.ReadCount(1, func(m *incoming) *int64 { return &m.question })},
		protocol.Field[incoming]{Name: "decision", Schema: openapi.Words(task.Allow, task.Deny), Read: protocol.ReadString(func(m *incoming) *string { return &m.approval.Decision })},
		protocol.Field[incoming]{Name: "reason", Schema: openapi.Text("What the model is told of a refusal."), Read: protocol.ReadString(func(m *incoming) *string { return &m.approval.Reason })},
		protocol.Field[incoming]{Name: "input", Schema: &openapi.Schema{Type: openapi.Object, Description: "The tool's input, in place of the model's."}, Read: func(m *incoming, s *protocol.Scanner) error {
			value, err := s.ObjectValue()
			m.approval.Input = value
			return err
		}},
	)
}

func (m *incoming) warn(field, text string) { m.warnings = append(m.warnings, field+": "+text) }

// warnUnknown names a member that isn't in the table, in bounds.
func (m *incoming) warnUnknown(name string) {
	m.unknown++
	if m.unknown <= maxUnknown {
		m.warn(name[:min(len(name), maxName)], "has no effect here")
	}
}

func readID(m *incoming, s *protocol.Scanner) error {
	value, err := s.Text()
	id := protocol.Unquote(value)
	if err == nil && len(id) > maxID {
		return s.Invalid("", "must be at most "+strconv.Itoa(maxID)+" bytes long")
	}
	m.id = id
	return err
}

func readMessages(m *incoming, s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	m.hasMessages, m.transcript.Blocks = true, true
	m.transcript.Grow(s.Len())
	return m.transcript.Read(s)
}

func readStop(m *incoming, s *protocol.Scanner) error {
	one := func(int) error {
		stop, err := s.Text()
		if stop != nil {
			m.stops = append(m.stops, stop)
		}
		return err
	}
	if s.Kind() != '[' {
		return one(0)
	}
	if err := s.Array(one); err != nil {
		return err
	}
	if len(m.stops) > maxStops {
		return s.Invalid("", "at most "+strconv.Itoa(maxStops)+" strings are allowed")
	}
	return nil
}

func (t *thinking) read(s *protocol.Scanner, object *protocol.Object[thinking]) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	start := s.Offset()
	if err := object.Read(s, t); err != nil {
		return err
	}
	t.value = s.Since(start)
	return nil
}

func readTools(m *incoming, s *protocol.Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error {
		m.tools = true
		return s.Skip()
	})
}

// decode reads a message. What came before an error is there also beside it. An
// error is an apierror.Error.
func (h *Handler) decode(text []byte) (*incoming, error) {
	m := &incoming{}
	if err := protocol.Shallow(text); err != nil {
		return m, err
	}
	scanner := h.scanners.Get(text)
	defer h.scanners.Put(scanner)
	return m, h.table.Document(scanner, m)
}

// translate writes the Messages request of a chat for a model with these rules.
// sizeHint is the message's size. An error is an apierror.Error.
func (m *incoming) translate(rules *message.Rules, sizeHint int) (*message.Request, error) {
	switch {
	case m.tools:
		return nil, &apierror.Error{
			Category: apierror.BadRequest, Code: apierror.CodeNotImplemented, Param: "tools",
			Message: "tools: a client's tools aren't available on this endpoint",
		}
	case !m.hasMessages:
		return nil, apierror.Invalid("messages", "messages: field required")
	case m.transcript.Empty():
		return nil, apierror.Invalid("messages", "messages: at least one message that isn't the system's is required")
	}
	if more := m.unknown - maxUnknown; more > 0 {
		m.warnings = append(m.warnings, strconv.Itoa(more)+" more unknown members")
	}
	for _, name := range m.transcript.Ignored {
		m.warn("messages."+name, "has no effect here")
	}
	dst := append(make([]byte, 0, sizeHint+256), `{"stream":true,`...)
	if m.model != nil {
		dst = append(append(append(dst, `"model":`...), m.model...), ',')
	}
	room := m.thinking.budget
	if m.thinking.value != nil {
		dst = append(append(append(dst, `"thinking":`...), m.thinking.value...), ',')
		if m.thinking.kind == message.ThinkingAdaptive {
			room = protocol.Think("high", rules, "").Room // the API's own default effort
		}
	} else {
		least := protocol.Think("", rules, "")
		dst, room = least.Append(dst), least.Room
	}
	dst = append(strconv.AppendInt(append(dst, `"max_tokens":`...), m.limit(rules, room), 10), ',')
	dst = protocol.Sampling{Temperature: m.temperature}.Append(dst, rules, m.thinking.asked(), m.warn)
	if len(m.stops) > 0 {
		dst = append(dst, `"stop_sequences":[`...)
		for i, stop := range m.stops {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, stop...)
		}
		dst = append(dst, "],"...)
	}
	m.transcript.PrependSystem(m.system)
	return message.ParseRequest(append(m.transcript.Append(dst), '}'))
}

// limit gives max_tokens. What the client says stands, as far as the model goes;
// the default leaves room for thinking, which counts too.
func (m *incoming) limit(rules *message.Rules, room int64) int64 {
	n := m.maxTokens
	if n == 0 {
		n = defaultMaxTokens + room
	}
	if most := int64(rules.MaxOutputTokens); most > 0 && n > most {
		if m.maxTokens > 0 {
			m.warn("max_tokens", "the model writes at most "+strconv.FormatInt(most, 10)+" tokens")
		}
		return most
	}
	return n
}
