package responsesapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// streamWriter translates a stream event by event. Texts keep their escaped bytes
// and are gathered as well, because the events that end a part, an item and the
// response repeat them.
type streamWriter struct {
	call     *gateway.Call
	stream   *protocol.Stream
	response *response
	keeper   keeper
	now      func() time.Time

	reader   *protocol.EventReader
	frame    []byte // reused
	sequence int64
	begun    bool // response.created has been written

	open  *outItem        // the item that is being written
	shown bool            // the open item's part has been added
	delta []byte          // the open item's delta event up to the delta itself
	fence *protocol.Fence // takes a code fence off the open item's text; nil: it passes as it is
}

func newStreamWriter(w http.ResponseWriter, call *gateway.Call, r *response, keeper keeper, now func() time.Time) *streamWriter {
	return &streamWriter{
		call: call, stream: protocol.NewStream(w, protocol.SetOpenAIHeader), response: r, keeper: keeper, now: now,
		reader: protocol.NewEventReader(), frame: make([]byte, 0, 4_096),
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
		s.begin(protocol.Unquote(s.reader.Model))
	case message.EventContentBlockStart:
		s.begin("") // where an upstream left out message_start
		s.end()
		if it, ok := newItem(&s.reader.Block); ok {
			s.start(it)
		}
	case message.EventContentBlockDelta:
		if s.open != nil {
			s.addDelta(&s.reader.Block)
		}
	case message.EventMessageDelta:
		if s.reader.Refusal != nil {
			s.response.refusal = s.reader.Refusal.Clone() // the event's bytes don't last
		}
	case message.EventPing:
		if s.begun {
			s.frame = append(s.frame, ": ping\n\n"...) // keeps idle connections open
		}
	}
	if len(s.frame) == 0 {
		return nil
	}
	return s.stream.Write(s.frame)
}

// addDelta adds a delta to the open item.
func (s *streamWriter) addDelta(b *protocol.Block) {
	switch string(b.Kind()) {
	case "text_delta":
		s.add(kindMessage, b.Text)
	case "thinking_delta":
		s.add(kindReasoning, b.Thinking)
	case "input_json_delta":
		s.add(kindCall, b.PartialJSON)
	case "signature_delta":
		if s.open.kind == kindReasoning {
			s.open.signature = append(s.open.signature, protocol.Inner(b.Signature)...)
		}
	}
}

// begin sends the header and the two events that begin a response.
func (s *streamWriter) begin(model string) {
	if s.begun {
		return
	}
	s.begun = true
	if model == "" {
		model = s.call.Model
	}
	s.response.model = model
	s.stream.Start(s.call)
	for _, kind := range [...]string{"response.created", "response.in_progress"} {
		s.head(kind)
		s.frame = s.response.append(append(s.frame, `,"response":`...), state{status: statusInProgress})
		s.tail()
	}
}

// head begins an event.
func (s *streamWriter) head(kind string) {
	s.frame = append(append(append(s.frame, "event: "...), kind...), "\ndata: {\"type\":\""...)
	s.frame = append(append(s.frame, kind...), '"')
}

// tail ends an event.
func (s *streamWriter) tail() {
	s.frame = strconv.AppendInt(append(s.frame, `,"sequence_number":`...), s.sequence, 10)
	s.frame = append(s.frame, "}\n\n"...)
	s.sequence++
}

// itemHead begins an event about the open item.
func (s *streamWriter) itemHead(kind string) {
	s.head(kind)
	s.frame = append(append(append(s.frame, `,"item_id":"`...), s.open.id...), '"')
	s.frame = appendIndex(s.frame, `,"output_index":`, len(s.response.items)-1)
}

// partHead is itemHead for the item's one part.
func (s *streamWriter) partHead(kind string) {
	s.itemHead(kind)
	switch s.open.kind {
	case kindMessage:
		s.frame = append(s.frame, `,"content_index":0`...)
	case kindReasoning:
		s.frame = append(s.frame, `,"summary_index":0`...)
	}
}

// names gives the open item's events: those for its text, and those for its part;
// a call has no part.
func (s *streamWriter) names() (delta, done, added, ended string) {
	switch {
	case s.open.kind == kindCall:
		return "response.function_call_arguments.delta", "response.function_call_arguments.done", "", ""
	case s.open.kind == kindReasoning:
		return "response.reasoning_summary_text.delta", "response.reasoning_summary_text.done",
			"response.reasoning_summary_part.added", "response.reasoning_summary_part.done"
	case s.open.refusal:
		return "response.refusal.delta", "response.refusal.done", "response.content_part.added", "response.content_part.done"
	}
	return "response.output_text.delta", "response.output_text.done", "response.content_part.added", "response.content_part.done"
}

// start adds an item. Text that its block starts with is its first delta.
func (s *streamWriter) start(it outItem) {
	s.fence = nil
	if s.response.unfence && it.kind == kindMessage && !it.refusal {
		s.fence = &protocol.Fence{}
	}
	first := jsontext.Value(append(append([]byte{'"'}, it.text...), '"'))
	it.text = nil
	s.open = s.response.add(it)
	s.shown = false
	s.head("response.output_item.added")
	s.frame = appendIndex(s.frame, `,"output_index":`, len(s.response.items)-1)
	s.frame = s.open.append(append(s.frame, `,"item":`...), statusInProgress, false)
	s.tail()
	if s.open.kind == kindMessage {
		s.show() // a reasoning item may come without a summary
	}
	s.add(s.open.kind, first)
}

// show adds the open item's part.
func (s *streamWriter) show() {
	s.shown = true
	delta, _, added, _ := s.names()
	if added != "" {
		s.partHead(added)
		s.frame = s.open.appendPart(append(s.frame, `,"part":`...), nil)
		s.tail()
	}
	start := len(s.frame)
	s.partHead(delta)
	s.delta = append(append(s.delta[:0], s.frame[start:]...), `,"delta":`...)
	s.frame = s.frame[:start]
}

// add adds a text to the open item, if it is of this kind.
func (s *streamWriter) add(kind string, quoted jsontext.Value) {
	if s.open.kind != kind || s.open.redacted {
		return
	}
	if s.fence != nil {
		quoted = s.fence.WriteQuoted(quoted)
	}
	if len(protocol.Inner(quoted)) == 0 {
		return
	}
	if !s.shown {
		s.show()
	}
	s.open.text = append(s.open.text, protocol.Inner(quoted)...)
	s.frame = append(append(s.frame, s.delta...), quoted...)
	if kind == kindMessage && !s.open.refusal {
		s.frame = append(s.frame, `,"logprobs":[]`...)
	}
	s.tail()
}

// end ends the open item, if there is one. It is called when the next one begins
// or the answer ends, and not at the end of its block, because only then is it
// known whether the item was cut off.
func (s *streamWriter) end() {
	if s.open == nil {
		return
	}
	if fence := s.fence; fence != nil {
		s.fence = nil
		s.add(kindMessage, fence.CloseQuoted())
	}
	if it := s.open; it.kind == kindCall && len(it.text) == 0 {
		s.add(kindCall, protocol.AppendText(nil, string(it.input)))
	}
	if s.open.status == "" {
		s.open.status = statusCompleted
	}
	if s.shown {
		s.endPart()
	}
	s.head("response.output_item.done")
	s.frame = appendIndex(s.frame, `,"output_index":`, len(s.response.items)-1)
	s.frame = s.open.append(append(s.frame, `,"item":`...), s.open.status, s.response.request.encrypted)
	s.tail()
	s.open = nil
}

func (s *streamWriter) endPart() {
	_, done, _, ended := s.names()
	s.partHead(done)
	switch {
	case s.open.kind == kindCall:
		s.frame = append(append(s.frame, `,"name":`...), s.open.name...)
		s.frame = append(s.frame, `,"arguments":"`...)
	case s.open.refusal:
		s.frame = append(s.frame, `,"refusal":"`...)
	default:
		s.frame = append(s.frame, `,"text":"`...)
	}
	s.frame = append(append(s.frame, s.open.text...), '"')
	if s.open.kind == kindMessage && !s.open.refusal {
		s.frame = append(s.frame, `,"logprobs":[]`...)
	}
	s.tail()
	if ended != "" {
		s.partHead(ended)
		s.frame = s.open.appendPart(append(s.frame, `,"part":`...), s.open.text)
		s.tail()
	}
}

// Flush implements gateway.EventWriter.
func (s *streamWriter) Flush() error { return s.stream.Flush() }

// Message implements gateway.EventWriter.
func (s *streamWriter) Message([]byte) error { return protocol.ErrForm }

// End implements gateway.EventWriter: the end of the last item and of the
// response, which is kept before.
func (s *streamWriter) End(result gateway.Result) error {
	s.frame = s.frame[:0]
	s.begin("") // where not one event came
	refusal, refused := s.response.refused(result.StopReason)
	status, reason := statusOf(result.StopReason)
	if s.open != nil {
		s.open.status = status
		if refused {
			s.open.status = statusCompleted // the refusal is the item that was cut off
		}
	}
	s.end()
	if refused {
		s.start(refusal)
		s.open.status = status
		s.end()
	}
	s.response.details = s.reader.Details
	s.response.finish(status)
	state := state{status: status, reason: reason, usage: result.Usage, now: s.now().Unix()}
	start := len(s.frame)
	s.head("response." + status)
	s.frame = append(s.frame, `,"response":`...)
	at := len(s.frame)
	s.frame = s.response.append(s.frame, state)
	if err := s.keeper.keep(s.response, s.frame[at:]); err != nil {
		// What ends the last item may leave; what ends the response may not.
		_ = s.stream.Write(s.frame[:start])
		return err
	}
	s.tail()
	if err := s.stream.Write(s.frame); err != nil {
		return err
	}
	return s.stream.Close(s.call)
}

// Stream is what protocol.Serve keeps alive.
func (s *streamWriter) Stream() *protocol.Stream { return s.stream }

// Started implements protocol.Encoder.
func (s *streamWriter) Started() bool { return s.stream.Started() }

// Fail implements protocol.Encoder: it ends the stream with an error and a failed
// response, so that no client takes it for complete.
func (s *streamWriter) Fail(e *apierror.Error) {
	if e.Category != apierror.ClientClosed {
		s.frame = s.frame[:0]
		_, code := protocol.OpenAIErrorNames(e)
		s.head("error")
		s.frame = protocol.AppendTextOrNull(append(s.frame, `,"code":`...), code)
		s.frame = protocol.AppendText(append(s.frame, `,"message":`...), e.Message)
		s.frame = protocol.AppendTextOrNull(append(s.frame, `,"param":`...), e.Param)
		s.tail()
		s.head("response.failed")
		s.frame = s.response.append(append(s.frame, `,"response":`...), state{status: statusFailed, failed: e})
		s.tail()
		_ = s.stream.Write(s.frame) // a caller who left isn't told
	}
	_ = s.stream.Close(s.call)
}
