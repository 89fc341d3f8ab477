package openaiapi

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// streamWriter translates a stream event by event. Texts keep their escaped
// bytes; nothing is decoded that is only passed on. Thinking becomes
// reasoning_content, which isn't OpenAI's but is what clients of other
// compatible services read; the others ignore it.
type streamWriter struct {
	call         *gateway.Call
	stream       *protocol.Stream
	created      int64
	includeUsage bool

	reader *protocol.EventReader
	frame  []byte // reused
	before []byte // a chunk up to its choices; nil before the first chunk

	fence *protocol.Fence // nil: the text passes as it is

	tools     int            // how many tools have been called
	inTool    bool           // the open block is a tool's
	input     jsontext.Value // the open tool's input as its block started
	hasDeltas bool           // some of the open tool's arguments have been sent
}

func newStreamWriter(w http.ResponseWriter, call *gateway.Call, created int64, includeUsage bool) *streamWriter {
	return &streamWriter{
		call: call, stream: protocol.NewStream(w, protocol.SetOpenAIHeader), created: created, includeUsage: includeUsage,
		reader: protocol.NewEventReader(), frame: make([]byte, 0, 1_024),
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
		s.begin(protocol.Unquote(s.reader.MessageID), protocol.Unquote(s.reader.Model))
	case message.EventContentBlockStart, message.EventContentBlockDelta:
		s.appendBlock(&s.reader.Block)
	case message.EventContentBlockStop:
		s.endTool()
	case message.EventMessageDelta:
		if s.reader.Refusal != nil {
			s.appendDelta(`"refusal":`, s.reader.Refusal)
		}
	case message.EventPing:
		if s.before != nil {
			s.frame = append(s.frame, ": ping\n\n"...) // keeps idle connections open
		}
	}
	if len(s.frame) == 0 {
		return nil
	}
	return s.stream.Write(s.frame)
}

// appendBlock appends the chunk for a block that starts, or for a delta to it, if
// it makes one.
func (s *streamWriter) appendBlock(b *protocol.Block) {
	switch string(b.Kind()) {
	case "text", "text_delta":
		s.appendText(b.Text)
	case "thinking", "thinking_delta":
		s.appendDelta(`"reasoning_content":`, b.Thinking)
	case "tool_use":
		s.inTool, s.hasDeltas = true, false
		s.input = append(s.input[:0], b.Arguments()...)
		s.open()
		s.frame = strconv.AppendInt(append(s.frame, `"tool_calls":[{"index":`...), int64(s.tools), 10)
		s.frame = append(append(s.frame, `,"id":`...), protocol.Quoted(b.ID)...)
		s.frame = append(append(s.frame, `,"type":"function","function":{"name":`...), protocol.Quoted(b.Name)...)
		s.frame = append(s.frame, `,"arguments":""}}]`...)
		s.close()
		s.tools++
	case "input_json_delta":
		if s.inTool && len(protocol.Inner(b.PartialJSON)) > 0 {
			s.hasDeltas = true
			s.appendArguments(b.PartialJSON)
		}
	}
}

// endTool ends the open block. A tool without parameters comes without deltas,
// or with empty ones; clients parse the arguments all the same, so they get what
// the block started with.
func (s *streamWriter) endTool() {
	if s.inTool && !s.hasDeltas {
		s.appendArguments(protocol.AppendText(nil, string(s.input)))
	}
	s.inTool = false
}

func (s *streamWriter) appendArguments(quoted jsontext.Value) {
	s.open()
	s.frame = strconv.AppendInt(append(s.frame, `"tool_calls":[{"index":`...), int64(s.tools-1), 10)
	s.frame = append(append(s.frame, `,"function":{"arguments":`...), quoted...)
	s.frame = append(s.frame, "}}]"...)
	s.close()
}

// appendText appends a chunk that adds to the answer's text, as far as it isn't
// held back as what may be a code fence.
func (s *streamWriter) appendText(quoted jsontext.Value) {
	if s.fence != nil {
		quoted = s.fence.WriteQuoted(quoted)
	}
	s.appendDelta(`"content":`, quoted)
}

// appendDelta appends a chunk that adds a text, none for an empty one.
func (s *streamWriter) appendDelta(field string, quoted jsontext.Value) {
	if len(protocol.Inner(quoted)) == 0 {
		return
	}
	s.open()
	s.frame = append(append(s.frame, field...), quoted...)
	s.close()
}

// begin sends the header and makes the chunk that names the role.
func (s *streamWriter) begin(id, model string) {
	if s.before != nil {
		return
	}
	s.stream.Start(s.call)
	s.before = protocol.AppendText([]byte(`data: {"id":`), answerID(id))
	s.before = strconv.AppendInt(append(s.before, `,"object":"chat.completion.chunk","created":`...), s.created, 10)
	s.before = protocol.AppendText(append(s.before, `,"model":`...), model)
	s.before = append(appendTier(appendSession(s.before, s.call), s.reader.Details.ServiceTier), `,"system_fingerprint":null,"choices":[`...)
	s.open()
	s.frame = append(s.frame, `"role":"assistant","content":"","refusal":null`...)
	s.close()
}

func (s *streamWriter) open() {
	if s.before == nil {
		s.begin("", s.call.Model) // an upstream that left out message_start
	}
	s.frame = append(append(s.frame, s.before...), `{"index":0,"delta":{`...)
}

func (s *streamWriter) close() { s.closeWith("null") }

func (s *streamWriter) closeWith(finishReason string) {
	s.frame = append(s.frame, `},"logprobs":null,"finish_reason":`...)
	s.frame = append(append(s.frame, finishReason...), "}]"...)
	if s.includeUsage {
		s.frame = append(s.frame, `,"usage":null`...)
	}
	s.frame = append(s.frame, "}\n\n"...)
}

// Flush implements gateway.EventWriter.
func (s *streamWriter) Flush() error { return s.stream.Flush() }

// Message implements gateway.EventWriter.
func (s *streamWriter) Message([]byte) error { return protocol.ErrForm }

// End implements gateway.EventWriter: the chunk with the finish_reason, the one
// with the usage where it was asked for, and the end mark.
func (s *streamWriter) End(result gateway.Result) error {
	s.frame = s.frame[:0]
	s.begin(result.ID, s.call.Model) // where not one event came
	if s.fence != nil {
		s.appendDelta(`"content":`, s.fence.CloseQuoted())
	}
	s.open()
	s.closeWith(`"` + protocol.FinishReason(result.StopReason) + `"`)
	if s.includeUsage {
		s.frame = append(append(s.frame, s.before...), `],"usage":`...)
		s.frame = append(appendUsage(s.frame, result.Usage, s.reader.Details.ThinkingTokens), "}\n\n"...)
	}
	s.frame = append(s.frame, "data: [DONE]\n\n"...)
	if err := s.stream.Write(s.frame); err != nil {
		return err
	}
	return s.stream.Close(s.call)
}

// Stream is what protocol.Serve keeps alive.
func (s *streamWriter) Stream() *protocol.Stream { return s.stream }

// Started implements protocol.Encoder.
func (s *streamWriter) Started() bool { return s.stream.Started() }

// Fail implements protocol.Encoder: it ends the stream with an error and without
// the end mark, so that no client takes it for complete.
func (s *streamWriter) Fail(e *apierror.Error) {
	frame := append(protocol.AppendOpenAIError([]byte("data: "), e), "\n\n"...)
	_ = s.stream.Write(frame) // a caller who left isn't told
	_ = s.stream.Close(s.call)
}
