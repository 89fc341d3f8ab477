package claudecli

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// maxLine bounds one line of the process's output: a result line repeats the
// whole answer.
const maxLine = 64 << 20

// Buffers begin at startBuffer; one that has grown beyond keepBuffer for a large
// request isn't kept.
const (
	startBuffer = 16 << 10
	keepBuffer  = 1 << 20
)

var errLineTooLong = errors.New("line longer than 64 MiB")

// lineReader reads lines and keeps a partial one when a deadline interrupts it.
type lineReader struct {
	src        io.Reader
	buf        []byte
	start, end int
	scanned    int // how far from start it was searched for a newline
}

func newLineReader(src *os.File) *lineReader {
	return &lineReader{src: src, buf: make([]byte, startBuffer)}
}

// next returns the next line without its newline, valid until the next call.
func (r *lineReader) next() ([]byte, error) {
	for {
		if i := bytes.IndexByte(r.buf[r.start+r.scanned:r.end], '\n'); i >= 0 {
			line := r.buf[r.start : r.start+r.scanned+i]
			r.start += r.scanned + i + 1
			r.scanned = 0
			return line, nil
		}
		r.scanned = r.end - r.start
		if err := r.fill(); err != nil {
			return nil, err
		}
	}
}

func (r *lineReader) fill() error {
	if r.start > 0 {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == 0 && len(r.buf) > keepBuffer {
		r.buf = make([]byte, startBuffer)
	}
	if r.end == len(r.buf) {
		if len(r.buf) >= maxLine {
			return errLineTooLong
		}
		r.buf = append(r.buf, make([]byte, len(r.buf))...)
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	if n > 0 {
		return nil
	}
	return err
}

// buffered says whether a whole further line is in memory.
func (r *lineReader) buffered() bool {
	return bytes.IndexByte(r.buf[r.start:r.end], '\n') >= 0
}

// The types of output lines that the service reads; others are skipped.
const (
	lineSystem          = "system"
	lineStreamEvent     = "stream_event"
	lineAssistant       = "assistant"
	lineUser            = "user"
	lineResult          = "result"
	lineRateLimit       = "rate_limit_event"
	lineControlRequest  = "control_request"
	lineControlResponse = "control_response"
	lineControlCancel   = "control_cancel_request"
)

// What known looks names up in.
var (
	lineTypes  = []string{lineStreamEvent, lineSystem, lineAssistant, lineUser, lineResult, lineRateLimit, lineControlRequest, lineControlResponse, lineControlCancel}
	eventTypes = []string{
		message.EventContentBlockDelta, message.EventContentBlockStart, message.EventContentBlockStop,
		message.EventMessageStart, message.EventMessageDelta, message.EventMessageStop, message.EventPing, message.EventError,
	}
)

// line is one line of the process's output, as far as the service reads it. It
// is valid until the next line is read.
type line struct {
	Type string
	// Event and EventType are those of a stream_event.
	Event     jsontext.Value
	EventType string
	// Raw is the whole line.
	Raw jsontext.Value
}

// resultLine is a line of type result.
type resultLine struct {
	Subtype        string                `json:"subtype"`
	IsError        bool                  `json:"is_error"`
	APIErrorStatus int                   `json:"api_error_status"`
	TerminalReason string                `json:"terminal_reason"`
	Result         jsontext.Value        `json:"result"`
	TotalCostUSD   float64               `json:"total_cost_usd"`
	ModelUsage     map[string]modelUsage `json:"modelUsage"`
	Errors         []string              `json:"errors"`
}

type modelUsage struct {
	InputTokens              int64 `json:"inputTokens"`
	OutputTokens             int64 `json:"outputTokens"`
	CacheReadInputTokens     int64 `json:"cacheReadInputTokens"`
	CacheCreationInputTokens int64 `json:"cacheCreationInputTokens"`
	// CostBasis is what the CLI's figure rests on: "list" for its own list of prices,
	// basisUnknown for a guess. 2.1.197 doesn't say, and guesses too.
	CostBasis string `json:"costBasis"`
}

const basisUnknown = "unknown"

// controlLine is a line of type control_request or control_response.
type controlLine struct {
	RequestID string          `json:"request_id"`
	Response  controlResponse `json:"response"`
}

// lenient takes the CLI's JSON as it comes: its texts may hold broken UTF-8.
var lenient = json.JoinOptions(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))

// decode reads a line of the CLI into a struct.
func decode(raw jsontext.Value, into any) error {
	return json.Unmarshal(raw, into, lenient)
}

// read returns the next line that is JSON. Garbage between lines is skipped,
// and the process is marked: it won't be used again.
func (c *child) read() (*line, error) {
	for {
		raw, err := c.lines.next()
		if err != nil {
			return nil, c.failure("read from the process", err)
		}
		if len(raw) == 0 {
			continue
		}
		if err := c.scan(raw); err != nil {
			c.options.Logger.Warn("the CLI wrote a line that isn't JSON", "pid", c.PID(), "bytes", len(raw), "error", err)
			c.broken = err
			continue
		}
		return &c.line, nil
	}
}

// scan reads of a line what tells it apart, in one pass and without copying.
func (c *child) scan(raw []byte) error {
	c.line = line{Raw: raw}
	m := &c.members
	for m.over(raw); m.next(); {
		switch string(m.name) {
		case `"type"`:
			c.line.Type = known(m.value, lineTypes)
		case `"session_id"`:
			if session := unquoted(m.value); session != nil && string(session) != c.sessionID {
				c.sessionID = string(session)
			}
		case `"event"`:
			c.line.Event = m.value
		}
	}
	if m.err != nil || len(c.line.Event) == 0 || c.line.Type != lineStreamEvent {
		return m.err // others have events of other kinds, as a name (2.1.331)
	}
	for m.over(c.line.Event); m.next(); {
		if string(m.name) == `"type"` {
			c.line.EventType = known(m.value, eventTypes)
		}
	}
	return m.err
}

// known gives the one of the known names that a JSON string is, "" for another.
func known(value []byte, names []string) string {
	text := unquoted(value)
	for _, name := range names {
		if string(text) == name {
			return name
		}
	}
	return ""
}

// unquoted takes the quotes off a JSON string that has no escapes, as the CLI's
// own names haven't; nil for anything else.
func unquoted(value []byte) []byte {
	if len(value) < 2 || value[0] != '"' {
		return nil
	}
	return value[1 : len(value)-1]
}

// members walks over the members of a JSON object. Its decoder is used again.
type members struct {
	buffer  bytes.Buffer
	decoder *jsontext.Decoder
	raw     []byte
	// name is as it is quoted; both share raw's memory.
	name, value []byte
	at          int // where in raw the value begins
	err         error
}

func (m *members) over(raw []byte) {
	m.raw = raw
	m.buffer = *bytes.NewBuffer(raw)
	if m.decoder == nil {
		m.decoder = jsontext.NewDecoder(&m.buffer, lenient)
	} else {
		m.decoder.Reset(&m.buffer, lenient)
	}
	_, m.err = m.decoder.ReadToken()
	if m.err == nil && m.decoder.StackDepth() == 0 {
		m.err = errNoObject
	}
}

var errNoObject = errors.New("not a JSON object")

// next reads a member; false at the end or on an error.
func (m *members) next() bool {
	if m.err != nil {
		return false
	}
	if m.decoder.PeekKind() == '}' {
		m.err = m.end()
		return false
	}
	if m.name, m.err = m.read(); m.err == nil {
		m.value, m.err = m.read()
	}
	return m.err == nil
}

// end reads what closes the object: nothing may follow it.
func (m *members) end() error {
	if _, err := m.decoder.ReadToken(); err != nil {
		return err
	}
	if _, err := m.decoder.ReadToken(); !errors.Is(err, io.EOF) {
		return errNoObject
	}
	return nil
}

func (m *members) read() ([]byte, error) {
	value, err := m.decoder.ReadValue()
	end := int(m.decoder.InputOffset())
	m.at = end - len(value)
	return m.raw[m.at:end], err
}
