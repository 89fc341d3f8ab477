package protocol

import (
	"bytes"
	"strings"

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
	transcript                      *Transcript
	kind, text, url, detail         jsontext.Value
	fileData, fileID, fileName, own jsontext.Value
	control                         jsontext.Value // cache_control
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
	p.own = s.Since(start)
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
		m.blocks = append(m.blocks, p.own...)
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

// readControl reads a cache_control; nil for null.
func readControl(s *Scanner) (jsontext.Value, error) {
	switch s.Kind() {
	case '{', 0:
		return s.Value()
	case 'n':
		return nil, s.Skip()
	}
	return nil, s.wrong("must be an object")
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

// unescaped gives a JSON string without escapes in it where its text needs none.
// Some encoders escape every slash.
func unescaped(quoted jsontext.Value) jsontext.Value {
	if bytes.IndexByte(quoted, '\\') < 0 {
		return quoted
	}
	quoted, _ = jsontext.AppendQuote(nil, Unquote(quoted))
	return quoted
}

// appendImage appends an image block for a data: or https: URL. The latter is
// for the upstream to fetch; the service never does.
func (m *chatMessage) appendImage(s *Scanner, p *contentPart) error {
	const field = "image_url.url"
	if p.url == nil {
		return s.Invalid(field, "field required")
	}
	quoted := unescaped(p.url)
	url := Inner(quoted)
	if bytes.HasPrefix(url, []byte("https://")) {
		m.blocks = append(m.blocks, `{"type":"image","source":{"type":"url","url":`...)
		m.blocks = endBlock(append(append(m.blocks, quoted...), '}'), p.control)
		return nil
	}
	if !bytes.HasPrefix(url, []byte("data:")) {
		return s.Invalid(field, "must be a data: or https: URL")
	}
	mediaType, data, ok := cutData(url)
	if !ok {
		return s.Invalid(field, "a data: URL must be base64")
	}
	switch mediaType {
	case "image/jpg":
		mediaType = "image/jpeg" // not a registered type, and common all the same
	case "image/jpeg", "image/png", "image/gif", "image/webp":
	default:
		return s.Invalid(field, "must be an image of the type jpeg, png, gif or webp")
	}
	m.blocks = append(append(m.blocks, `{"type":"image","source":{"type":"base64","media_type":"`...), mediaType...)
	m.blocks = append(append(append(m.blocks, `","data":"`...), data...), `"}`...)
	m.blocks = endBlock(m.blocks, p.control)
	return nil
}

// cutData cuts a data: URL (RFC 2397) in base64 into its media type and its data.
func cutData(url []byte) (mediaType string, data []byte, ok bool) {
	head, data, _ := bytes.Cut(bytes.TrimPrefix(url, []byte("data:")), []byte(","))
	mediaType, ok = strings.CutSuffix(string(head), ";base64")
	mediaType, _, _ = strings.Cut(mediaType, ";") // parameters: name=, charset=
	return strings.ToLower(mediaType), data, ok
}

// pdfStart is how a PDF begins ("%PDF-") in base64.
const pdfStart = "JVBERi"

// appendFile appends a document block for a file that stands in the request: a
// PDF, as a data: URL or in plain base64.
func (m *chatMessage) appendFile(s *Scanner, p *contentPart) error {
	switch {
	case p.fileID != nil:
		return s.Invalid("file.file_id", "uploaded files aren't known here; send the file itself in file_data")
	case len(Inner(p.fileData)) == 0:
		return s.Invalid("file.file_data", "field required")
	}
	data := Inner(unescaped(p.fileData))
	if bytes.HasPrefix(data, []byte("data:")) {
		mediaType, rest, ok := cutData(data)
		if !ok || mediaType != "application/pdf" {
			return s.Invalid("file.file_data", "must be a PDF in base64")
		}
		data = rest
	} else if !bytes.HasPrefix(data, []byte(pdfStart)) {
		return s.Invalid("file.file_data", "must be a PDF in base64")
	}
	m.blocks = append(m.blocks, `{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"`...)
	m.blocks = append(append(m.blocks, data...), `"}`...)
	if len(Inner(p.fileName)) > 0 {
		m.blocks = append(append(m.blocks, `,"title":`...), p.fileName...)
	}
	m.blocks = endBlock(m.blocks, p.control)
	return nil
}
