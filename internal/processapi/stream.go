package processapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// streamWriter translates a stream event by event: token and thinking as they
// come, tool_use when it is complete, and at the end done with the whole answer.
// Texts keep their escaped bytes.
type streamWriter struct {
	call     *gateway.Call
	asked    asked
	stream   *protocol.Stream
	scanner  *protocol.Scanner
	event    streamEvent
	read     func(name []byte) error // reads into event, made once
	inner    func(name []byte) error
	frame    []byte // reused
	answer   answer
	blocks   blocks
	answered bool // message_start has come
	fence    protocol.Fence
}

// streamEvent is what is read of one event. Its slices share memory with it.
type streamEvent struct {
	own                         jsontext.Value // the content block as it starts
	kind, text, thinking        jsontext.Value
	partial, signature, citing  jsontext.Value
	id, name, input, stopReason jsontext.Value
	model                       jsontext.Value
}

func newStreamWriter(w http.ResponseWriter, call *gateway.Call, asked asked) *streamWriter {
	s := &streamWriter{
		call: call, asked: asked, stream: protocol.NewStream(w),
		scanner: protocol.NewScanner(nil), frame: make([]byte, 0, 512),
	}
	s.read, s.inner = s.readMember, s.readInner
	return s
}

// readMember reads an event: what matters is in one object inside it.
func (s *streamWriter) readMember(name []byte) error {
	switch string(name) {
	case "message", "delta":
		return s.scanner.Object(s.inner)
	case "content_block":
		start := s.scanner.Offset()
		err := s.scanner.Object(s.inner)
		s.event.own = s.scanner.Since(start)
		return err
	}
	return s.scanner.Skip()
}

func (s *streamWriter) readInner(name []byte) error {
	value, err := s.scanner.Value()
	e := &s.event
	switch string(name) {
	case "type":
		e.kind = value
	case "text":
		e.text = protocol.Quoted(value)
	case "thinking":
		e.thinking = protocol.Quoted(value)
	case "signature":
		e.signature = protocol.Quoted(value)
	case "partial_json":
		e.partial = protocol.Quoted(value)
	case "citation":
		e.citing = value
	case "id":
		e.id = protocol.Quoted(value)
	case "name":
		e.name = protocol.Quoted(value)
	case "input":
		e.input = value
	case "model":
		e.model = protocol.Quoted(value)
	case "stop_reason":
		e.stopReason = protocol.Quoted(value)
	}
	return err
}

// Event implements gateway.EventWriter.
func (s *streamWriter) Event(e message.Event) error {
	s.frame = s.frame[:0]
	switch e.Type {
	case message.EventMessageStart, message.EventContentBlockStart, message.EventContentBlockDelta, message.EventMessageDelta:
		s.event = streamEvent{}
		s.scanner.Reset(e.Data)
		if err := s.scanner.Document(s.read); err != nil {
			return apierror.Wrap(apierror.UpstreamError, "the upstream's stream couldn't be read", err)
		}
		s.translate(e.Type)
	case message.EventContentBlockStop:
		if s.blocks.stop() {
			s.frame = append(s.frame, "event: tool_use\ndata: "...)
			s.frame = append(append(s.frame, s.blocks.last()...), "\n\n"...)
		}
	case message.EventPing:
		s.frame = append(s.frame, ": ping\n\n"...) // keeps idle connections open
	}
	if len(s.frame) == 0 {
		return nil
	}
	s.stream.Start(s.call)
	return s.stream.Write(s.frame)
}

// translate takes the event that was read, and appends the frame for it if it
// makes one.
func (s *streamWriter) translate(eventType string) {
	e := &s.event
	switch eventType {
	case message.EventMessageStart:
		s.answer.model, s.answered = protocol.Unquote(e.model), true
		s.stream.Start(s.call)
		return
	case message.EventMessageDelta:
		s.answer.stopReason = protocol.Unquote(e.stopReason)
		return
	case message.EventContentBlockStart:
		s.blocks.start(e)
	default:
		s.blocks.delta(e)
	}
	switch string(protocol.Inner(e.kind)) {
	case "text", "text_delta":
		s.appendToken(e.text)
	case "thinking", "thinking_delta":
		s.appendPiece("thinking", e.thinking)
	}
}

// appendToken appends the frame of a piece of the answer's text, as far as it
// isn't held back as what may be a code fence.
func (s *streamWriter) appendToken(quoted jsontext.Value) {
	if s.asked.json {
		quoted = protocol.AppendText(nil, string(s.fence.Write(nil, []byte(protocol.Unquote(quoted)))))
	}
	s.answer.text = append(s.answer.text, protocol.Inner(quoted)...)
	s.appendPiece("token", quoted)
}

// appendPiece appends the frame of a piece of text, none for an empty one.
func (s *streamWriter) appendPiece(kind string, quoted jsontext.Value) {
	if len(protocol.Inner(quoted)) == 0 {
		return
	}
	s.frame = append(append(append(s.frame, "event: "...), kind...), "\ndata: {\"type\":\""...)
	s.frame = append(append(append(s.frame, kind...), `","content":`...), quoted...)
	s.frame = append(s.frame, "}\n\n"...)
}

// Flush implements gateway.EventWriter.
func (s *streamWriter) Flush() error { return s.stream.Flush() }

// Message implements gateway.EventWriter.
func (s *streamWriter) Message([]byte) error { return errKind }

// End implements gateway.EventWriter: the event done, which holds the whole
// answer, so that a client may read only that.
func (s *streamWriter) End(result gateway.Result) error {
	if !s.answered {
		s.answer.model = result.Model
	}
	if s.answer.stopReason == "" {
		s.answer.stopReason = result.StopReason
	}
	s.answer.blocks = s.blocks.content()
	if s.blocks.cut {
		s.call.Warn("a call of a tool was cut short and left out")
	}
	s.call.Clock.Finish()
	s.stream.Start(s.call) // where not one event came
	s.frame = s.frame[:0]
	if s.asked.json {
		held := jsontext.Value(protocol.AppendText(nil, string(s.fence.Close(nil))))
		s.answer.text = append(s.answer.text, protocol.Inner(held)...)
		s.appendPiece("token", held)
	}
	s.frame = append(s.frame, "event: done\ndata: {\"type\":\"done\","...)
	s.frame = append(s.asked.append(s.frame, &s.answer, s.call, result), "}\n\n"...)
	if err := s.stream.Write(s.frame); err != nil {
		return err
	}
	return s.stream.Close(s.call)
}

func (s *streamWriter) started() bool { return s.stream.Started() }

// fail ends the stream with the event error and without done, so that no client
// takes it for complete.
func (s *streamWriter) fail(e *apierror.Error) {
	if e.Category != apierror.ClientClosed {
		s.frame = append(s.frame[:0], "event: error\ndata: {\"type\":\"error\","...)
		_ = s.stream.Write(append(appendError(s.frame, e), "}\n\n"...)) // a caller who left isn't told
	}
	_ = s.stream.Close(s.call)
}
