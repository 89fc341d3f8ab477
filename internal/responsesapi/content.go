package responsesapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// partFields is one part of a message's content, or of a function's result, while
// it is read.
type partFields struct {
	reader *itemReader

	kind, text, refusal, imageURL, fileID, fileData, fileURL, filename jsontext.Value
}

// The tables of the input's objects. They are never changed.
var (
	partObject = protocol.NewObject(openapi.Schema{Name: "ResponseContentPart", Description: "A part of a message's content, or of a function's result."},
		func(p *partFields, s *protocol.Scanner, name string) error {
			return p.reader.skip(s, "input.content."+name)
		},
		protocol.Field[partFields]{Name: "type", Required: true, Schema: openapi.Text("`input_text`, `input_image`, `input_file`; in a message of the assistant's `output_text` and `refusal`."), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.kind })},
		protocol.Field[partFields]{Name: "text", Schema: openapi.Text(""), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.text })},
		protocol.Field[partFields]{Name: "refusal", Schema: openapi.Text("The text of a part of the type `refusal`."), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.refusal })},
		protocol.Field[partFields]{Name: "image_url", Schema: openapi.Nullable(openapi.Text("A `data:` URL in base64 (jpeg, png, gif, webp), or an `https:` URL, which the upstream fetches.")), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.imageURL })},
		protocol.Field[partFields]{Name: "detail", Schema: openapi.Text("Has no effect other than a warning."), Read: func(p *partFields, s *protocol.Scanner) error {
			detail, err := s.Text()
			if err == nil && detail != nil && string(detail) != `"auto"` {
				p.reader.drop("input.content.detail")
			}
			return err
		}},
		protocol.Field[partFields]{Name: "file_data", Schema: openapi.Text("A PDF in base64, as a `data:` URL or plain."), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.fileData })},
		protocol.Field[partFields]{Name: "file_url", Schema: openapi.Text("The `https:` URL of a PDF, which the upstream fetches."), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.fileURL })},
		protocol.Field[partFields]{Name: "filename", Schema: openapi.Text("The document's title."), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.filename })},
		protocol.Field[partFields]{Name: "file_id", Schema: openapi.Nullable(openapi.Text("Refused: there are no uploaded files.")), Read: protocol.ReadText(func(p *partFields) *jsontext.Value { return &p.fileID })},
		protocol.Field[partFields]{Name: "annotations", Schema: anyArray(), Read: func(p *partFields, s *protocol.Scanner) error { return p.reader.skip(s, "input.content.annotations") }},
		protocol.Field[partFields]{Name: "logprobs", Schema: anyArray(), Read: func(p *partFields, s *protocol.Scanner) error { return p.reader.skip(s, "input.content.logprobs") }},
	)

	itemObject = protocol.NewObject(openapi.Schema{
		Name: "ResponseInputItem",
		Description: "One item of a conversation: a `message`, a `function_call`, a `function_call_output`, a `reasoning` item of an earlier answer, or an `item_reference` to an item of a kept response. " +
			"A reasoning item is taken up where it has the `encrypted_content` that this service gave, and is otherwise left out with a warning. Items of OpenAI's own tools are refused.",
	},
		func(f *itemFields, s *protocol.Scanner, name string) error {
			return f.reader.skip(s, "input."+name)
		},
		protocol.Field[itemFields]{Name: "type", Schema: &openapi.Schema{Type: openapi.String, Enum: []string{"message", "function_call", "function_call_output", "reasoning", "item_reference"}, Default: "message"}, Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.kind })},
		protocol.Field[itemFields]{Name: "id", Schema: openapi.Nullable(openapi.Text("")), Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.id })},
		protocol.Field[itemFields]{Name: "role", Schema: &openapi.Schema{Type: openapi.String, Description: "Of a message. Texts of system and developer are joined into the one system prompt.", Enum: []string{"user", "assistant", "system", "developer"}}, Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.role })},
		protocol.Field[itemFields]{Name: "content", Schema: contentSchema("Of a message."), Read: func(f *itemFields, s *protocol.Scanner) error {
			start := s.Offset()
			err := f.reader.readParts(s, &f.parts)
			f.content = s.Since(start)
			return err
		}},
		protocol.Field[itemFields]{Name: "call_id", Schema: openapi.Text("Of a function_call and its output."), Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.callID })},
		protocol.Field[itemFields]{Name: "name", Schema: openapi.Text("The function that a function_call calls."), Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.name })},
		protocol.Field[itemFields]{Name: "arguments", Schema: openapi.Text("Of a function_call: a JSON object in a string."), Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.arguments })},
		protocol.Field[itemFields]{Name: "output", Schema: contentSchema("Of a function_call_output."), Read: func(f *itemFields, s *protocol.Scanner) error {
			return f.reader.readParts(s, &f.output)
		}},
		protocol.Field[itemFields]{Name: "encrypted_content", Schema: openapi.Nullable(openapi.Text("Of a reasoning item, as `include: [\"reasoning.encrypted_content\"]` gave it.")), Read: protocol.ReadText(func(f *itemFields) *jsontext.Value { return &f.encrypted })},
		protocol.Field[itemFields]{Name: "summary", Schema: anyArray(), Read: skip[itemFields]},
		protocol.Field[itemFields]{Name: "status", Schema: openapi.Nullable(openapi.Text("Has no effect.")), Read: skip[itemFields]},
	)
)

func anyArray() *openapi.Schema {
	return &openapi.Schema{Type: openapi.Array, Items: &openapi.Schema{}}
}

func contentSchema(description string) *openapi.Schema {
	return &openapi.Schema{Description: description, AnyOf: []*openapi.Schema{openapi.Text(""), {Type: openapi.Array, Items: partObject.Schema()}}}
}

// skip is a Field's Read for what says nothing that the Messages API needs.
func skip[T any](_ *T, s *protocol.Scanner) error { return s.Skip() }

// readParts reads content: a string, or an array of parts.
func (r *itemReader) readParts(s *protocol.Scanner, into *parts) error {
	switch s.Kind() {
	case 'n':
		return s.Skip()
	case '[':
		into.there = true
		start := len(r.arena)
		err := s.Array(func(int) error { return r.readPart(s, into, start) })
		into.blocks = r.since(start)
		return err
	}
	value, err := s.Text()
	if err != nil {
		return s.Invalid("", "must be a string or an array of content parts")
	}
	into.there = true
	start := len(r.arena)
	r.addText(into, value, start)
	into.blocks = r.since(start)
	return nil
}

// addText adds a text to the blocks that begin at start, none for an empty one,
// which the Messages API refuses.
func (r *itemReader) addText(into *parts, value jsontext.Value, start int) {
	if len(protocol.Inner(value)) == 0 {
		return
	}
	if into.text == nil {
		into.text = value
	} else {
		into.more = append(into.more, value)
	}
	r.comma(start)
	r.arena = appendText(r.arena, value)
}

// comma separates a block from those before it, which begin at start.
func (r *itemReader) comma(start int) {
	if len(r.arena) > start {
		r.arena = append(r.arena, ',')
	}
}

// readPart reads a part and adds it to the blocks that begin at start.
func (r *itemReader) readPart(s *protocol.Scanner, into *parts, start int) error {
	p := &r.part
	*p = partFields{reader: r}
	if err := partObject.Read(s, p); err != nil {
		return err
	}
	switch kind := string(protocol.Inner(p.kind)); kind {
	case "input_text", "output_text", "text":
		if p.text == nil {
			return s.Invalid("text", "field required")
		}
		r.addText(into, p.text, start)
	case "refusal":
		r.addText(into, p.refusal, start)
	case "reasoning_text":
		// Of a reasoning item, whose encrypted_content is what counts.
		r.drop("input.content.reasoning_text")
	case "input_image":
		into.textOnly = false
		r.comma(start)
		return p.image(s)
	case "input_file":
		into.textOnly = false
		r.comma(start)
		return p.file(s)
	default:
		return s.Invalid("type", "content of this type isn't supported; input_text, input_image, input_file, output_text and refusal are")
	}
	return nil
}

const noFiles = "uploaded files aren't known here; send the file itself"

func (p *partFields) image(s *protocol.Scanner) (err error) {
	switch {
	case p.fileID != nil:
		return s.Invalid("file_id", noFiles)
	case p.imageURL == nil:
		return s.Invalid("image_url", "field required")
	}
	var problem string
	if p.reader.arena, problem = protocol.AppendImage(p.reader.arena, p.imageURL, nil); problem != "" {
		err = s.Invalid("image_url", problem)
	}
	return err
}

func (p *partFields) file(s *protocol.Scanner) (err error) {
	var problem string
	field := "file_data"
	switch {
	case p.fileID != nil:
		return s.Invalid("file_id", noFiles)
	case p.fileData != nil:
		p.reader.arena, problem = protocol.AppendPDF(p.reader.arena, p.fileData, p.filename, nil)
	case p.fileURL != nil:
		field = "file_url"
		p.reader.arena, problem = protocol.AppendPDFURL(p.reader.arena, p.fileURL, p.filename, nil)
	default:
		problem = "field required"
	}
	if problem != "" {
		err = s.Invalid(field, problem)
	}
	return err
}
