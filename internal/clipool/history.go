package clipool

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"maps"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// digest stands for the beginning of a conversation: two conversations with one
// digest begin alike.
type digest [sha256.Size]byte

// history makes the digests of a conversation, turn by turn. What differs
// without a meaning doesn't count: a text as a string or as a block, how JSON is
// written, and, of the assistant's turns, how a text is cut into blocks and the
// thinking, which clients don't all send back.
type history struct{ hash hash.Hash }

// newHistory begins the history of one key's conversation. The model is part of it:
// the thinking of another one, which a worker holds, says nothing to it.
func newHistory(key, model, system string, tools []message.Tool) *history {
	h := &history{sha256.New()}
	h.write('k', []byte(key))
	h.write('m', []byte(model))
	h.write('s', []byte(system))
	for _, tool := range tools {
		h.write('n', []byte(tool.Name))
		h.write('d', []byte(tool.Description))
		h.write('i', canonical(tool.InputSchema))
		for _, name := range slices.Sorted(maps.Keys(tool.Others)) {
			if name != "cache_control" { // it moves with the conversation
				h.write('o', []byte(name))
				h.write('v', canonical(tool.Others[name]))
			}
		}
	}
	return h
}

// write adds a part; its length stands behind it.
func (h *history) write(kind byte, part []byte) {
	_, _ = h.hash.Write(part) // a hash takes everything
	h.end(kind, len(part))
}

func (h *history) end(kind byte, length int) {
	var end [9]byte
	end[0] = kind
	binary.BigEndian.PutUint64(end[1:], uint64(length)) //nolint:gosec // a length isn't negative
	_, _ = h.hash.Write(end[:])
}

// sum is the digest of what was added so far.
func (h *history) sum() digest { return digest(h.hash.Sum(nil)) }

// block is a content block as far as a history reads it.
type block struct {
	Type  string         `json:"type"`
	Text  string         `json:"text"`
	ID    string         `json:"id"`
	Name  string         `json:"name"`
	Input jsontext.Value `json:"input"`
}

// add adds a turn.
func (h *history) add(turn message.Turn) {
	if turn.Content.Kind() == '"' {
		var text string
		_ = json.Unmarshal(turn.Content, &text) // Conversation has read it
		h.write('t', []byte(text))
	} else {
		var blocks []jsontext.Value
		_ = json.Unmarshal(turn.Content, &blocks)
		h.addBlocks(blocks, turn.Role == message.RoleAssistant)
	}
	h.write('r', []byte(turn.Role))
}

// addAnswer adds what the model has answered.
func (h *history) addAnswer(content []jsontext.Value) {
	h.addBlocks(content, true)
	h.write('r', []byte(message.RoleAssistant))
}

// addBlocks adds content blocks; texts that follow each other count as one where
// joined says so.
func (h *history) addBlocks(blocks []jsontext.Value, joined bool) {
	run, open := 0, false
	flush := func() {
		if open && (run > 0 || !joined) {
			h.end('t', run)
		}
		run, open = 0, false
	}
	for _, raw := range blocks {
		var b block
		// A block of a type that has other members of these names counts as it is.
		known := json.Unmarshal(raw, &b) == nil
		switch {
		case known && b.Type == "text":
			if !joined {
				flush()
			}
			_, _ = h.hash.Write([]byte(b.Text))
			run, open = run+len(b.Text), true
		case joined && (b.Type == "thinking" || b.Type == "redacted_thinking"):
		case known && b.Type == "tool_use":
			flush()
			h.write('c', []byte(b.ID))
			h.write('n', []byte(b.Name))
			h.write('i', canonical(b.Input))
		default:
			flush()
			h.write('b', canonical(raw))
		}
	}
	flush()
}

// canonical writes JSON in the one way of RFC 8785.
func canonical(value jsontext.Value) []byte {
	value = value.Clone()
	_ = value.Canonicalize() // what isn't JSON counts as it is
	return value
}
