package claudecli

import (
	"bytes"
	"errors"
	"io"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// maxLine bounds one line of the process's output: a result line repeats the
// whole answer.
const maxLine = 64 << 20

var errLineTooLong = errors.New("line longer than 64 MiB")

// lineReader reads lines and keeps a partial one when a deadline interrupts it.
type lineReader struct {
	src        io.Reader
	buf        []byte
	start, end int
	scanned    int // how far from start it was searched for a newline
}

func newLineReader(src *os.File) *lineReader {
	return &lineReader{src: src, buf: make([]byte, 16<<10)}
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
	lineResult          = "result"
	lineControlRequest  = "control_request"
	lineControlResponse = "control_response"
)

// line is one line of the process's output, as far as the service reads it.
// Raw members alias the reader's buffer.
type line struct {
	Type      string         `json:"type"`
	Subtype   string         `json:"subtype"`
	SessionID string         `json:"session_id"`
	Event     jsontext.Value `json:"event"`
	Message   jsontext.Value `json:"message"`
	RequestID string         `json:"request_id"`
	Response  jsontext.Value `json:"response"`
	// Of a result:
	IsError        bool                  `json:"is_error"`
	APIErrorStatus int                   `json:"api_error_status"`
	Result         string                `json:"result"`
	TotalCostUSD   float64               `json:"total_cost_usd"`
	ModelUsage     map[string]modelUsage `json:"modelUsage"`
	UserMessage    string                `json:"user_message_uuid"`
	Errors         []string              `json:"errors"`
}

type modelUsage struct {
	InputTokens              int64 `json:"inputTokens"`
	OutputTokens             int64 `json:"outputTokens"`
	CacheReadInputTokens     int64 `json:"cacheReadInputTokens"`
	CacheCreationInputTokens int64 `json:"cacheCreationInputTokens"`
}

// read returns the next line that is JSON. Garbage between lines is skipped,
// and the process is marked: it won't be used again.
func (p *Process) read() (*line, error) {
	for {
		raw, err := p.lines.next()
		if err != nil {
			return nil, p.failure("read from the process", err)
		}
		if len(raw) == 0 {
			continue
		}
		l := &line{}
		if err := json.Unmarshal(raw, l, jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)); err != nil {
			p.options.Logger.Warn("the CLI wrote a line that isn't JSON", "pid", p.PID(), "bytes", len(raw), "error", err)
			p.broken = err
			continue
		}
		if l.SessionID != "" {
			p.sessionID = l.SessionID
		}
		return l, nil
	}
}
