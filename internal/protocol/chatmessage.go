package protocol

import (
	"bytes"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
)

// chatMessage is one message while it is read. Its slices share memory with the
// document or with the Transcript's.
type chatMessage struct {
	transcript *Transcript

	role, callID, refusal jsontext.Value
	name                  jsontext.Value
	control               jsontext.Value // cache_control of the whole message

	hasContent bool           // content is there and isn't null
	text       jsontext.Value // content, where it is a string
	parts      []textPart
	blocks     []byte // parts as content blocks
	blockCount int
	textOnly   bool
	calls      []byte // tool_calls as content blocks
	callCount  int
}

type textPart struct{ text, control jsontext.Value }

// reset makes the message ready to be read into, keeping its buffers.
func (m *chatMessage) reset(t *Transcript) {
	*m = chatMessage{transcript: t, textOnly: true, parts: m.parts[:0], blocks: m.blocks[:0], calls: m.calls[:0]}
}

// toolCall is one call of an assistant message while it is read.
type toolCall struct {
	transcript                *Transcript
	id, kind, name, arguments jsontext.Value
}

// The tables of a conversation's objects. They are never changed.
var (
	imageURLObject = NewObject(openapi.Schema{Description: "The URL alone, as a string, is taken too."},
		func(p *contentPart, s *Scanner, name string) error {
			return p.transcript.skip(s, "content.image_url."+name)
		},
		Field[contentPart]{Name: "url", Required: true, Schema: text("A `data:` URL in base64 (jpeg, png, gif, webp), or an `https:` URL, which the upstream fetches."), Read: ReadText(func(p *contentPart) *jsontext.Value { return &p.url })},
		Field[contentPart]{Name: "detail", Schema: text("Has no effect other than a warning."), Read: readImageDetail},
	)

	fileObject = NewObject(openapi.Schema{},
		func(p *contentPart, s *Scanner, name string) error {
			return p.transcript.skip(s, "content.file."+name)
		},
		Field[contentPart]{Name: "file_data", Schema: text("A PDF in base64, as a `data:` URL or plain."), Read: ReadText(func(p *contentPart) *jsontext.Value { return &p.fileData })},
		Field[contentPart]{Name: "filename", Schema: text("The document's title."), Read: ReadText(func(p *contentPart) *jsontext.Value { return &p.fileName })},
		Field[contentPart]{Name: "file_id", Schema: text("Refused: there are no uploaded files."), Read: ReadText(func(p *contentPart) *jsontext.Value { return &p.fileID })},
	)

	partObject = NewObject(openapi.Schema{Name: "ChatContentPart", Description: "A part of a message's content."},
		func(p *contentPart, s *Scanner, name string) error {
			if p.transcript.Blocks {
				return s.Skip() // a block of the Messages API passes as it is
			}
			return p.transcript.skip(s, "content."+name)
		},
		Field[contentPart]{Name: "type", Required: true, Schema: text("`text`, `image_url`, `file`, and `refusal` in a message of the assistant's."), Read: ReadText(func(p *contentPart) *jsontext.Value { return &p.kind })},
		Field[contentPart]{Name: "text", Schema: text("The text of a part of the type `text`."), Read: readPartText},
		Field[contentPart]{Name: "refusal", Schema: text("The text of a part of the type `refusal`."), Read: readPartText},
		Field[contentPart]{Name: "image_url", Schema: &openapi.Schema{AnyOf: []*openapi.Schema{imageURLObject.Schema(), text("")}}, Read: readImageURL},
		Field[contentPart]{Name: "file", Schema: fileObject.Schema(), Read: func(p *contentPart, s *Scanner) error {
			if s.Kind() == 'n' {
				return s.Skip()
			}
			return fileObject.Read(s, p)
		}},
		Field[contentPart]{Name: "cache_control", Schema: cacheControl(), Read: func(p *contentPart, s *Scanner) (err error) {
			p.control, err = s.ObjectValue()
			return err
		}},
	)

	functionObject = NewObject(openapi.Schema{},
		func(c *toolCall, s *Scanner, name string) error {
			return c.transcript.skip(s, "tool_calls.function."+name)
		},
		Field[toolCall]{Name: "name", Required: true, Schema: text(""), Read: ReadText(func(c *toolCall) *jsontext.Value { return &c.name })},
		Field[toolCall]{Name: "arguments", Schema: text("A JSON object in a string; an empty string stands for {}."), Read: ReadText(func(c *toolCall) *jsontext.Value { return &c.arguments })},
	)

	toolCallObject = NewObject(openapi.Schema{Name: "ChatMessageToolCall", Description: "A call of a function in a message of the assistant's."},
		func(c *toolCall, s *Scanner, name string) error {
			if name == "index" { // of the chunk that the call came in: the order says the same
				return s.Skip()
			}
			return c.transcript.skip(s, "tool_calls."+name)
		},
		Field[toolCall]{Name: "id", Required: true, Schema: text(""), Read: ReadText(func(c *toolCall) *jsontext.Value { return &c.id })},
		Field[toolCall]{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"function"}}, Read: ReadText(func(c *toolCall) *jsontext.Value { return &c.kind })},
		Field[toolCall]{Name: "function", Required: true, Schema: functionObject.Schema(), Read: func(c *toolCall, s *Scanner) error { return functionObject.Read(s, c) }},
	)

	messageObject = NewObject(openapi.Schema{Name: "ChatMessage", Description: "One message of a conversation."},
		func(m *chatMessage, s *Scanner, name string) error { return m.transcript.skip(s, name) },
		Field[chatMessage]{Name: "role", Required: true, Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"system", "developer", "user", "assistant", "tool"}}, Read: ReadText(func(m *chatMessage) *jsontext.Value { return &m.role })},
		Field[chatMessage]{Name: "content", Schema: &openapi.Schema{
			Description: "May be absent or null in a message of the assistant's that calls tools. Images and files may stand in messages of the roles user and tool only.",
			AnyOf:       []*openapi.Schema{text(""), {Type: openapi.Array, Items: partObject.Schema()}, {Type: openapi.Null}},
		}, Read: (*chatMessage).readContent},
		Field[chatMessage]{Name: "tool_calls", Schema: &openapi.Schema{AnyOf: []*openapi.Schema{{Type: openapi.Array, Items: toolCallObject.Schema()}, {Type: openapi.Null}}}, Read: (*chatMessage).readToolCalls},
		Field[chatMessage]{Name: "tool_call_id", Schema: text("Required in a message with the role tool."), Read: ReadText(func(m *chatMessage) *jsontext.Value { return &m.callID })},
		Field[chatMessage]{Name: "refusal", Schema: &openapi.Schema{Description: "Stands for the content of a message of the assistant's that has none.", AnyOf: []*openapi.Schema{text(""), {Type: openapi.Null}}}, Read: ReadText(func(m *chatMessage) *jsontext.Value { return &m.refusal })},
		Field[chatMessage]{Name: "cache_control", Schema: cacheControl(), Read: func(m *chatMessage, s *Scanner) (err error) {
			m.control, err = s.ObjectValue()
			return err
		}},
		Field[chatMessage]{Name: "name", Schema: text("Has no effect other than a warning; in a message with the role tool, `tool_call_id` says the same."), Read: ReadText(func(m *chatMessage) *jsontext.Value { return &m.name })},
		Field[chatMessage]{Name: "audio", Schema: refused(), Read: refuse[chatMessage]},
		Field[chatMessage]{Name: "function_call", Schema: refused(), Read: refuse[chatMessage]},
	)
)

// MessageSchema documents one message of a Transcript.
func MessageSchema() *openapi.Schema { return messageObject.Schema() }

func text(description string) *openapi.Schema {
	return &openapi.Schema{Type: openapi.String, Description: description}
}

func cacheControl() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Object, Description: "The Messages API's own: ends a prefix that is to be cached."}
}

func refused() *openapi.Schema {
	return &openapi.Schema{Deprecated: true, Description: "Refused unless it is null."}
}

// refuse is a Field's Read for what must be absent or null.
func refuse[T any](_ *T, s *Scanner) error {
	if s.Kind() != 'n' {
		return s.wrong("isn't supported")
	}
	return s.Skip()
}

// readToolCalls reads the calls of an assistant message as tool_use blocks.
func (m *chatMessage) readToolCalls(s *Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error { return m.readToolCall(s) })
}

func (m *chatMessage) readToolCall(s *Scanner) error {
	c := &m.transcript.call
	*c = toolCall{transcript: m.transcript}
	if err := toolCallObject.Read(s, c); err != nil {
		return err
	}
	switch {
	case c.kind != nil && string(Inner(c.kind)) != "function":
		return s.Invalid("type", "must be function")
	case len(Inner(c.id)) == 0:
		return s.Invalid("id", "field required")
	case len(Inner(c.name)) == 0:
		return s.Invalid("function.name", "field required")
	}
	input := jsontext.Value(Unquote(c.arguments))
	if len(bytes.TrimSpace(input)) == 0 {
		input = jsontext.Value("{}") // a tool without parameters
	}
	if !input.IsValid() || input.Kind() != '{' {
		return s.Invalid("function.arguments", "must be a JSON object in a string")
	}
	if m.callCount > 0 {
		m.calls = append(m.calls, ',')
	}
	m.callCount++
	m.calls = append(append(m.calls, `{"type":"tool_use","id":`...), c.id...)
	m.calls = append(append(m.calls, `,"name":`...), c.name...)
	m.calls = append(append(m.calls, `,"input":`...), input...)
	m.calls = append(m.calls, '}')
	return nil
}
