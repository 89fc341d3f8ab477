package simulator

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"unicode/utf8"

	"claude-code-api-service/internal/message"
)

// signature makes the signature of a thinking block: opaque to clients, the
// same for the same prompt.
func signature(prompt []byte) string {
	return base64.StdEncoding.EncodeToString(strconv.AppendUint([]byte("simulator-"), hash(prompt), 16))
}

// appendMessage appends an answer in one piece.
func appendMessage(dst []byte, a *answer, model []byte) []byte {
	dst = appendHead(dst, a, model)
	for i := range a.content {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendContent(dst, &a.content[i])
	}
	dst = append(dst, `],"stop_reason":`...)
	dst = appendStop(dst, a)
	dst = append(dst, `,"usage":`...)
	dst = appendUsage(dst, a, a.usage.OutputTokens)
	dst = appendCacheCreation(dst, a.usage)
	return append(dst, '}')
}

// appendHead appends a message up to and including the bracket that opens its
// content.
func appendHead(dst []byte, a *answer, model []byte) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, a.id...)
	dst = append(dst, `","type":"message","role":"assistant","model":`...)
	dst = appendQuote(dst, model)
	return append(dst, `,"content":[`...)
}

func appendContent(dst []byte, c *content) []byte {
	switch c.kind {
	case "thinking":
		dst = append(dst, `{"type":"thinking","thinking":`...)
		dst = appendQuote(dst, c.text)
		dst = append(dst, `,"signature":"`...)
		dst = append(dst, c.signature...)
		return append(dst, `"}`...)
	case "web_search_tool_result":
		dst = append(dst, `{"type":"web_search_tool_result","tool_use_id":"`...)
		dst = append(dst, c.id...)
		dst = append(dst, `","content":`...)
		dst = append(dst, c.text...)
		return append(dst, '}')
	case "tool_use", "server_tool_use":
		dst = append(append(dst, `{"type":"`...), c.kind...)
		dst = append(append(dst, `","id":"`...), c.id...)
		dst = append(dst, `","name":`...)
		dst = appendQuote(dst, c.name)
		dst = append(dst, `,"input":`...)
		dst = append(dst, c.text...)
		return append(dst, '}')
	default:
		dst = append(dst, `{"type":"text","text":`...)
		dst = appendQuote(dst, c.text)
		if c.citation != nil {
			dst = append(dst, `,"citations":[`...)
			dst = append(dst, c.citation...)
			dst = append(dst, ']')
		}
		return append(dst, '}')
	}
}

// appendStop appends the values of stop_reason and, with its name,
// stop_sequence.
func appendStop(dst []byte, a *answer) []byte {
	dst = appendQuote(dst, a.stopReason)
	dst = append(dst, `,"stop_sequence":`...)
	if a.stopSequence == nil {
		return append(dst, "null"...)
	}
	return appendQuote(dst, a.stopSequence)
}

func appendUsage(dst []byte, a *answer, output int64) []byte {
	u := a.usage
	dst = append(dst, `{"input_tokens":`...)
	dst = strconv.AppendInt(dst, u.InputTokens, 10)
	dst = append(dst, `,"cache_creation_input_tokens":`...)
	dst = strconv.AppendInt(dst, u.CacheCreationInputTokens, 10)
	dst = append(dst, `,"cache_read_input_tokens":`...)
	dst = strconv.AppendInt(dst, u.CacheReadInputTokens, 10)
	dst = append(dst, `,"output_tokens":`...)
	dst = strconv.AppendInt(dst, output, 10)
	if a.searches > 0 {
		dst = append(dst, `,"server_tool_use":{"web_search_requests":`...)
		dst = append(strconv.AppendInt(dst, int64(a.searches), 10), '}')
	}
	return append(dst, '}')
}

// appendCacheCreation adds to a usage object what only a whole message and a
// stream's start have.
func appendCacheCreation(dst []byte, u message.Usage) []byte {
	dst = append(dst[:len(dst)-1], `,"cache_creation":{"ephemeral_5m_input_tokens":`...)
	dst = strconv.AppendInt(dst, u.CacheCreation.Ephemeral5mInputTokens, 10)
	dst = append(dst, `,"ephemeral_1h_input_tokens":`...)
	dst = strconv.AppendInt(dst, u.CacheCreation.Ephemeral1hInputTokens, 10)
	return append(dst, `},"service_tier":"standard"}`...)
}

// begin appends the start of an event, up to its type.
func begin(dst []byte, event string) []byte {
	dst = append(dst, "event: "...)
	dst = append(dst, event...)
	dst = append(dst, "\ndata: {\"type\":\""...)
	dst = append(dst, event...)
	return append(dst, '"')
}

const endOfEvent = "}\n\n"

func appendMessageStart(dst []byte, a *answer, model []byte) []byte {
	dst = begin(dst, message.EventMessageStart)
	dst = append(dst, `,"message":`...)
	dst = appendHead(dst, a, model)
	dst = append(dst, `],"stop_reason":null,"stop_sequence":null,"usage":`...)
	dst = appendUsage(dst, &answer{usage: a.usage}, 1) // as the API, which counts the first token there
	dst = appendCacheCreation(dst, a.usage)
	return append(dst, "}"+endOfEvent...)
}

func appendBlockStart(dst []byte, index int, c *content) []byte {
	dst = begin(dst, message.EventContentBlockStart)
	dst = appendIndex(dst, index)
	dst = append(dst, `,"content_block":`...)
	empty := content{kind: c.kind, id: c.id, name: c.name}
	switch c.kind {
	case "tool_use", "server_tool_use":
		empty.text = []byte("{}")
	case "web_search_tool_result":
		empty.text = c.text // it comes whole
	}
	if c.citation != nil {
		empty.citation = []byte{} // an empty list: they come as deltas
	}
	dst = appendContent(dst, &empty)
	return append(dst, endOfEvent...)
}

func appendIndex(dst []byte, index int) []byte {
	dst = append(dst, `,"index":`...)
	return strconv.AppendInt(dst, int64(index), 10)
}

func appendPing(dst []byte) []byte {
	return append(begin(dst, message.EventPing), endOfEvent...)
}

// appendDelta appends one delta of a block: a piece of its text or input.
func appendDelta(dst []byte, index int, kind string, piece []byte) []byte {
	dst = appendIndex(begin(dst, message.EventContentBlockDelta), index)
	switch kind {
	case "thinking":
		dst = append(dst, `,"delta":{"type":"thinking_delta","thinking":`...)
	case "tool_use", "server_tool_use":
		dst = append(dst, `,"delta":{"type":"input_json_delta","partial_json":`...)
	default:
		dst = append(dst, `,"delta":{"type":"text_delta","text":`...)
	}
	dst = appendQuote(dst, piece)
	return append(dst, "}"+endOfEvent...)
}

func appendSignature(dst []byte, index int, signature string) []byte {
	dst = appendIndex(begin(dst, message.EventContentBlockDelta), index)
	dst = append(dst, `,"delta":{"type":"signature_delta","signature":"`...)
	dst = append(dst, signature...)
	return append(dst, "\"}"+endOfEvent...)
}

func appendCitation(dst []byte, index int, citation []byte) []byte {
	dst = appendIndex(begin(dst, message.EventContentBlockDelta), index)
	dst = append(dst, `,"delta":{"type":"citations_delta","citation":`...)
	dst = append(dst, citation...)
	return append(dst, "}"+endOfEvent...)
}

func appendBlockStop(dst []byte, index int) []byte {
	dst = appendIndex(begin(dst, message.EventContentBlockStop), index)
	return append(dst, endOfEvent...)
}

func appendEnd(dst []byte, a *answer) []byte {
	dst = begin(dst, message.EventMessageDelta)
	dst = append(dst, `,"delta":{"stop_reason":`...)
	dst = appendStop(dst, a)
	dst = append(dst, `},"usage":`...)
	dst = appendUsage(dst, a, a.usage.OutputTokens)
	dst = append(dst, endOfEvent...)
	return append(begin(dst, message.EventMessageStop), endOfEvent...)
}

// toolPiece is about how much of a tool's input one delta holds.
const toolPiece = 16

// nextPiece takes the text of the next delta: a word with the space in front of
// it, or some bytes of a tool's input. piece is empty at the end.
func nextPiece(kind string, text []byte) (piece, rest []byte) {
	switch kind {
	case "web_search_tool_result":
		return nil, nil
	case "tool_use", "server_tool_use":
		end := min(toolPiece, len(text))
		for end < len(text) && !utf8.RuneStart(text[end]) {
			end++
		}
		return text[:end], text[end:]
	}
	const space = " \n\t"
	word := 0
	for word < len(text) && bytes.IndexByte([]byte(space), text[word]) >= 0 {
		word++
	}
	end := bytes.IndexAny(text[word:], space)
	if end < 0 {
		return text, nil
	}
	return text[:word+end], text[word+end:]
}

// pieces counts the deltas of an answer.
func pieces(a *answer) int {
	n := 0
	for _, c := range a.content {
		if c.kind == "thinking" || c.citation != nil {
			n++ // the signature, or the citation
		}
		for piece, rest := nextPiece(c.kind, c.text); len(piece) > 0; piece, rest = nextPiece(c.kind, rest) {
			n++
		}
	}
	return n
}
