package protocol

import (
	"bytes"
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

	// Ignored names what of the messages has no place in the Messages form, each
	// name once and a bounded number of them: name, content.image_url.detail.
	Ignored []string

	system  []byte // the inside of a JSON string
	marks   []mark // where in the system prompt a prefix to cache ends
	turns   []byte // the elements of the messages array
	results bool   // the last turn is a user message of tool results, still open
	calls   bool   // the last assistant message called tools

	// What is being read, kept here to be used again.
	message chatMessage
	part    contentPart
	call    toolCall
}

// mark is a cache_control inside the system prompt: it stands at the end of what
// comes before the offset.
type mark struct {
	end     int
	control jsontext.Value
}

// maxIgnored bounds Transcript.Ignored.
const maxIgnored = 8

func (t *Transcript) ignore(name string) {
	if len(t.Ignored) < maxIgnored && !slices.Contains(t.Ignored, name) {
		t.Ignored = append(t.Ignored, name)
	}
}

// skip reads past a member that has no place in the Messages form.
func (t *Transcript) skip(s *Scanner, name string) error {
	value, err := s.Value()
	if err == nil && !AsksNothing(value) {
		t.ignore(name)
	}
	return err
}

// Grow makes room for so many bytes of messages.
func (t *Transcript) Grow(n int) { t.turns = slices.Grow(t.turns, n) }

// Read reads an array of messages.
func (t *Transcript) Read(s *Scanner) error {
	return s.Array(func(int) error {
		t.message.reset(t)
		if err := messageObject.Read(s, &t.message); err != nil {
			return err
		}
		return t.add(s, &t.message)
	})
}

// add appends the message that was just read.
func (t *Transcript) add(s *Scanner, m *chatMessage) error {
	role := string(Inner(m.role))
	if role == "tool" {
		return t.addResult(s, m)
	}
	if len(Inner(m.name)) > 0 {
		t.ignore("name")
	}
	if role != message.RoleAssistant && m.callCount > 0 {
		return s.Invalid("tool_calls", "only a message with the role assistant may call tools")
	}
	if role == message.RoleAssistant && !m.hasContent && m.refusal != nil {
		m.text, m.hasContent = m.refusal, true
	}
	if !m.hasContent && m.callCount == 0 {
		return s.Invalid("content", "field required")
	}
	if m.control != nil && m.blockCount > 0 && (role == message.RoleUser || role == message.RoleAssistant) {
		t.ignore("cache_control") // the parts have their own
		m.control = nil
	}
	switch role {
	case "system", "developer":
		if !m.textOnly {
			return s.Invalid("content", "only text is supported for the role "+role)
		}
		t.AddSystem(m.text)
		for _, part := range m.parts {
			t.AddSystem(part.text)
			t.mark(part.control)
		}
		t.mark(m.control)
	case message.RoleUser:
		t.open(role)
		t.turns = m.appendContent(t.turns)
		t.turns = append(t.turns, '}')
	case message.RoleAssistant:
		if !m.textOnly && !t.Blocks {
			return s.Invalid("content", "only text is supported for the role assistant")
		}
		t.calls = m.callCount > 0
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

// mark ends a prefix of the system prompt that is to be cached.
func (t *Transcript) mark(control jsontext.Value) {
	if control != nil && len(t.system) > 0 {
		t.marks = append(t.marks, mark{len(t.system), control})
	}
}

// PrependSystem puts a JSON string in front of the system prompt, nothing for
// nil.
func (t *Transcript) PrependSystem(text jsontext.Value) { t.prepend(Inner(text), nil) }

// PrependSystemOf puts another Transcript's system prompt in front, with the
// prefixes of it that are to be cached.
func (t *Transcript) PrependSystemOf(other *Transcript) { t.prepend(other.system, other.marks) }

// prepend changes nothing in place, because copies of t may share its memory: a
// request is translated again for the model that was chosen.
func (t *Transcript) prepend(first []byte, marks []mark) {
	if len(first) == 0 {
		return
	}
	system := slices.Clone(first)
	if len(t.system) > 0 {
		system = append(append(system, `\n\n`...), t.system...)
	}
	marks = slices.Clone(marks)
	for _, m := range t.marks {
		marks = append(marks, mark{m.end + len(system) - len(t.system), m.control})
	}
	t.system, t.marks = system, marks
}

// ReadUser reads the content of a user message that stands outside of an array
// of messages: a string or an array of parts. Null and "" add nothing.
func (t *Transcript) ReadUser(s *Scanner) error {
	m := &t.message
	m.reset(t)
	if err := m.readContent(s); err != nil {
		return err
	}
	if m.blockCount == 0 && len(Inner(m.text)) == 0 {
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
	if m.callCount > 0 {
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
	control := m.control
	m.control = nil // stands on the result, not inside of it
	if m.hasContent {
		t.turns = m.appendContent(t.turns)
	}
	t.turns = endBlock(t.turns, control)
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
	if m.callCount == 0 && m.blockCount == 0 && m.control == nil {
		return append(dst, m.text...)
	}
	dst = append(dst, '[')
	first := len(dst)
	// The Messages API refuses an empty text block, which clients send beside
	// tool calls.
	if len(Inner(m.text)) > 0 {
		dst = endBlock(append(append(dst, `{"type":"text","text":`...), m.text...), m.control)
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
		dst = append(t.appendSystem(append(dst, `"system":`...)), ',')
	}
	dst = append(append(dst, `"messages":[`...), t.turns...)
	return append(dst, ']')
}

// appendSystem appends the system prompt: a string, or text blocks where
// prefixes of it are to be cached.
func (t *Transcript) appendSystem(dst []byte) []byte {
	if len(t.marks) == 0 {
		return append(append(append(dst, '"'), t.system...), '"')
	}
	dst = append(dst, '[')
	start := 0
	block := func(end int, control jsontext.Value) {
		text := bytes.TrimPrefix(t.system[start:end], []byte(`\n\n`))
		if start == 0 {
			text = t.system[:end]
		}
		if len(text) == 0 {
			return
		}
		if start > 0 {
			dst = append(dst, ',')
		}
		dst = append(append(append(dst, `{"type":"text","text":"`...), text...), '"')
		dst = endBlock(dst, control)
		start = end
	}
	for _, m := range t.marks {
		block(m.end, m.control)
	}
	block(len(t.system), nil)
	return append(dst, ']')
}
