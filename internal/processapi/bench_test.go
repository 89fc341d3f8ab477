package processapi_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// discard is a ResponseWriter that keeps nothing.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(b []byte) (int, error) { return len(b), nil }
func (d *discard) WriteHeader(int)             {}

// Deadlines are set, as on a connection, and don't matter.
func (d *discard) SetReadDeadline(time.Time) error  { return nil }
func (d *discard) SetWriteDeadline(time.Time) error { return nil }

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }

// A plain request and its answer, from the mux to the last byte written, with a
// conversation of 4 KB.
func BenchmarkPlain(b *testing.B) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	h := protocoltest.Handler(processapi.New(options(rooms)).Register)
	turn := `{"role":"user","content":"` + strings.Repeat("some words ", 60) + `"},{"role":"assistant","content":"` + strings.Repeat("more words ", 60) + `"},`
	body := `{"provider":"openai","model_name":"gpt-4","temperature":0.5,"messages":[{"role":"system","content":"be brief"},` + turn + turn + turn + `{"role":"user","content":"hi"}]}`
	r := httptest.NewRequest(http.MethodPost, "/v1/process", nil)
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
