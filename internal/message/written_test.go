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
	w.Observe(delta("signature", strings.Repeat("c2ln", 100)))
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
