package protocol

import (
	"errors"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

// ErrForm says that a backend answered a stream with a whole message, or the
// other way round.
var ErrForm = errors.New("the backend answered in the wrong form")

// Block is what is read of a content block of the Messages API, as a whole or as
// it starts, or of a delta to one. Its slices share memory with the document.
// What is absent is nil. Strings are quoted, and "" for values of another kind,
// because blocks of other types may use the same names.
type Block struct {
	Type, Text, Thinking, Signature, Data jsontext.Value
	PartialJSON, ID, Name                 jsontext.Value
	Input, Citation                       jsontext.Value // of any kind
}

// member reads one member.
func (b *Block) member(s *Scanner, name []byte) error {
	value, err := s.Value()
	switch string(name) {
	case "type":
		b.Type = Quoted(value)
	case "text":
		b.Text = Quoted(value)
	case "thinking":
		b.Thinking = Quoted(value)
	case "signature":
		b.Signature = Quoted(value)
	case "data":
		b.Data = Quoted(value)
	case "partial_json":
		b.PartialJSON = Quoted(value)
	case "id":
		b.ID = Quoted(value)
	case "name":
		b.Name = Quoted(value)
	case "input":
		b.Input = value
	case "citation":
		b.Citation = value
	}
	return err
}

// Kind is the block's type, without quotes.
func (b *Block) Kind() []byte { return Inner(b.Type) }

// Arguments is what a tool is called with: the input, {} where it is left out.
func (b *Block) Arguments() jsontext.Value {
	if len(b.Input) == 0 {
		return jsontext.Value("{}")
	}
	return b.Input
}

// EventReader reads the events of a stream, one after the other, without
// allocations. What it holds of an event shares memory with it and lasts until
// the next Read. It isn't safe for concurrent use.
type EventReader struct {
	Block // of content_block_start, and the delta of content_block_delta
	// Raw is the whole block of content_block_start as it came.
	Raw jsontext.Value

	MessageID, Model jsontext.Value // of message_start; strings, quoted
	StopReason       jsontext.Value // of message_delta; a string, quoted
	Refusal          jsontext.Value // of message_delta: why the model refused; see ReadRefusal

	// Details are what all events up to here say of the usage.
	Details UsageDetails

	scanner                        *Scanner
	event, message, block, changed func(name []byte) error // made once
}

// NewEventReader makes an EventReader.
func NewEventReader() *EventReader {
	r := &EventReader{scanner: NewScanner(nil)}
	r.event, r.message, r.block, r.changed = r.readEvent, r.readMessage, r.readBlock, r.readDelta
	return r
}

// Read reads an event. Of those that end something and of pings there is nothing
// to be read. An error is an apierror.Error of the upstream's.
func (r *EventReader) Read(e message.Event) error {
	r.Block, r.Raw = Block{}, nil
	r.MessageID, r.Model, r.StopReason, r.Refusal = nil, nil, nil, nil
	switch e.Type {
	case message.EventMessageStart, message.EventContentBlockStart, message.EventContentBlockDelta, message.EventMessageDelta:
	default:
		return nil
	}
	r.scanner.Reset(e.Data)
	if err := r.scanner.Document(r.event); err != nil {
		return apierror.Wrap(apierror.UpstreamError, "the upstream's stream couldn't be read", err)
	}
	return nil
}

// readEvent reads an event's members: what matters is in one object inside it.
func (r *EventReader) readEvent(name []byte) error {
	s := r.scanner
	switch string(name) {
	case "delta":
		return s.Object(r.changed)
	case "content_block":
		start := s.Offset()
		err := s.Object(r.block)
		r.Raw = s.Since(start)
		return err
	case "message":
		return s.Object(r.message)
	case "usage": // of a message_delta
		return r.Details.Read(s)
	}
	return s.Skip()
}

func (r *EventReader) readMessage(name []byte) (err error) {
	s := r.scanner
	switch string(name) {
	case "id":
		r.MessageID, err = s.Value()
		r.MessageID = Quoted(r.MessageID)
	case "model":
		r.Model, err = s.Value()
		r.Model = Quoted(r.Model)
	case "usage":
		err = r.Details.Read(s)
	default:
		err = s.Skip()
	}
	return err
}

func (r *EventReader) readBlock(name []byte) error { return r.member(r.scanner, name) }

// readDelta reads a change of a block, or of the message.
func (r *EventReader) readDelta(name []byte) (err error) {
	switch string(name) {
	case "stop_reason":
		r.StopReason, err = r.scanner.Value()
		r.StopReason = Quoted(r.StopReason)
		return err
	case "stop_details":
		r.Refusal, err = ReadRefusal(r.scanner)
		return err
	}
	return r.member(r.scanner, name)
}
