package anthropicapi

import (
	"bytes"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/sse"
)

// stopFrame ends a stream whose backend gave no message_stop of its own.
var stopFrame = sse.Append(nil, message.EventMessageStop, []byte(`{"type":"message_stop"}`))

// setHeader sets what an answer says of its call in this family. request-id is
// the upstream's where it gave one, because that is what its support asks for.
func (h *Handler) setHeader(header http.Header, call *gateway.Call) {
	header["Request-Id"] = []string{call.RequestID}
	protocol.SetHeader(header, call)
	reset := func(d time.Duration) []string {
		return []string{h.now().Add(d + time.Second - 1).UTC().Truncate(time.Second).Format(time.RFC3339)}
	}
	limits := &call.Limits
	if limits.RequestsLimit > 0 {
		header["Anthropic-Ratelimit-Requests-Limit"] = []string{strconv.Itoa(limits.RequestsLimit)}
		header["Anthropic-Ratelimit-Requests-Remaining"] = []string{strconv.Itoa(limits.RequestsRemaining)}
		header["Anthropic-Ratelimit-Requests-Reset"] = reset(limits.RequestsReset)
	}
	if limits.TokensLimit > 0 {
		header["Anthropic-Ratelimit-Tokens-Limit"] = []string{strconv.Itoa(limits.TokensLimit)}
		header["Anthropic-Ratelimit-Tokens-Remaining"] = []string{strconv.Itoa(limits.TokensRemaining)}
		header["Anthropic-Ratelimit-Tokens-Reset"] = reset(limits.TokensReset)
	}
}

// streamWriter passes a stream on.
type streamWriter struct {
	h      *Handler
	call   *gateway.Call
	stream *protocol.Stream
	last   []byte // the held back message_stop
	frame  []byte // reused
	failed bool   // the upstream's own error event has been passed on
}

// Event implements gateway.EventWriter.
func (s *streamWriter) Event(e message.Event) error {
	s.stream.Start(s.call)
	frame := e.Raw
	if frame == nil {
		s.frame = sse.Append(s.frame[:0], e.Type, e.Data)
		frame = s.frame
	}
	switch e.Type {
	case message.EventMessageStop:
		s.last = bytes.Clone(frame)
		return nil
	case message.EventError:
		s.failed = true
	}
	return s.stream.Write(frame)
}

// Flush implements gateway.EventWriter.
func (s *streamWriter) Flush() error { return s.stream.Flush() }

// Message implements gateway.EventWriter.
func (s *streamWriter) Message([]byte) error { return protocol.ErrForm }

// End implements gateway.EventWriter.
func (s *streamWriter) End(gateway.Result) error {
	s.stream.Start(s.call)
	if s.last == nil {
		s.last = stopFrame
	}
	if err := s.stream.Write(s.last); err != nil {
		return err
	}
	return s.stream.Close(s.call)
}

// Stream is what protocol.Serve keeps alive.
func (s *streamWriter) Stream() *protocol.Stream { return s.stream }

// Started implements protocol.Encoder.
func (s *streamWriter) Started() bool { return s.stream.Started() }

// Fail implements protocol.Encoder: it ends the stream with an error event. That
// the caller may be gone by then changes nothing.
func (s *streamWriter) Fail(e *apierror.Error) {
	if e.Category != apierror.ClientClosed && !s.failed {
		body := appendError(nil, e, s.call.RequestID)
		if up := e.Upstream; up != nil && !up.OurCredential && len(up.Body) > 0 {
			own := jsontext.Value(up.Body)
			if own.Compact() == nil { // an event's data is one line
				body = own
			}
		}
		_ = s.stream.Write(sse.Append(nil, message.EventError, body))
	}
	_ = s.stream.Close(s.call)
}

// wholeWriter passes a whole answer on.
type wholeWriter struct {
	h    *Handler
	call *gateway.Call
	w    http.ResponseWriter
	body []byte
	sent bool
}

// Event implements gateway.EventWriter.
func (p *wholeWriter) Event(message.Event) error { return protocol.ErrForm }

// Flush implements gateway.EventWriter.
func (p *wholeWriter) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (p *wholeWriter) Message(body []byte) error {
	p.body = body
	return nil
}

// End implements gateway.EventWriter.
func (p *wholeWriter) End(gateway.Result) error {
	if p.body == nil {
		return protocol.ErrForm
	}
	p.sent = true
	p.call.Clock.Finish()
	p.h.setHeader(p.w.Header(), p.call)
	return protocol.WriteJSON(p.w, http.StatusOK, p.body)
}

// Started implements protocol.Encoder.
func (p *wholeWriter) Started() bool { return p.sent }

// Fail implements protocol.Encoder. It does nothing: an answer of a stated length
// can't be taken back.
func (p *wholeWriter) Fail(*apierror.Error) {}
