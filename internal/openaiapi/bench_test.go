package openaiapi_test

import (
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func register(g *gateway.Gateway) func(mux *http.ServeMux) {
	return openaiapi.New(openaiapi.Options{Gateway: g}).Register
}

// A plain request and its answer, with a conversation of 4 KB or 128 KB.
func BenchmarkWhole(b *testing.B) {
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	for name, turns := range map[string]int{"plain": 3, "128KB": 94} {
		b.Run(name, func(b *testing.B) {
			body := `{"model":"haiku","temperature":0.5,"messages":[{"role":"system","content":"be brief"},` + strings.Repeat(turn, turns) + `{"role":"user","content":"hi"}]}`
			protocoltest.BenchmarkRequest(b, register, "/v1/chat/completions", body, whole)
		})
	}
}

// Reading and translating alone, without HTTP and gateway.
func BenchmarkTranslate(b *testing.B) {
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	last := `{"role":"user","content":"hi"}]`
	tool := `{"type":"function","function":{"name":"weather","description":"` + strings.Repeat("what it does ", 10) + `","parameters":{"type":"object","properties":{"city":{"type":"string","description":"a city"},"days":{"type":"integer"}},"required":["city"]}}}`
	tools := `"tools":[` + strings.Repeat(tool+",", 9) + tool + `],"tool_choice":"auto",`
	for name, body := range map[string]string{
		"plain":  `{"model":"haiku","temperature":0.5,"messages":[{"role":"system","content":"be brief"},` + strings.Repeat(turn, 3) + last + `}`,
		"tools":  `{"model":"haiku",` + tools + `"messages":[` + turn + last + `}`,
		"parts":  `{"model":"haiku","messages":[{"role":"user","content":[` + strings.Repeat(`{"type":"text","text":"some words"},`, 9) + `{"type":"text","text":"the last"}]}]}`,
		"schema": `{"model":"haiku","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string","minLength":1},"b":{"type":"array","items":{"type":"object","properties":{"c":{"type":"integer"}}}}}}}},"messages":[` + last + `}`,
		"128KB":  `{"model":"haiku","messages":[` + strings.Repeat(turn, 94) + last + `}`,
	} {
		b.Run(name, func(b *testing.B) {
			translate := openaiapi.Translator()
			b.ReportAllocs()
			b.SetBytes(int64(len(body)))
			for b.Loop() {
				if err := translate([]byte(body)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// One event of a stream; an iteration is one event.
func BenchmarkEvent(b *testing.B) {
	protocoltest.BenchmarkEvent(b, register, "/v1/chat/completions", streamed,
		message.Event{Type: message.EventMessageStart, Data: []byte(`{"type":"message_start","message":{"id":"msg_1","model":"claude-haiku-5-5","usage":{"input_tokens":1}}}`)},
		message.Event{Type: message.EventContentBlockDelta, Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words and a few more"}}`)})
}
