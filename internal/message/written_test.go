package message

import (
	"fmt"
	"strings"
	"testing"
)

func TestAnswersThatAreBrokenOffAreEstimated(t *testing.T) {
	delta := func(kind, text string) Event {
		return Event{Type: EventContentBlockDelta, Data: fmt.Appendf(nil, `{"type":"content_block_delta","index":0,"delta":{"type":"%s_delta","%s":"%s"}}`, kind, kind, text)}
	}
	var w Written
	for range 10 {
		w.Observe(delta("text", strings.Repeat("word ", 7))) // 10 tokens each
	}
	w.Observe(Event{Type: EventPing, Data: []byte(strings.Repeat(" ", 1000))})
	for _, test := range []struct {
		name       string
		told, most int64
		stop       string
		want       int64
	}{
		{"as read", 1, 0, "", 100},
		{"no more than was asked for", 1, 64, "", 64},
		{"the upstream knows of more", 130, 120, "", 130},
		{"the upstream has counted", 7, 0, StopEndTurn, 7},
	} {
		s := Summary{StopReason: test.stop, Usage: Usage{OutputTokens: test.told}}
		if w.Estimate(&s, test.most); s.Usage.OutputTokens != test.want {
			t.Errorf("%s: %d tokens, want %d", test.name, s.Usage.OutputTokens, test.want)
		}
	}
}

// TestHiddenThinkingIsEstimated: of thinking that isn't shown its signature tells.
func TestHiddenThinkingIsEstimated(t *testing.T) {
	for name, test := range map[string]struct {
		shown, signature int // bytes
		want             int64
	}{
		"not shown":      {0, 1400, 300},
		"a summary":      {350, 1400, 300},
		"shown":          {3500, 400, 1000},
		"no signature":   {350, 0, 100},
		"nothing of all": {0, 0, 1},
	} {
		var w Written
		w.Observe(Event{Type: EventContentBlockStart})
		event := func(kind string, size int) Event {
			const around = len(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`)
			head := `{"type":"content_block_delta","index":0,"delta":{"type":"` + kind + `_delta","` + kind + `":"`
			return Event{Type: EventContentBlockDelta, Data: []byte(head + strings.Repeat("x", max(size+around-len(head)-3, 0)) + `"}}`)}
		}
		w.Observe(event("thinking", test.shown))
		w.Observe(event("signature", test.signature))
		s := Summary{Usage: Usage{OutputTokens: 1}}
		if w.Estimate(&s, 0); s.Usage.OutputTokens < test.want || s.Usage.OutputTokens > test.want+10 {
			t.Errorf("%s: %d tokens, want %d", name, s.Usage.OutputTokens, test.want)
		}
	}
}
