package responsesapi_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/responsesapi"
)

// forgetful is an archive that keeps nothing, so that no disk is measured.
type forgetful struct{}

func (forgetful) Put(context.Context, string, string, string, time.Duration, []byte) error {
	return nil
}

func (forgetful) Get(context.Context, string, string, string) (archive.Document, error) {
	return archive.Document{}, archive.ErrNotFound
}

func (forgetful) Delete(context.Context, string, string, string) error { return archive.ErrNotFound }

func register(g *gateway.Gateway) func(mux *http.ServeMux) {
	return responsesapi.New(responsesapi.Options{Gateway: g, Archive: forgetful{}}).Register
}

// A plain request and its answer, with a conversation of 4 KB or 128 KB. One that
// is kept is made a document of.
func BenchmarkWhole(b *testing.B) {
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	for name, input := range map[string]string{
		"plain":      `"store":false,"input":[` + strings.Repeat(turn, 3),
		"kept":       `"input":[` + strings.Repeat(turn, 3),
		"128KB":      `"store":false,"input":[` + strings.Repeat(turn, 94),
		"128KB kept": `"input":[` + strings.Repeat(turn, 94),
	} {
		b.Run(name, func(b *testing.B) {
			body := `{"model":"haiku","temperature":0.5,"instructions":"be brief",` + input + `{"role":"user","content":"hi"}]}`
			protocoltest.BenchmarkRequest(b, register, "/v1/responses", body, whole)
		})
	}
}

// One event of a stream; an iteration is one event.
func BenchmarkEvent(b *testing.B) {
	protocoltest.BenchmarkEvent(b, register, "/v1/responses", streamed,
		message.Event{Type: message.EventContentBlockStart, Data: []byte(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)},
		message.Event{Type: message.EventContentBlockDelta, Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words and a few more"}}`)})
}
