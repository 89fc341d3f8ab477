package processapi

import (
	"bytes"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

func mediaSchema() *openapi.Schema {
	one := &openapi.Schema{
		Type: openapi.Object,
		Description: "An `image_url` part of the Chat Completions API, an `image` or `document` block of the Messages API, " +
			"or `{media_type (or mime_type, type), data (base64)}` or `{media_type, url}` (https).",
	}
	return &openapi.Schema{
		Description: "Images (jpeg, png, gif, webp) and PDFs. They are put behind the last message of the user's.",
		AnyOf:       []*openapi.Schema{one, {Type: openapi.Array, Items: one}, {Type: openapi.Null}},
	}
}

// readMedia reads one object or an array of them as content blocks.
func (p *processRequest) readMedia(s *protocol.Scanner) error {
	switch s.Kind() {
	case 'n':
		return s.Skip()
	case '{':
		return p.readMedium(s)
	}
	return s.Array(func(int) error { return p.readMedium(s) })
}

// medium is one image or document while it is read.
type medium struct {
	kind, mediaType, data, url jsontext.Value
	source                     jsontext.Value // of a block of the Messages API
}

func (p *processRequest) readMedium(s *protocol.Scanner) error {
	var m medium
	start := s.Offset()
	err := s.Object(func(name []byte) (err error) {
		switch string(name) {
		case "type":
			m.kind, err = s.Text()
		case "media_type", "mime_type":
			m.mediaType, err = s.Text()
		case "data":
			m.data, err = s.Text()
		case "url":
			m.url, err = s.Text()
		case "image_url":
			m.url, err = readURL(s)
		case "source":
			m.source, err = s.ObjectValue()
		default:
			err = s.Skip()
		}
		return err
	})
	if err != nil {
		return err
	}
	own := s.Since(start)
	if len(p.media) > 0 {
		p.media = append(p.media, ',')
	}
	if m.source != nil {
		if err := m.checkSource(s); err != nil {
			return err
		}
		p.media = append(p.media, own...)
		return nil
	}
	return p.appendMedium(s, &m)
}

// readURL reads {"url":…}, or the URL alone.
func readURL(s *protocol.Scanner) (url jsontext.Value, err error) {
	if s.Kind() == '"' {
		return s.Text()
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

// checkSource checks the block of the Messages API as far as this API promises
// something of it.
func (m *medium) checkSource(s *protocol.Scanner) error {
	var source struct {
		Type      string `json:"type"`
		MediaType string `json:"media_type"`
	}
	if json.Unmarshal(m.source, &source) != nil || source.Type == "" {
		return s.Invalid("source.type", "field required")
	}
	kind := protocol.Unquote(m.kind)
	if kind != "image" && kind != "document" {
		return s.Invalid("type", "must be image or document")
	}
	if source.Type == "base64" && blockType(source.MediaType) != kind {
		return s.Invalid("source.media_type", unsupported)
	}
	return nil
}

const unsupported = "must be an image (jpeg, png, gif or webp) or a PDF"

// blockType gives the type of the content block for a media type, "" where there
// is none.
func blockType(mediaType string) string {
	switch mediaType {
	case "image/jpeg", "image/png", "image/gif", "image/webp":
		return "image"
	case "application/pdf":
		return "document"
	}
	return ""
}

// appendMedium appends a content block for data or a URL.
func (p *processRequest) appendMedium(s *protocol.Scanner, m *medium) error {
	kind, mediaType := protocol.Unquote(m.kind), strings.ToLower(protocol.Unquote(m.mediaType))
	if mediaType == "" && strings.Contains(kind, "/") {
		mediaType = strings.ToLower(kind)
	}
	if mediaType == "image/jpg" {
		mediaType = "image/jpeg" // not a registered type, and common all the same
	}
	field, url := "url", m.url
	if len(protocol.Inner(m.data)) > 0 {
		field, url = "data", m.data
		if !isData(url) {
			if blockType(mediaType) == "" {
				return s.Invalid("media_type", unsupported)
			}
			// What follows knows data: URLs.
			url = append([]byte(`"data:`+mediaType+`;base64,`), protocol.Inner(m.data)...)
			url = append(url, '"')
		}
	}
	if len(protocol.Inner(url)) == 0 {
		return s.Invalid("data", "field required, or url")
	}
	problem := ""
	switch pdf := isPDF(kind, mediaType, url); {
	case pdf && isData(url):
		p.media, problem = protocol.AppendPDF(p.media, url, nil, nil)
	case pdf:
		p.media, problem = protocol.AppendPDFURL(p.media, url, nil, nil)
	case mediaType != "" && blockType(mediaType) == "" && !isData(url):
		return s.Invalid("media_type", unsupported)
	default:
		p.media, problem = protocol.AppendImage(p.media, url, nil)
	}
	if problem != "" {
		return s.Invalid(field, problem)
	}
	return nil
}

func isData(quoted jsontext.Value) bool {
	return strings.HasPrefix(string(quoted[:min(len(quoted), len(`"data:`))]), `"data:`)
}

// isPDF says that something is a document: by what its data: URL says, else by
// its media type, else by its kind.
func isPDF(kind, mediaType string, url jsontext.Value) bool {
	const pdf = "application/pdf"
	switch {
	case isData(url):
		head, _, _ := bytes.Cut(url, []byte{','})
		return strings.Contains(strings.ToLower(strings.ReplaceAll(string(head), `\/`, "/")), pdf)
	case mediaType != "":
		return mediaType == pdf
	}
	return kind == "document" || kind == "pdf" || kind == "file"
}

// appendWords appends the members system and messages, with the media behind
// what the last message of the user's says.
func appendWords(dst []byte, words *protocol.Transcript, media []byte) ([]byte, error) {
	if len(media) == 0 {
		return words.Append(dst), nil
	}
	var members struct {
		System   jsontext.Value `json:"system,omitzero"`
		Messages []message.Turn `json:"messages"`
	}
	if err := json.Unmarshal(append(words.Append([]byte{'{'}), '}'), &members); err != nil {
		return nil, err // the Transcript writes valid JSON
	}
	last := -1
	for i, turn := range slices.Backward(members.Messages) {
		if turn.Role == message.RoleUser {
			last = i
			break
		}
	}
	if last < 0 {
		return nil, apierror.Invalid("media_content", "media_content: there is no message of the role user to put it behind")
	}
	content := []byte{'['}
	switch old := members.Messages[last].Content; {
	case old.Kind() == '[':
		content = append(append(content, old[1:len(old)-1]...), ',')
	case len(protocol.Inner(old)) > 0:
		content = append(append(append(content, `{"type":"text","text":`...), old...), "},"...)
	}
	members.Messages[last].Content = append(append(content, media...), ']')
	out, err := json.Marshal(members)
	if err != nil {
		return nil, err
	}
	return append(dst, out[1:len(out)-1]...), nil
}
