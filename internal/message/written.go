package message

import "bytes"

// tenthsPerToken is the rough size of a token in tenths of a byte: 3.5 characters
// of English (platform.claude.com/docs, glossary, "Tokens").
const tenthsPerToken = 35

// Written counts what was read of a streamed answer, because the upstream tells how
// many tokens it has at its end only, and before that "1". The zero value is ready.
type Written struct{ bytes int64 }

// Observe takes an event. Those that hold nothing of the answer cost one comparison.
func (w *Written) Observe(e Event) {
	const around = len(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`)
	if e.Type != EventContentBlockDelta || len(e.Data) <= around {
		return
	}
	if bytes.Contains(e.Data[:around], []byte(`"signature_delta"`)) {
		return // nothing that the model has written
	}
	w.bytes += int64(len(e.Data) - around)
}

// Estimate fills in about how many output tokens an answer has that was broken off,
// at most so many (0: no bound), unless the upstream has told of more. An answer of
// which the upstream has told why it ended has been counted there.
func (w *Written) Estimate(s *Summary, most int64) {
	if s.StopReason != "" {
		return
	}
	tokens := (w.bytes*10 + tenthsPerToken - 1) / tenthsPerToken
	if most > 0 {
		tokens = min(tokens, most)
	}
	s.Usage.OutputTokens = max(s.Usage.OutputTokens, tokens)
}
