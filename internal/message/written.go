package message

import "bytes"

// tenthsPerToken is the rough size of a token in tenths of a byte: 3.5 characters
// of English (platform.claude.com/docs, glossary, "Tokens").
const tenthsPerToken = 35

// EstimateTokens gives about how many tokens a text of so many bytes has.
func EstimateTokens(bytes int64) int64 { return (bytes*10 + tenthsPerToken - 1) / tenthsPerToken }

// Written counts what was read of a streamed answer, because the upstream tells how
// many tokens it has at its end only, and before that "1". The zero value is ready.
type Written struct {
	bytes int64
	block int64 // of them, in the content block that is being written
}

// Observe takes an event. Those that hold nothing of the answer cost two comparisons.
func (w *Written) Observe(e Event) {
	const around = len(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`)
	switch {
	case e.Type == EventContentBlockStart:
		w.block = 0
	case e.Type != EventContentBlockDelta || len(e.Data) <= around:
	case bytes.Contains(e.Data[:around], []byte(`"signature_delta"`)):
		// It holds all of the thinking, encrypted and in base64, also where none of it or
		// only a summary was shown (platform.claude.com/docs, "Extended thinking").
		w.bytes += max(int64(len(e.Data)-around)*3/4-w.block, 0)
	default:
		w.bytes += int64(len(e.Data) - around)
		w.block += int64(len(e.Data) - around)
	}
}

// Estimate fills in about how many output tokens an answer has that was broken off,
// at most so many (0: no bound), unless the upstream has told of more. An answer of
// which the upstream has told why it ended has been counted there.
func (w *Written) Estimate(s *Summary, most int64) {
	if s.StopReason != "" {
		return
	}
	tokens := EstimateTokens(w.bytes)
	if most > 0 {
		tokens = min(tokens, most)
	}
	s.Usage.OutputTokens = max(s.Usage.OutputTokens, tokens)
}
