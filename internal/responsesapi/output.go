package responsesapi

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/protocol"
)

// The kinds of an output's items.
const (
	kindMessage   = "message"
	kindCall      = "function_call"
	kindReasoning = "reasoning"
)

// The states of a response and of its items.
const (
	statusCompleted  = "completed"
	statusIncomplete = "incomplete"
	statusInProgress = "in_progress"
	statusFailed     = "failed"
)

// outItem is one item of an answer: one content block of the Messages API. What
// it holds are its own copies.
type outItem struct {
	kind string
	id   string
	// text is the inside of a JSON string: a message's text, a call's arguments, a
	// reasoning item's summary.
	text         []byte
	refusal      bool           // of a message: the text is a refusal
	name, callID jsontext.Value // of a call, quoted
	input        []byte         // of a call: its arguments as the block started
	// signature is the inside of a JSON string: a thinking block's signature, or a
	// redacted one's data.
	signature []byte
	redacted  bool
	status    string
}

// itemPrefixes begin the ids of items, as at OpenAI.
func itemPrefix(kind string) string {
	switch kind {
	case kindCall:
		return "fc_"
	case kindReasoning:
		return "rs_"
	}
	return "msg_"
}

// itemID makes the id of the n-th item of a response.
func itemID(kind, response string, n int) string {
	return string(appendItemID(make([]byte, 0, 64), kind, response, n))
}

// appendItemID appends the id of the n-th item of a response. It names the
// response, so that a reference finds it without an index.
func appendItemID(dst []byte, kind, response string, n int) []byte {
	dst = append(append(dst, itemPrefix(kind)...), response...)
	for shift := 12; shift >= 0; shift -= 4 {
		dst = append(dst, "0123456789abcdef"[n>>shift&15])
	}
	return dst
}

// responseOf gives the response that an item's id names, "" for an id that isn't
// of this service.
func responseOf(id string) string {
	for _, kind := range [...]string{kindMessage, kindCall, kindReasoning} {
		prefix := itemPrefix(kind)
		if len(id) == len(prefix)+idLength+4 && id[:len(prefix)] == prefix {
			return responsePrefix + id[len(prefix):len(prefix)+idLength]
		}
	}
	return ""
}

// summary says whether a reasoning item has one.
func (it *outItem) summary() bool { return len(it.text) > 0 }

// appendItem appends an item; encrypted gives a reasoning item what it takes to
// go on from it.
func (it *outItem) append(dst []byte, status string, encrypted bool) []byte {
	dst = append(append(append(dst, `{"id":"`...), it.id...), `","type":"`...)
	dst = append(append(dst, it.kind...), '"')
	switch it.kind {
	case kindMessage:
		dst = append(append(append(dst, `,"status":"`...), status...), `","role":"assistant","content":[`...)
		if status != statusInProgress {
			dst = it.appendPart(dst, it.text)
		}
		dst = append(dst, ']')
	case kindCall:
		dst = append(append(append(dst, `,"status":"`...), status...), `","call_id":`...)
		dst = append(append(append(dst, it.callID...), `,"name":`...), it.name...)
		dst = append(dst, `,"arguments":"`...)
		if status != statusInProgress {
			dst = append(dst, it.text...)
		}
		dst = append(dst, '"')
	case kindReasoning:
		dst = append(dst, `,"summary":[`...)
		if it.summary() && status != statusInProgress {
			dst = it.appendPart(dst, it.text)
		}
		dst = append(dst, ']')
		if encrypted && len(it.signature) > 0 && status != statusInProgress {
			dst = sealThinking(append(dst, `,"encrypted_content":`...), it.block())
		}
	}
	return append(dst, '}')
}

// appendPart appends the item's one part with this text, the inside of a JSON
// string.
func (it *outItem) appendPart(dst, text []byte) []byte {
	switch {
	case it.kind == kindReasoning:
		dst = append(append(append(dst, `{"type":"summary_text","text":"`...), text...), '"')
	case it.refusal:
		dst = append(append(append(dst, `{"type":"refusal","refusal":"`...), text...), '"')
	default:
		dst = append(append(append(dst, `{"type":"output_text","text":"`...), text...), `","annotations":[],"logprobs":[]`...)
	}
	return append(dst, '}')
}

// block gives a reasoning item back as the thinking block that it was.
func (it *outItem) block() []byte {
	if it.redacted {
		return append(append([]byte(`{"type":"redacted_thinking","data":"`), it.signature...), `"}`...)
	}
	dst := append(append([]byte(`{"type":"thinking","thinking":"`), it.text...), `","signature":"`...)
	return append(append(dst, it.signature...), `"}`...)
}

// newItem makes an item of a block; not ok for one that has no place in an answer
// of this API.
func newItem(b *protocol.Block) (it outItem, ok bool) {
	switch string(b.Kind()) {
	case "text":
		it.kind = kindMessage
		it.text = append(it.text, protocol.Inner(b.Text)...)
	case "thinking":
		it.kind = kindReasoning
		it.text = append(it.text, protocol.Inner(b.Thinking)...)
		it.signature = append(it.signature, protocol.Inner(b.Signature)...)
	case "redacted_thinking":
		it.kind, it.redacted = kindReasoning, true
		it.signature = append(it.signature, protocol.Inner(b.Data)...)
	case "tool_use":
		it.kind = kindCall
		it.callID, it.name = protocol.Quoted(b.ID).Clone(), protocol.Quoted(b.Name).Clone()
		it.input = append(it.input, b.Arguments()...)
	default:
		return it, false
	}
	return it, true
}

// complete ends a call that came without deltas: its arguments are what its block
// started with. A client parses them all the same.
func (it *outItem) complete() {
	if it.kind == kindCall && len(it.text) == 0 {
		it.text = protocol.Inner(protocol.AppendText(nil, string(it.input)))
	}
}

// appendIndex appends a member with a number.
func appendIndex(dst []byte, member string, n int) []byte {
	return strconv.AppendInt(append(dst, member...), int64(n), 10)
}
