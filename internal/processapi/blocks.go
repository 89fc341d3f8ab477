package processapi

import (
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/protocol"
)

// blocks puts the content blocks of a streamed answer together again.
type blocks struct {
	list  []byte // the elements of the content array
	at    int    // where in list the last one starts
	other bool   // one of them isn't text
	cut   bool   // a call was cut short and left out

	open      bool
	kind      string // of the open block
	own       []byte // the open block as it started
	id, name  jsontext.Value
	input     []byte // as it started
	text      []byte // text, thinking or the input's pieces: the inside of a JSON string
	signature []byte // quoted
	citations []byte // the elements of an array
}

// start opens a block, which came as raw.
func (b *blocks) start(from *protocol.Block, raw jsontext.Value) {
	b.stop() // an upstream that left out the end
	*b = blocks{
		list: b.list, at: b.at, other: b.other, cut: b.cut, text: b.text[:0], citations: b.citations[:0],
		open: true, kind: string(from.Kind()), own: append(b.own[:0], raw...),
		id: append(b.id[:0], protocol.Quoted(from.ID)...), name: append(b.name[:0], protocol.Quoted(from.Name)...),
		input: append(b.input[:0], from.Input...), signature: append(b.signature[:0], from.Signature...),
	}
	switch b.kind {
	case "text":
		b.text = append(b.text, protocol.Inner(from.Text)...)
	case "thinking":
		b.text = append(b.text, protocol.Inner(from.Thinking)...)
	}
}

// delta adds to the open block.
func (b *blocks) delta(from *protocol.Block) {
	switch string(from.Kind()) {
	case "text_delta":
		b.text = append(b.text, protocol.Inner(from.Text)...)
	case "thinking_delta":
		b.text = append(b.text, protocol.Inner(from.Thinking)...)
	case "input_json_delta":
		b.text = append(b.text, protocol.Inner(from.PartialJSON)...)
	case "signature_delta":
		b.signature = append(b.signature[:0], from.Signature...)
	case "citations_delta":
		if len(from.Citation) == 0 {
			return
		}
		if len(b.citations) > 0 {
			b.citations = append(b.citations, ',')
		}
		b.citations = append(b.citations, from.Citation...)
	}
}

// stop closes the open block and says whether it calls a client's tool. A call
// that was cut short is left out, because a client would run the tool with what
// the model never asked for.
func (b *blocks) stop() bool {
	if !b.open {
		return false
	}
	b.open = false
	input := jsontext.Value("{}")
	if b.kind == "tool_use" || b.kind == "server_tool_use" {
		ok := false
		if input, ok = b.whole(); !ok {
			b.cut = true
			return false
		}
	}
	if len(b.list) > 0 {
		b.list = append(b.list, ',')
	}
	b.at = len(b.list)
	b.other = b.other || b.kind != "text"
	switch b.kind {
	case "text":
		b.list = append(append(append(b.list, `{"type":"text","text":"`...), b.text...), '"')
		if len(b.citations) > 0 {
			b.list = append(append(append(b.list, `,"citations":[`...), b.citations...), ']')
		}
		b.list = append(b.list, '}')
	case "thinking":
		b.list = append(append(append(b.list, `{"type":"thinking","thinking":"`...), b.text...), '"')
		if len(b.signature) > 0 {
			b.list = append(append(b.list, `,"signature":`...), b.signature...)
		}
		b.list = append(b.list, '}')
	case "tool_use", "server_tool_use":
		b.list = append(append(append(b.list, `{"type":"`...), b.kind...), `","id":`...)
		b.list = append(append(append(b.list, b.id...), `,"name":`...), b.name...)
		b.list = append(append(b.list, `,"input":`...), input...)
		b.list = append(b.list, '}')
	default:
		b.list = append(b.list, b.own...)
	}
	return b.kind == "tool_use"
}

// whole gives the input of the call that just ended: its pieces, or what it
// started with where none came. false: it was cut short.
func (b *blocks) whole() (input jsontext.Value, ok bool) {
	if len(b.text) > 0 {
		quoted := append(append([]byte{'"'}, b.text...), '"')
		input = jsontext.Value(protocol.Unquote(quoted))
		return input, input.Compact() == nil // an event is one line
	}
	if len(b.input) == 0 {
		return jsontext.Value("{}"), true
	}
	return jsontext.Value(b.input), true
}

// last is the block that ended last.
func (b *blocks) last() []byte { return b.list[b.at:] }

// content gives the content array; nil where all of it is text.
func (b *blocks) content() []byte {
	b.stop()
	if !b.other {
		return nil
	}
	return append(append([]byte{'['}, b.list...), ']')
}
