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
	reader   *protocol.EventReader
	frame    []byte // reused
	answer   answer
	blocks   blocks
	answered bool // message_start has come
	fence    protocol.Fence
}

func newStreamWriter(w http.ResponseWriter, call *gateway.Call, asked asked) *streamWriter {
	return &streamWriter{
		call: call, asked: asked, stream: protocol.NewStream(w, protocol.SetHeader),
		reader: protocol.NewEventReader(), frame: make([]byte, 0, 512),
	}
}

// Event implements gateway.EventWriter.
func (s *streamWriter) Event(e message.Event) error {
	s.frame = s.frame[:0]
	if err := s.reader.Read(e); err != nil {
		return err
	}
	switch e.Type {
	case message.EventMessageStart:
		s.answer.model, s.answered = protocol.Unquote(s.reader.Model), true
		s.stream.Start(s.call)
	case message.EventContentBlockStart:
		s.blocks.start(&s.reader.Block, s.reader.Raw)
		s.appendBlock(&s.reader.Block)
	case message.EventContentBlockDelta:
		s.blocks.delta(&s.reader.Block)
		s.appendBlock(&s.reader.Block)
	case message.EventContentBlockStop:
		if s.blocks.stop() {
			s.frame = append(s.frame, "event: tool_use\ndata: "...)
			s.frame = append(append(s.frame, s.blocks.last()...), "\n\n"...)
		}
	case message.EventMessageDelta:
		s.answer.stopReason = protocol.Unquote(s.reader.StopReason)
	case message.EventPing:
		s.frame = append(s.frame, ": ping\n\n"...) // keeps idle connections open
	}
	if len(s.frame) == 0 {
		return nil
	}
	s.stream.Start(s.call)
	return s.stream.Write(s.frame)
}

// appendBlock appends the frame for a block that starts, or for a delta to it, if
// it makes one.
func (s *streamWriter) appendBlock(b *protocol.Block) {
	switch string(b.Kind()) {
	case "text", "text_delta":
		s.appendToken(b.Text)
	case "thinking", "thinking_delta":
		s.appendPiece("thinking", b.Thinking)
	}
}

// appendToken appends the frame of a piece of the answer's text, as far as it
// isn't held back as what may be a code fence.
func (s *streamWriter) appendToken(quoted jsontext.Value) {
	if s.asked.json {
		quoted = s.fence.WriteQuoted(quoted)
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
func (s *streamWriter) Message([]byte) error { return protocol.ErrForm }

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
		held := s.fence.CloseQuoted()
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

// Stream is what protocol.Serve keeps alive.
func (s *streamWriter) Stream() *protocol.Stream { return s.stream }

// Started implements protocol.Encoder.
func (s *streamWriter) Started() bool { return s.stream.Started() }

// Fail implements protocol.Encoder: it ends the stream with the event error and
// without done, so that no client takes it for complete.
func (s *streamWriter) Fail(e *apierror.Error) {
	if e.Category != apierror.ClientClosed {
		s.frame = append(s.frame[:0], "event: error\ndata: {\"type\":\"error\","...)
		_ = s.stream.Write(append(protocol.AppendFlatError(s.frame, e), "}\n\n"...)) // a caller who left isn't told
	}
	_ = s.stream.Close(s.call)
}
