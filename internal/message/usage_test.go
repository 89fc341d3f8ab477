package message

import (
	"strings"
	"testing"
)

// The usage as the API sends it: a stream's start, with all that says what it
// costs, and its end, which repeats only some.
const (
	usageStart = `{"input_tokens":3,"cache_creation_input_tokens":30,"cache_read_input_tokens":40,` +
		`"cache_creation":{"ephemeral_5m_input_tokens":10,"ephemeral_1h_input_tokens":20},"output_tokens":1,"service_tier":"standard","inference_geo":"global"}`
	streamStart = `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[],` +
		`"stop_reason":null,"stop_sequence":null,"usage":` + usageStart + `}}`
	streamEnd = `{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"input_tokens":3,"cache_creation_input_tokens":30,` +
		`"cache_read_input_tokens":40,"output_tokens":50,"server_tool_use":{"web_search_requests":2,"web_fetch_requests":0}}}`
	wholeAnswer = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-opus-5-5","content":[{"type":"text","text":"An answer of some words."}],` +
		`"stop_reason":"end_turn","stop_sequence":null,"usage":` + usageStart + `}`
)

func observed(t testing.TB, start, end string) Usage {
	t.Helper()
	var s Summary
	if err := s.Observe(Event{Type: EventMessageStart, Data: []byte(start)}); err != nil {
		t.Fatal(err)
	}
	if err := s.Observe(Event{Type: EventMessageDelta, Data: []byte(end)}); err != nil {
		t.Fatal(err)
	}
	return s.Usage
}

func TestUsageIsReadWithWhatItsPriceDependsOn(t *testing.T) {
	want := Usage{
		InputTokens: 3, OutputTokens: 1, CacheReadInputTokens: 40, CacheCreationInputTokens: 30,
		CacheCreation: CacheCreation{10, 20}, ServiceTier: "standard", InferenceGeo: "global",
	}
	whole, err := Summarize([]byte(wholeAnswer))
	if err != nil || whole.Usage != want {
		t.Errorf("whole: %+v, %v", whole.Usage, err)
	}
	want.OutputTokens, want.ServerToolUse = 50, ServerToolUse{WebSearchRequests: 2}
	if got := observed(t, streamStart, streamEnd); got != want {
		t.Errorf("stream: %+v", got)
	}
	// An end may say otherwise, null says nothing, and what is counted apart is seen.
	end := strings.Replace(streamEnd, `"input_tokens":3,`, `"input_tokens":null,"cache_creation":{"ephemeral_1h_input_tokens":30},"service_tier":"batch",`+
		`"inference_geo":null,"speed":"fast","iterations":[{"type":"message"},{"type":"compaction","input_tokens":7}],`, 1)
	want.CacheCreation, want.ServiceTier, want.Speed, want.Apart = CacheCreation{0, 30}, "batch", "fast", true
	if got := observed(t, streamStart, end); got != want {
		t.Errorf("another end: %+v", got)
	}
	if got := observed(t, streamStart, strings.Replace(end, "compaction", "message", 1)); got.Apart {
		t.Error("the answer's own iterations are taken for something apart")
	}
}

func TestCacheWrites(t *testing.T) {
	for _, test := range []struct {
		name        string
		sum         int64
		split       CacheCreation
		short, hour int64
		ok          bool
	}{
		{"nothing", 0, CacheCreation{}, 0, 0, true},
		{"not split", 30, CacheCreation{}, 30, 0, true},
		{"split", 30, CacheCreation{10, 20}, 10, 20, true},
		{"more, of five minutes", 30, CacheCreation{10, 0}, 30, 0, true},
		{"more, of an hour", 30, CacheCreation{0, 10}, 0, 30, true},
		{"more, of either", 30, CacheCreation{10, 10}, 0, 0, false},
		{"less than the split", 30, CacheCreation{20, 20}, 10, 20, true},
		{"negative", -1, CacheCreation{-5, -5}, 0, 0, true},
		{"negative parts", 30, CacheCreation{-5, -5}, 30, 0, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			short, hour, ok := Usage{CacheCreationInputTokens: test.sum, CacheCreation: test.split}.CacheWrites()
			if short != test.short || hour != test.hour || ok != test.ok {
				t.Errorf("%d, %d, %v", short, hour, ok)
			}
		})
	}
}

// BenchmarkUsage reads the usage of a stream, and that of an answer in one piece.
func BenchmarkUsage(b *testing.B) {
	b.Run("stream", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if u := observed(b, streamStart, streamEnd); u.OutputTokens != 50 {
				b.Fatal(u)
			}
		}
	})
	b.Run("whole", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if s, err := Summarize([]byte(wholeAnswer)); err != nil || s.Usage.InputTokens != 3 {
				b.Fatal(s, err)
			}
		}
	})
}

func TestUsageIsAddedUp(t *testing.T) {
	u := Usage{1, 2, 3, 4, CacheCreation{5, 6}, ServerToolUse{7, 8}, "standard", "us", "fast", false}
	u.Add(Usage{10, 20, 30, 40, CacheCreation{50, 60}, ServerToolUse{70, 80}, "batch", "global", "standard", true})
	if want := (Usage{11, 22, 33, 44, CacheCreation{55, 66}, ServerToolUse{77, 88}, "standard", "us", "fast", true}); u != want {
		t.Errorf("%+v, want %+v", u, want)
	}
}
