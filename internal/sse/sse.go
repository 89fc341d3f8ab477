// Package sse reads and writes event streams (WHATWG HTML, "Server-sent
// events").
package sse

import (
	"bytes"
	"errors"
	"io"
)

// ContentType is the media type of an event stream.
const ContentType = "text/event-stream"

// ErrTooLarge is returned for an event above the reader's limit.
var ErrTooLarge = errors.New("event larger than the limit")

// Frame is one event of a stream.
type Frame struct {
	ID    []byte // the id field, nil when there is none
	Event []byte // the event field, nil when there is none
	Data  []byte // the data field; several data lines are joined by a newline
	Raw   []byte // the bytes as they came, with the blank line that ends them
}

// Reader scans a stream event by event without copying it. It isn't safe for
// concurrent use.
type Reader struct {
	src        io.Reader
	buf        []byte
	start, end int // what of buf is unread
	limit      int
	joined     []byte
	err        error
}

const startBuffer = 4 << 10

// NewReader reads events of at most limit bytes from src.
func NewReader(src io.Reader, limit int) *Reader {
	return &Reader{src: src, buf: make([]byte, min(startBuffer, limit)), limit: limit}
}

// Next returns the next event; its slices are valid until the following call.
// Comments and empty events stay inside the Raw bytes of the event that
// follows. At the end of the stream it returns io.EOF, or io.ErrUnexpectedEOF
// if the last event isn't complete.
func (r *Reader) Next() (Frame, error) {
	// skip is the length of what is kept in front of the next event.
	skip, scanned := 0, 0
	for {
		unread := r.buf[r.start:r.end]
		if raw, ok := cut(unread[skip:], &scanned); ok {
			skip += len(raw)
			if !isEvent(raw) {
				// A comment or a blank line by itself: nobody waits for it.
				scanned = 0
				continue
			}
			r.start += skip
			return r.parse(unread[:skip]), nil
		}
		if r.err != nil {
			if errors.Is(r.err, io.EOF) && len(bytes.TrimSpace(unread[skip:])) > 0 {
				return Frame{}, io.ErrUnexpectedEOF
			}
			return Frame{}, r.err
		}
		if err := r.fill(); err != nil {
			return Frame{}, err
		}
	}
}

// Buffered says whether a whole further event is already in memory, so that
// the next call of Next won't wait for the network.
func (r *Reader) Buffered() bool {
	for unread := r.buf[r.start:r.end]; ; {
		scanned := 0
		raw, ok := cut(unread, &scanned)
		if !ok || isEvent(raw) {
			return ok
		}
		unread = unread[len(raw):]
	}
}

// isEvent says whether a block of lines holds a field that makes it an event.
func isEvent(raw []byte) bool {
	for len(raw) > 0 {
		var line []byte
		line, raw, _ = bytes.Cut(raw, []byte("\n"))
		name, _, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\r")), []byte(":"))
		if string(name) == "data" || string(name) == "event" {
			return true
		}
	}
	return false
}

func (r *Reader) fill() error {
	if r.start > 0 && r.end == len(r.buf) {
		r.end = copy(r.buf, r.buf[r.start:r.end])
		r.start = 0
	}
	if r.end == len(r.buf) {
		if len(r.buf) >= r.limit {
			return ErrTooLarge
		}
		grown := make([]byte, min(2*len(r.buf), r.limit))
		r.end = copy(grown, r.buf[r.start:r.end])
		r.start = 0
		r.buf = grown
	}
	n, err := r.src.Read(r.buf[r.end:])
	r.end += n
	r.err = err
	return nil
}

// cut finds the first complete event: everything up to and including a blank
// line. It remembers in scanned how far it looked.
func cut(b []byte, scanned *int) ([]byte, bool) {
	at := max(0, *scanned-3)
	for {
		i := bytes.IndexByte(b[at:], '\n')
		if i < 0 {
			*scanned = len(b)
			return nil, false
		}
		at += i + 1
		rest := b[at:]
		if len(rest) > 0 && rest[0] == '\n' {
			return b[:at+1], true
		}
		if len(rest) > 1 && rest[0] == '\r' && rest[1] == '\n' {
			return b[:at+2], true
		}
	}
}

func (r *Reader) parse(raw []byte) Frame {
	frame := Frame{Raw: raw}
	joined := false
	for rest := raw; len(rest) > 0; {
		var line []byte
		line, rest, _ = bytes.Cut(rest, []byte("\n"))
		line = bytes.TrimSuffix(line, []byte("\r"))
		name, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			frame.ID = value
		case "event":
			frame.Event = value
		case "data":
			switch {
			case frame.Data == nil:
				frame.Data = value
				if frame.Data == nil {
					frame.Data = []byte{}
				}
			case !joined:
				r.joined = append(append(append(r.joined[:0], frame.Data...), '\n'), value...)
				frame.Data, joined = r.joined, true
			default:
				r.joined = append(append(r.joined, '\n'), value...)
				frame.Data = r.joined
			}
		}
	}
	return frame
}

// Append appends one event to dst. An empty event name is left out. Data must
// hold no newline, as JSON on one line doesn't.
func Append(dst []byte, event string, data []byte) []byte {
	if event != "" {
		dst = append(append(append(dst, "event: "...), event...), '\n')
	}
	dst = append(dst, "data: "...)
	dst = append(dst, data...)
	return append(dst, "\n\n"...)
}
