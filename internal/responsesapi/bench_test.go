package responsesapi_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/responsesapi"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}
func (d *discard) Flush()                      {}

// SetReadDeadline is what the server's own writers have.
func (d *discard) SetReadDeadline(time.Time) error { return nil }

// forgetful is an archive that keeps nothing, so that no disk is measured.
type forgetful struct{}

func (forgetful) Put(context.Context, string, string, string, time.Duration, []byte) error {
	return nil
}

func (forgetful) Get(context.Context, string, string, string) (archive.Document, error) {
	return archive.Document{}, archive.ErrNotFound
}

func (forgetful) Delete(context.Context, string, string, string) error { return archive.ErrNotFound }

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// A plain request and its answer, from the mux to the last byte written, with a
// conversation of 4 KB or 128 KB. One that is kept is made a document of.
func BenchmarkWhole(b *testing.B) {
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	for name, input := range map[string]string{
		"plain": `"store":false,"input":[` + strings.Repeat(turn, 3),
		"kept":  `"input":[` + strings.Repeat(turn, 3),
		"128KB": `"store":false,"input":[` + strings.Repeat(turn, 94),
	} {
		b.Run(name, func(b *testing.B) {
			benchmarkWhole(b, `{"model":"haiku","temperature":0.5,"instructions":"be brief",`+input+`{"role":"user","content":"hi"}]}`)
		})
	}
}

func benchmarkWhole(b *testing.B, body string) {
	rooms := &benchRooms{Rooms: &protocoltest.Rooms{}, run: func(_ *gateway.Call, out gateway.EventWriter) error { return out.Message([]byte(whole)) }}
	h := protocoltest.Handler(responsesapi.New(responsesapi.Options{Gateway: rooms.gateway(), Archive: forgetful{}}).Register)
	r := httptest.NewRequest(http.MethodPost, "/v1/responses", nil)
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

// One event of a stream; an iteration is one event.
func BenchmarkEvent(b *testing.B) {
	delta := []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words and a few more"}}`)
	rooms := &benchRooms{Rooms: &protocoltest.Rooms{}, run: func(_ *gateway.Call, out gateway.EventWriter) error {
		start := []byte(`{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}`)
		if err := out.Event(message.Event{Type: message.EventContentBlockStart, Data: start}); err != nil {
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
	h := protocoltest.Handler(responsesapi.New(responsesapi.Options{Gateway: rooms.gateway(), Archive: forgetful{}}).Register)
	r := httptest.NewRequest(http.MethodPost, "/v1/responses", strings.NewReader(streamed))
	r.Header.Set("X-Api-Key", protocoltest.Key)
	h.ServeHTTP(&discard{http.Header{}}, r)
}

// benchRooms is a backend that runs a function and remembers nothing.
type benchRooms struct {
	*protocoltest.Rooms
	run func(call *gateway.Call, out gateway.EventWriter) error
}

func (r *benchRooms) gateway() *gateway.Gateway {
	return gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
}

func (r *benchRooms) Route(*gateway.Call) (gateway.Backend, error) { return r, nil }
func (r *benchRooms) Record(context.Context, gateway.Entry) error  { return nil }
func (r *benchRooms) Observe(gateway.Entry)                        {}
func (r *benchRooms) Generate(_ context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	return gateway.Result{}, r.run(call, out)
}
