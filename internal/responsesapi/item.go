package responsesapi

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// roleSystem marks an item whose text goes into the system prompt.
const roleSystem = "system"

// item is one item of a conversation. Its slices share memory with the document
// that it was read from, or with its reader.
type item struct {
	raw     jsontext.Value // as it came
	id      string         // "" where it came without
	role    string         // whose turn it stands in, or roleSystem; "" for what is in no turn
	said    string         // the role as it came, of a message
	content jsontext.Value // of a message, as it came

	// blocks are content blocks of the Messages API, with commas between them; of
	// roleSystem the inside of a JSON string.
	blocks        []byte
	calls, thinks bool
	result        bool // of a function's call
	// reference is the id of the item that stands in this one's place.
	reference string
}

// itemReader reads items and translates them. It isn't safe for concurrent use.
type itemReader struct {
	items []item
	// dropped names what has no place in the Messages form, each name once and a
	// bounded number of them.
	dropped []string
	// kept says that the items come out of the archive. One that can't be gone on
	// from, a call whose arguments were cut off, is in no turn then.
	kept bool

	arena []byte // of what is read of contents, and of the items' blocks
	now   itemFields
	part  partFields
}

// itemFields is an item while it is read.
type itemFields struct {
	reader *itemReader

	kind, role, id, callID, name, arguments, encrypted jsontext.Value
	content                                            jsontext.Value // as it came
	parts, output                                      parts
}

// parts are the content of a message or of a function's result.
type parts struct {
	there    bool
	blocks   []byte         // of the Messages API, with commas between them; in the arena
	text     jsontext.Value // the first one
	more     []jsontext.Value
	textOnly bool
}

// reset makes parts ready to be read into, keeping their buffer.
func (p *parts) reset() parts { return parts{textOnly: true, more: p.more[:0]} }

const maxDropped = 8

func (r *itemReader) drop(name string) {
	if len(r.dropped) < maxDropped && !slices.Contains(r.dropped, name) {
		r.dropped = append(r.dropped, name)
	}
}

// skip reads past a member that has no place in the Messages form.
func (r *itemReader) skip(s *protocol.Scanner, name string) error {
	value, err := s.Value()
	if err == nil && !protocol.AsksNothing(value) {
		r.drop(name)
	}
	return err
}

// readText reads an input that is one string: a message of the user's. The
// scanner stands before it.
func (r *itemReader) readText(s *protocol.Scanner) error {
	text, err := s.Value()
	if err != nil {
		return err
	}
	if strings.TrimSpace(protocol.Unquote(text)) == "" {
		return s.Invalid("", "must not be blank")
	}
	r.arena = appendText(r.arena, text)
	r.items = append(r.items, item{role: message.RoleUser, said: message.RoleUser, content: text, blocks: r.arena})
	return nil
}

func appendText(dst []byte, text jsontext.Value) []byte {
	return append(append(append(dst, `{"type":"text","text":`...), text...), '}')
}

// since gives what was added to the arena from there on.
func (r *itemReader) since(start int) []byte { return r.arena[start:len(r.arena):len(r.arena)] }

// read reads one item.
func (r *itemReader) read(s *protocol.Scanner) error {
	f := &r.now
	*f = itemFields{reader: r, parts: f.parts.reset(), output: f.output.reset()}
	start := s.Offset()
	if err := itemObject.Read(s, f); err != nil {
		return err
	}
	it := item{raw: s.Since(start), id: protocol.Unquote(f.id)}
	if err := f.translate(s, &it); err != nil {
		if !r.kept {
			return err
		}
		it.role, it.blocks = "", nil
	}
	r.items = append(r.items, it)
	return nil
}

// translate fills in what the item is, with its blocks.
func (f *itemFields) translate(s *protocol.Scanner, it *item) error {
	switch kind := string(protocol.Inner(f.kind)); kind {
	case "message":
		return f.message(s, it)
	case "":
		// A reference may leave out its type, and so may a message.
		if f.role == nil && f.id != nil && !f.parts.there {
			return f.refer(s, it)
		}
		return f.message(s, it)
	case "item_reference":
		return f.refer(s, it)
	case "function_call":
		return f.call(s, it)
	case "function_call_output":
		return f.result(s, it)
	case "reasoning":
		it.role = message.RoleAssistant
		block, ok := openThinking(f.encrypted)
		if !ok {
			f.reader.drop("input.reasoning")
			return nil
		}
		it.thinks, it.blocks = true, block
		return nil
	default:
		return s.Invalid("type", "items of the type "+kind+" aren't supported")
	}
}

func (f *itemFields) refer(s *protocol.Scanner, it *item) error {
	if it.id == "" {
		return s.Invalid("id", "field required")
	}
	it.reference, it.id = it.id, ""
	return nil
}

func (f *itemFields) message(s *protocol.Scanner, it *item) error {
	it.content = f.content
	if !f.parts.there {
		return s.Invalid("content", "field required")
	}
	switch role := protocol.Inner(f.role); string(role) {
	case message.RoleUser:
		it.said, it.role = message.RoleUser, message.RoleUser
	case message.RoleAssistant:
		it.said, it.role = message.RoleAssistant, message.RoleAssistant
		if !f.parts.textOnly {
			return s.Invalid("content", "only text is supported for the role assistant")
		}
	case "system", "developer":
		it.said, it.role = string(role), roleSystem
		if !f.parts.textOnly {
			return s.Invalid("content", "only text is supported for the role "+it.said)
		}
		r := f.reader
		start := len(r.arena)
		r.arena = append(r.arena, protocol.Inner(f.parts.text)...)
		for _, text := range f.parts.more {
			r.arena = append(append(r.arena, `\n\n`...), protocol.Inner(text)...)
		}
		it.blocks = r.since(start)
		return nil
	case "":
		return s.Invalid("role", "field required")
	default:
		return s.Invalid("role", "must be user, assistant, system or developer")
	}
	it.blocks = f.parts.blocks
	return nil
}

func (f *itemFields) call(s *protocol.Scanner, it *item) error {
	switch {
	case len(protocol.Inner(f.callID)) == 0:
		return s.Invalid("call_id", "field required")
	case len(protocol.Inner(f.name)) == 0:
		return s.Invalid("name", "field required")
	}
	input := jsontext.Value(protocol.Unquote(f.arguments))
	if len(bytes.TrimSpace(input)) == 0 {
		input = jsontext.Value("{}") // a function without parameters
	}
	if !input.IsValid() || input.Kind() != '{' {
		return s.Invalid("arguments", "must be a JSON object in a string")
	}
	it.role, it.calls = message.RoleAssistant, true
	r := f.reader
	start := len(r.arena)
	r.arena = append(append(r.arena, `{"type":"tool_use","id":`...), f.callID...)
	r.arena = append(append(r.arena, `,"name":`...), f.name...)
	r.arena = append(append(append(r.arena, `,"input":`...), input...), '}')
	it.blocks = r.since(start)
	return nil
}

func (f *itemFields) result(s *protocol.Scanner, it *item) error {
	switch {
	case len(protocol.Inner(f.callID)) == 0:
		return s.Invalid("call_id", "field required")
	case !f.output.there:
		return s.Invalid("output", "field required")
	}
	it.role, it.result = message.RoleUser, true
	r := f.reader
	start := len(r.arena)
	r.arena = append(append(r.arena, `{"type":"tool_result","tool_use_id":`...), f.callID...)
	if len(f.output.blocks) > 0 {
		r.arena = append(append(append(r.arena, `,"content":[`...), f.output.blocks...), ']')
	}
	r.arena = append(r.arena, '}')
	it.blocks = r.since(start)
	return nil
}

// conversation is items joined into the turns of the Messages API.
type conversation struct {
	system []byte // the inside of a JSON string
	turns  []byte // the elements of the messages array
	role   string // of the turn that is still open
	// calls and thinks say of the last turn of the assistant's whether it called
	// functions, and whether it holds the thinking that led there.
	calls, thinks bool

	begin int  // where the open turn begins, with the comma before it
	spoke bool // the open turn holds more than thinking
}

// add appends an item. Items of one role that follow each other become one turn:
// the Messages API wants thinking, text and calls of an answer in one message,
// and so all results of one message's calls.
func (c *conversation) add(it *item) {
	if len(it.blocks) == 0 {
		return // an empty text, which the Messages API refuses
	}
	switch it.role {
	case "":
		return
	case roleSystem:
		c.addSystem(it.blocks)
		return
	case c.role:
		c.turns = append(c.turns, ',')
	default:
		c.close()
		c.begin, c.spoke = len(c.turns), false
		if len(c.turns) > 0 {
			c.turns = append(c.turns, ',')
		}
		c.turns = append(append(append(c.turns, `{"role":"`...), it.role...), `","content":[`...)
		c.role = it.role
		if it.role == message.RoleAssistant {
			c.calls, c.thinks = false, false
		}
	}
	c.turns = append(c.turns, it.blocks...)
	c.spoke = c.spoke || !it.thinks
	if it.role == message.RoleAssistant {
		c.calls, c.thinks = c.calls || it.calls, c.thinks || it.thinks
	}
}

func (c *conversation) addSystem(inner []byte) {
	if len(inner) == 0 {
		return
	}
	if len(c.system) == 0 {
		c.system = inner[:len(inner):len(inner)] // copied when more follows
		return
	}
	c.system = append(append(c.system, `\n\n`...), inner...)
}

// close ends the open turn. One of nothing but thinking, an answer that was cut
// off in it, is left out: the Messages API refuses it.
func (c *conversation) close() {
	switch {
	case c.role == "":
	case !c.spoke:
		c.turns = c.turns[:c.begin]
	default:
		c.turns = append(c.turns, "]}"...)
	}
	c.role = ""
}

// append appends the members system and messages. The conversation is finished
// then.
func (c *conversation) append(dst []byte) []byte {
	c.close()
	if len(c.system) > 0 {
		dst = append(append(append(dst, `"system":"`...), c.system...), `",`...)
	}
	return append(append(append(dst, `"messages":[`...), c.turns...), ']')
}
