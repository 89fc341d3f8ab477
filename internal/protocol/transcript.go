package protocol

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// Transcript translates a conversation in the form of the Chat Completions API
// (roles system, developer, user, assistant and tool) into the Messages form.
// Texts keep their bytes; nothing is flattened. System and developer messages
// are joined by a blank line wherever they stand, because the Messages API has
// one system prompt. Results of tools that follow each other become one user
// message, as that API wants it. It isn't safe for concurrent use.
type Transcript struct {
	// Blocks lets content blocks of the Messages API through unchanged.
	Blocks bool

	system  []byte // the inside of a JSON string
	turns   []byte // the elements of the messages array
	results bool   // the last turn is a user message of tool results, still open
	calls   bool   // the last assistant message called tools
}

// chatMessage is one message while it is read. Its slices share memory with the
// document or with the Transcript's.
type chatMessage struct {
	role, callID, refusal jsontext.Value

	hasContent bool           // content is there and isn't null
	text       jsontext.Value // content, where it is a string
	parts      []jsontext.Value
	blocks     []byte // parts as content blocks
	blockCount int
	textOnly   bool
	calls      []byte // tool_calls as content blocks
}

// Grow makes room for so many bytes of messages.
func (t *Transcript) Grow(n int) { t.turns = slices.Grow(t.turns, n) }

// Read reads an array of messages.
func (t *Transcript) Read(s *Scanner) error {
	return s.Array(func(int) error {
		m := chatMessage{textOnly: true}
		if err := s.Object(func(name []byte) error { return m.read(s, name, t.Blocks) }); err != nil {
			return err
		}
		return t.add(s, &m)
	})
}

func (m *chatMessage) read(s *Scanner, name []byte, blocks bool) (err error) {
	switch string(name) {
	case "role":
		m.role, err = s.Text()
	case "content":
		err = m.readContent(s, blocks)
	case "tool_call_id":
		m.callID, err = s.Text()
	case "tool_calls":
		err = m.readToolCalls(s)
	case "refusal":
		m.refusal, err = s.Text()
	case "audio", "function_call":
		if s.Kind() != 'n' {
			return s.wrong("isn't supported")
		}
		err = s.Skip()
	default:
		err = s.Skip()
	}
	return err
}

// add appends the message that was just read.
func (t *Transcript) add(s *Scanner, m *chatMessage) error {
	role := string(Inner(m.role))
	if role == "tool" {
		return t.addResult(s, m)
	}
	if role != message.RoleAssistant && m.calls != nil {
		return s.Invalid("tool_calls", "only a message with the role assistant may call tools")
	}
	if role == message.RoleAssistant && !m.hasContent && m.refusal != nil {
		m.text, m.hasContent = m.refusal, true
	}
	if !m.hasContent && m.calls == nil {
		return s.Invalid("content", "field required")
	}
	switch role {
	case "system", "developer":
		if !m.textOnly {
			return s.Invalid("content", "only text is supported for the role "+role)
		}
		t.AddSystem(m.text)
		for _, part := range m.parts {
			t.AddSystem(part)
		}
	case message.RoleUser:
		t.open(role)
		t.turns = m.appendContent(t.turns)
		t.turns = append(t.turns, '}')
	case message.RoleAssistant:
		if !m.textOnly && !t.Blocks {
			return s.Invalid("content", "only text is supported for the role assistant")
		}
		t.calls = m.calls != nil
		t.open(role)
		t.turns = m.appendContent(t.turns)
		t.turns = append(t.turns, '}')
	default:
		return s.Invalid("role", "must be system, developer, user, assistant or tool")
	}
	return nil
}

// AddSystem adds a JSON string to the system prompt, nothing for nil.
func (t *Transcript) AddSystem(text jsontext.Value) {
	inner := Inner(text)
	if len(inner) == 0 {
		return
	}
	if len(t.system) > 0 {
		t.system = append(t.system, `\n\n`...)
	}
	t.system = append(t.system, inner...)
}

// System gives the system prompt as a JSON string, nil when there is none.
func (t *Transcript) System() jsontext.Value {
	if len(t.system) == 0 {
		return nil
	}
	return append(append([]byte{'"'}, t.system...), '"')
}

// PrependSystem puts a JSON string in front of the system prompt, nothing for
// nil.
func (t *Transcript) PrependSystem(text jsontext.Value) {
	rest := t.System()
	t.system = nil
	t.AddSystem(text)
	t.AddSystem(rest)
}

// ReadUser reads the content of a user message that stands outside of an array
// of messages: a string or an array of parts. Null and "" add nothing.
func (t *Transcript) ReadUser(s *Scanner) error {
	m := chatMessage{textOnly: true}
	if err := m.readContent(s, t.Blocks); err != nil {
		return err
	}
	if m.blocks == nil && len(Inner(m.text)) == 0 {
		return nil
	}
	t.open(message.RoleUser)
	t.turns = m.appendContent(t.turns)
	t.turns = append(t.turns, '}')
	return nil
}

func (t *Transcript) addResult(s *Scanner, m *chatMessage) error {
	if len(Inner(m.callID)) == 0 {
		return s.Invalid("tool_call_id", "field required")
	}
	if m.calls != nil {
		return s.Invalid("tool_calls", "only a message with the role assistant may call tools")
	}
	if t.results {
		t.turns = append(t.turns, ',')
	} else {
		t.open(message.RoleUser)
		t.turns = append(t.turns, `,"content":[`...)
		t.results = true
	}
	t.turns = append(append(t.turns, `{"type":"tool_result","tool_use_id":`...), m.callID...)
	if m.hasContent {
		t.turns = m.appendContent(t.turns)
	}
	t.turns = append(t.turns, '}')
	return nil
}

// open begins a turn behind the former one.
func (t *Transcript) open(role string) {
	t.closeResults()
	if len(t.turns) > 0 {
		t.turns = append(t.turns, ',')
	}
	t.turns = append(append(append(t.turns, `{"role":"`...), role...), '"')
}

func (t *Transcript) closeResults() {
	if t.results {
		t.turns = append(t.turns, "]}"...)
		t.results = false
	}
}

// appendContent appends the member content with the comma before it.
func (m *chatMessage) appendContent(dst []byte) []byte {
	dst = append(dst, `,"content":`...)
	if m.calls == nil && m.blocks == nil {
		return append(dst, m.text...)
	}
	dst = append(dst, '[')
	first := len(dst)
	// The Messages API refuses an empty text block, which clients send beside
	// tool calls.
	if len(Inner(m.text)) > 0 {
		dst = append(append(append(dst, `{"type":"text","text":`...), m.text...), '}')
	}
	for _, more := range [][]byte{m.blocks, m.calls} {
		if len(more) > 0 && len(dst) > first {
			dst = append(dst, ',')
		}
		dst = append(dst, more...)
	}
	return append(dst, ']')
}

// Empty says that no message but the system's has been read.
func (t *Transcript) Empty() bool { return len(t.turns) == 0 }

// CallsTools says that the last assistant message called tools. Thinking can't
// be turned on behind such a message: the API wants the thinking that led to
// the call, and the chat form has no place for it.
func (t *Transcript) CallsTools() bool { return t.calls }

// Append appends the members system (where there is one) and messages, without
// a comma behind them. The Transcript is finished then.
func (t *Transcript) Append(dst []byte) []byte {
	t.closeResults()
	if len(t.system) > 0 {
		dst = append(append(append(dst, `"system":"`...), t.system...), `",`...)
	}
	dst = append(append(dst, `"messages":[`...), t.turns...)
	return append(dst, ']')
}
