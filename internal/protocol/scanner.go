package protocol

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"sync"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// Scanner reads a JSON document once from front to back and gives out slices of
// it instead of copies. It refuses duplicate names and invalid UTF-8. Errors are
// apierror.Errors that name the field as the APIs write it (messages.0.role). It
// isn't safe for concurrent use.
type Scanner struct {
	doc []byte
	buf *bytes.Buffer
	dec *jsontext.Decoder
}

// NewScanner reads doc, which must not change while slices of it are in use.
func NewScanner(doc []byte) *Scanner {
	buf := bytes.NewBuffer(doc)
	return &Scanner{doc: doc, buf: buf, dec: jsontext.NewDecoder(buf)}
}

// Reset makes s read another document.
func (s *Scanner) Reset(doc []byte) {
	s.doc = doc
	*s.buf = *bytes.NewBuffer(doc)
	s.dec.Reset(s.buf)
}

// Scanners keeps Scanners between requests, because a decoder's own tables cost
// more than the reading of a short document. The zero value is ready for use, and
// it is safe for concurrent use.
type Scanners struct{ pool sync.Pool }

// Get gives a Scanner that reads doc.
func (p *Scanners) Get(doc []byte) *Scanner {
	if s, ok := p.pool.Get().(*Scanner); ok {
		s.Reset(doc)
		return s
	}
	return NewScanner(doc)
}

// Put takes a Scanner back. What it gave out stays valid; it keeps nothing of
// its document.
func (p *Scanners) Put(s *Scanner) {
	s.Reset(nil)
	p.pool.Put(s)
}

// Len is the document's size.
func (s *Scanner) Len() int { return len(s.doc) }

// Offset is where in the document the reading has come to.
func (s *Scanner) Offset() int { return int(s.dec.InputOffset()) }

// Since gives the document from an earlier Offset up to here, without what
// separates it from the value before.
func (s *Scanner) Since(offset int) jsontext.Value {
	return bytes.TrimLeft(s.doc[offset:s.Offset()], " \t\r\n,:")
}

// Kind looks at the next value without reading it: 'n', 't', 'f', '"', '0',
// '{', '[', or the end of the enclosing one.
func (s *Scanner) Kind() jsontext.Kind { return s.dec.PeekKind() }

// Value reads the next value whatever it is.
func (s *Scanner) Value() (jsontext.Value, error) {
	value, err := s.dec.ReadValue()
	if err != nil {
		return nil, message.InvalidJSON(err)
	}
	end := s.Offset()
	return s.doc[end-len(value) : end], nil
}

// Skip reads the next value and forgets it.
func (s *Scanner) Skip() error {
	if err := s.dec.SkipValue(); err != nil {
		return message.InvalidJSON(err)
	}
	return nil
}

// Document reads a document that is one JSON object and nothing behind it.
func (s *Scanner) Document(member func(name []byte) error) error {
	if kind := s.Kind(); kind != '{' && kind != 0 {
		return apierror.Invalid("", "the request body must be a JSON object")
	}
	if err := s.Object(member); err != nil {
		return err
	}
	if _, err := s.dec.ReadToken(); !errors.Is(err, io.EOF) {
		return apierror.Invalid("", "the request body has data after the JSON object")
	}
	return nil
}

// Object reads an object; member must read the value of the member that it is
// called for, whose name it may keep only until it returns.
func (s *Scanner) Object(member func(name []byte) error) error {
	if err := s.enter('{', "must be an object"); err != nil {
		return err
	}
	for s.Kind() == '"' {
		value, err := s.Value()
		if err != nil {
			return err
		}
		if err := member(name(value)); err != nil {
			return err
		}
	}
	return s.token() // the end, or a syntax error
}

// Array reads an array; element must read the element that it is called for.
func (s *Scanner) Array(element func(i int) error) error {
	if err := s.enter('[', "must be an array"); err != nil {
		return err
	}
	for i := 0; ; i++ {
		if kind := s.Kind(); kind == ']' || kind == 0 {
			return s.token()
		}
		if err := element(i); err != nil {
			return err
		}
	}
}

func (s *Scanner) enter(kind jsontext.Kind, must string) error {
	if got := s.Kind(); got != kind && got != 0 {
		return s.wrong(must)
	}
	return s.token()
}

// token reads one token.
func (s *Scanner) token() error {
	if _, err := s.dec.ReadToken(); err != nil {
		return message.InvalidJSON(err)
	}
	return nil
}

// wrong reads the next value and refuses it.
func (s *Scanner) wrong(must string) error {
	if err := s.Skip(); err != nil {
		return err
	}
	return s.Invalid("", must)
}

// Field names the value that was read last, with a further name behind it
// unless that is "".
func (s *Scanner) Field(name string) string {
	var b strings.Builder
	for token := range s.dec.StackPointer().Tokens() {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(token)
	}
	if name != "" {
		if b.Len() > 0 {
			b.WriteByte('.')
		}
		b.WriteString(name)
	}
	return b.String()
}

// Invalid refuses the value that was read last, or its member of the given name.
func (s *Scanner) Invalid(name, must string) error {
	field := s.Field(name)
	return apierror.Invalid(field, "%s: %s", field, must)
}

// Text reads a string and gives it quoted as it stands, nil for null.
func (s *Scanner) Text() (jsontext.Value, error) {
	switch s.Kind() {
	case '"', 0:
		return s.Value()
	case 'n':
		return nil, s.Skip()
	}
	return nil, s.wrong("must be a string")
}

// ObjectValue reads an object and gives it as it stands, nil for null.
func (s *Scanner) ObjectValue() (jsontext.Value, error) {
	switch s.Kind() {
	case '{', 0:
		return s.Value()
	case 'n':
		return nil, s.Skip()
	}
	return nil, s.wrong("must be an object")
}

// Bool reads a boolean, nil for null.
func (s *Scanner) Bool() (*bool, error) {
	kind := s.Kind()
	switch kind {
	case 't', 'f':
		value := kind == 't'
		return &value, s.Skip()
	case 'n', 0:
		return nil, s.Skip()
	}
	return nil, s.wrong("must be a boolean")
}

// Count reads a whole number of at least least, zero for null.
func (s *Scanner) Count(least int64) (int64, error) {
	value, err := s.Value()
	if err != nil || value.Kind() == 'n' {
		return 0, err
	}
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || n < least {
		return 0, s.Invalid("", "must be a whole number of at least "+strconv.FormatInt(least, 10))
	}
	return n, nil
}

// Number reads a number between low and high, nil for null.
func (s *Scanner) Number(low, high float64) (*float64, error) {
	value, err := s.Value()
	if err != nil || value.Kind() == 'n' {
		return nil, err
	}
	n, err := strconv.ParseFloat(string(value), 64)
	if err != nil || n < low || n > high {
		return nil, s.Invalid("", "must be a number from "+format(low)+" to "+format(high))
	}
	return &n, nil
}

func format(n float64) string { return strconv.FormatFloat(n, 'f', -1, 64) }

// Quoted gives a value that is a string as it is, and "" (with its quotes) for
// what isn't one, so that it can stand where a string is due.
func Quoted(value jsontext.Value) jsontext.Value {
	if value.Kind() != '"' {
		return jsontext.Value(`""`)
	}
	return value
}

// Unquote gives a JSON string's text, "" for nil.
func Unquote(value jsontext.Value) string {
	if len(value) < 2 {
		return ""
	}
	if inner := Inner(value); bytes.IndexByte(inner, '\\') < 0 {
		return string(inner)
	}
	text, err := jsontext.AppendUnquote(nil, value)
	if err != nil {
		return "" // value has been read as a valid string
	}
	return string(text)
}

// name is Unquote for a member's name: it copies only what is escaped.
func name(value jsontext.Value) []byte {
	if inner := Inner(value); bytes.IndexByte(inner, '\\') < 0 {
		return inner
	}
	return []byte(Unquote(value))
}

// Inner gives what stands between a JSON string's quotes, still escaped. Such
// texts may be joined without decoding them.
func Inner(value jsontext.Value) []byte {
	if len(value) < 2 {
		return nil
	}
	return value[1 : len(value)-1]
}

// AsksNothing says that a member's value means what an absent member means:
// null, false, 0, and what is empty.
func AsksNothing(value jsontext.Value) bool {
	switch string(value) {
	case "null", "false", "0", "0.0", `""`, "[]", "{}":
		return true
	}
	return false
}
