package protocol

import (
	"github.com/go-json-experiment/json/jsontext"
)

// readContent reads a message's content: a string, an array of parts, or null.
func (m *chatMessage) readContent(s *Scanner) (err error) {
	switch s.Kind() {
	case '"':
		m.text, err = s.Value()
		m.hasContent = true
		return err
	case 'n':
		return s.Skip()
	case '[', 0:
		m.hasContent = true
		if err := s.Array(func(int) error { return m.readPart(s) }); err != nil {
			return err
		}
		if m.blockCount == 0 {
			return s.Invalid("", "must not be empty")
		}
		return nil
	}
	return s.wrong("must be a string or an array of content parts")
}

// contentPart is one part of a message's content while it is read.
type contentPart struct {
	transcript                 *Transcript
	kind, text, url            jsontext.Value
	fileData, fileID, fileName jsontext.Value
	control                    jsontext.Value // cache_control
}

// readPart reads a part as a content block of the Messages API.
func (m *chatMessage) readPart(s *Scanner) error {
	t := m.transcript
	p := &t.part
	*p = contentPart{transcript: t}
	start := s.Offset()
	if err := partObject.Read(s, p); err != nil {
		return err
	}
	if m.blockCount > 0 {
		m.blocks = append(m.blocks, ',')
	}
	m.blockCount++
	switch kind := string(Inner(p.kind)); kind {
	case "text", "refusal":
		if p.text == nil {
			return s.Invalid(kind, "must be a string")
		}
		m.parts = append(m.parts, textPart{p.text, p.control})
		m.blocks = endBlock(append(append(m.blocks, `{"type":"text","text":`...), p.text...), p.control)
	case "image_url":
		m.textOnly = false
		return m.appendImage(s, p)
	case "file":
		m.textOnly = false
		return m.appendFile(s, p)
	case "":
		return s.Invalid("type", "field required")
	default:
		m.textOnly = false
		if !t.Blocks {
			return s.Invalid("type", "content of this type isn't supported; text, image_url and file are")
		}
		m.blocks = append(m.blocks, s.Since(start)...)
	}
	return nil
}

// endBlock ends a content block, with its cache_control if it has one.
func endBlock(dst []byte, control jsontext.Value) []byte {
	if control != nil {
		dst = append(append(dst, `,"cache_control":`...), control...)
	}
	return append(dst, '}')
}

// readPartText reads the text of a part. That of a block which passes unchanged
// may be of any kind.
func readPartText(p *contentPart, s *Scanner) (err error) {
	if s.Kind() != '"' {
		return s.Skip()
	}
	p.text, err = s.Value()
	return err
}

// readImageURL reads {"url":…}, or the URL alone, which some clients send.
func readImageURL(p *contentPart, s *Scanner) (err error) {
	switch s.Kind() {
	case '"':
		p.url, err = s.Value()
		return err
	case 'n':
		return s.Skip()
	}
	return imageURLObject.Read(s, p)
}

// readImageDetail reads how closely an image is to be looked at, which the
// Messages API leaves to the model.
func readImageDetail(p *contentPart, s *Scanner) error {
	detail, err := s.Text()
	if err == nil && detail != nil && string(detail) != `"auto"` {
		p.transcript.ignore("content.image_url.detail")
	}
	return err
}

// appendImage appends an image block for a data: or https: URL.
func (m *chatMessage) appendImage(s *Scanner, p *contentPart) error {
	const field = "image_url.url"
	if p.url == nil {
		return s.Invalid(field, "field required")
	}
	var problem string
	if m.blocks, problem = AppendImage(m.blocks, p.url, p.control); problem != "" {
		return s.Invalid(field, problem)
	}
	return nil
}

// appendFile appends a document block for a file that stands in the request.
func (m *chatMessage) appendFile(s *Scanner, p *contentPart) error {
	switch {
	case p.fileID != nil:
		return s.Invalid("file.file_id", "uploaded files aren't known here; send the file itself in file_data")
	case len(Inner(p.fileData)) == 0:
		return s.Invalid("file.file_data", "field required")
	}
	var problem string
	if m.blocks, problem = AppendPDF(m.blocks, p.fileData, p.fileName, p.control); problem != "" {
		return s.Invalid("file.file_data", problem)
	}
	return nil
}
