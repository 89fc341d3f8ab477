package processapi_test

import (
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func register(g *gateway.Gateway) func(mux *http.ServeMux) {
	o := options(&protocoltest.Rooms{})
	o.Gateway = g
	return processapi.New(o).Register
}

// A plain request and its answer, with a conversation of 4 KB or 128 KB.
func BenchmarkWhole(b *testing.B) {
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	for name, turns := range map[string]int{"plain": 3, "128KB": 94} {
		b.Run(name, func(b *testing.B) {
			body := `{"provider":"openai","model_name":"gpt-4","temperature":0.5,"messages":[{"role":"system","content":"be brief"},` + strings.Repeat(turn, turns) + `{"role":"user","content":"hi"}]}`
			protocoltest.BenchmarkRequest(b, register, "/v1/process", body, whole)
		})
	}
}

// One event of a stream; an iteration is one event.
func BenchmarkEvent(b *testing.B) {
	protocoltest.BenchmarkEvent(b, register, "/v1/process", `{"provider":"openai","model_name":"gpt-4","user_message":"hi","additional_params":{"stream":true}}`,
		message.Event{Type: message.EventContentBlockStart, Data: []byte(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)},
		message.Event{Type: message.EventContentBlockDelta, Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words and a few more"}}`)})
}
