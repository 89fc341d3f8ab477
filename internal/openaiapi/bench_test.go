package openaiapi_test

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}

// SetReadDeadline is what the server's own writers have.
func (d *discard) SetReadDeadline(time.Time) error { return nil }

// A plain request and its answer, from the mux to the last byte written, with
// a conversation of 4 KB.
func BenchmarkWhole(b *testing.B) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	h := protocoltest.Handler(handler(rooms).Register)
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	body := `{"model":"haiku","temperature":0.5,"messages":[{"role":"system","content":"be brief"},` + turn + turn + turn + `{"role":"user","content":"hi"}]}`
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", nil)
	r.Header.Set("X-Api-Key", protocoltest.Key)
	r.ContentLength = int64(len(body))
	reader := strings.NewReader(body)
	b.ReportAllocs()
	for b.Loop() {
		reader.Reset(body)
		r.Body = readCloser{reader}
		h.ServeHTTP(&discard{http.Header{}}, r)
	}
}

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

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
	delta := []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words and a few more"}}`)
	start := []byte(`{"type":"message_start","message":{"id":"msg_1","model":"claude-haiku-5-5","usage":{"input_tokens":1}}}`)
	rooms := &benchRooms{Rooms: &protocoltest.Rooms{}, run: func(out gateway.EventWriter) error {
		if err := out.Event(message.Event{Type: message.EventMessageStart, Data: start}); err != nil {
			return err
		}
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if err := out.Event(message.Event{Type: message.EventContentBlockDelta, Data: delta}); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		b.StopTimer()
		return nil
	}}
	h := protocoltest.Handler(openaiapi.New(openaiapi.Options{Gateway: gateway.New(gateway.Options{
		Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms,
	})}).Register)
	r := httptest.NewRequest(http.MethodPost, "/v1/chat/completions", bytes.NewReader([]byte(streamed)))
	r.Header.Set("X-Api-Key", protocoltest.Key)
	h.ServeHTTP(&discard{http.Header{}}, r)
}

// benchRooms is a backend that runs a function.
type benchRooms struct {
	*protocoltest.Rooms
	run func(out gateway.EventWriter) error
}

func (r *benchRooms) Route(*gateway.Call) (gateway.Backend, error) { return r, nil }

func (r *benchRooms) Generate(_ context.Context, _ *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	return gateway.Result{}, r.run(out)
}
