package protocol

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// readContent reads a message's content: a string, an array of parts, or null.
func (m *chatMessage) readContent(s *Scanner, blocks bool) (err error) {
	switch s.Kind() {
	case '"':
		m.text, err = s.Value()
		m.hasContent = true
		return err
	case 'n':
		return s.Skip()
	case '[', 0:
		m.hasContent = true
		if err := s.Array(func(int) error { return m.readPart(s, blocks) }); err != nil {
			return err
		}
		if m.blockCount == 0 {
			return s.Invalid("", "must not be empty")
		}
		return nil
	}
	return s.wrong("must be a string or an array of content parts")
}

// part is one content part while it is read.
type part struct {
	kind, text, url jsontext.Value
}

func (m *chatMessage) readPart(s *Scanner, blocks bool) error {
	var p part
	start := s.Offset()
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			p.kind, err = s.Text()
		case "text", "refusal":
			// The text of a block that passes unchanged may be of any kind.
			if s.Kind() != '"' {
				return s.Skip()
			}
			p.text, err = s.Value()
		case "image_url":
			p.url, err = readImageURL(s)
		default:
			err = s.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	if m.blocks == nil {
		m.blocks = make([]byte, 0, 128)
	} else if m.blockCount > 0 {
		m.blocks = append(m.blocks, ',')
	}
	m.blockCount++
	switch kind := string(Inner(p.kind)); kind {
	case "text":
		if p.text == nil {
			return s.Invalid("text", "must be a string")
		}
		m.parts = append(m.parts, p.text)
		m.blocks = append(append(append(m.blocks, `{"type":"text","text":`...), p.text...), '}')
	case "image_url":
		m.textOnly = false
		return m.appendImage(s, p.url)
	case "":
		return s.Invalid("type", "field required")
	default:
		m.textOnly = false
		if !blocks {
			return s.Invalid("type", "content of this type isn't supported; text and image_url are")
		}
		m.blocks = append(m.blocks, s.Since(start)...)
	}
	return nil
}

// readImageURL reads {"url":…}, or the URL alone, which some clients send.
func readImageURL(s *Scanner) (url jsontext.Value, err error) {
	if s.Kind() == '"' {
		return s.Value()
	}
	err = s.Object(func(name []byte) (err error) {
		if string(name) == "url" {
			url, err = s.Text()
			return err
		}
		return s.Skip()
	})
	return url, err
}

// appendImage appends an image block for a data: or https: URL.
func (m *chatMessage) appendImage(s *Scanner, quoted jsontext.Value) error {
	const field = "image_url.url"
	if quoted == nil {
		return s.Invalid(field, "field required")
	}
	url := Inner(quoted)
	if bytes.IndexByte(url, '\\') >= 0 { // some encoders escape every slash
		quoted, _ = jsontext.AppendQuote(nil, Unquote(quoted))
		url = Inner(quoted)
	}
	if bytes.HasPrefix(url, []byte("https://")) {
		m.blocks = append(m.blocks, `{"type":"image","source":{"type":"url","url":`...)
		m.blocks = append(append(m.blocks, quoted...), "}}"...)
		return nil
	}
	data, ok := bytes.CutPrefix(url, []byte("data:"))
	if !ok {
		return s.Invalid(field, "must be a data: or https: URL")
	}
	head, data, _ := bytes.Cut(data, []byte(","))
	mediaType, ok := strings.CutSuffix(string(head), ";base64")
	if !ok {
		return s.Invalid(field, "a data: URL must be base64")
	}
	switch mediaType = strings.ToLower(mediaType); mediaType {
	case "image/jpg":
		mediaType = "image/jpeg" // not a registered type, and common all the same
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return s.Invalid(field, "must be an image of the type jpeg, png, gif or webp")
	}
	m.blocks = append(m.blocks, `{"type":"image","source":{"type":"base64","media_type":"`...)
	m.blocks = append(append(m.blocks, mediaType...), `","data":"`...)
	m.blocks = append(append(m.blocks, data...), `"}}`...)
	return nil
}

// readToolCalls reads the calls of an assistant message as tool_use blocks.
func (m *chatMessage) readToolCalls(s *Scanner) error {
	if s.Kind() == 'n' {
		return s.Skip()
	}
	return s.Array(func(int) error { return m.readToolCall(s) })
}

func (m *chatMessage) readToolCall(s *Scanner) error {
	var id, kind, name, arguments jsontext.Value
	err := s.Object(func(member []byte) (err error) {
		switch string(member) {
		case "id":
			id, err = s.Text()
		case "type":
			kind, err = s.Text()
		case "function":
			err = s.Object(func(member []byte) (err error) {
				switch string(member) {
				case "name":
					name, err = s.Text()
				case "arguments":
					arguments, err = s.Text()
				default:
					err = s.Skip()
				}
				return err
			})
		default:
			err = s.Skip()
		}
		return err
	})
	switch {
	case err != nil:
		return err
	case kind != nil && string(Inner(kind)) != "function":
		return s.Invalid("type", "must be function")
	case len(Inner(id)) == 0:
		return s.Invalid("id", "field required")
	case len(Inner(name)) == 0:
		return s.Invalid("function.name", "field required")
	}
	input := jsontext.Value(Unquote(arguments))
	if len(bytes.TrimSpace(input)) == 0 {
		input = jsontext.Value("{}") // a tool without parameters
	}
	if !input.IsValid() || input.Kind() != '{' {
		return s.Invalid("function.arguments", "must be a JSON object in a string")
	}
	if m.calls != nil {
		m.calls = append(m.calls, ',')
	}
	m.calls = append(append(m.calls, `{"type":"tool_use","id":`...), id...)
	m.calls = append(append(m.calls, `,"name":`...), name...)
	m.calls = append(append(m.calls, `,"input":`...), input...)
	m.calls = append(m.calls, '}')
	return nil
}
