package protocoltest

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// BenchmarkRequest measures one request and its answer, from the mux to the last
// byte written, without a network and without a backend's work. register makes
// the routes of a protocol on a gateway.
func BenchmarkRequest(b *testing.B, register func(g *gateway.Gateway) func(mux *http.ServeMux), path, body, answer string) {
	b.Helper()
	g := forgetful(func(out gateway.EventWriter) error { return out.Message([]byte(answer)) })
	h, r := Handler(register(g)), request(path)
	reader, w := strings.NewReader(""), &discard{http.Header{}}
	r.ContentLength, r.Body = int64(len(body)), readCloser{reader}
	b.ReportAllocs()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		reader.Reset(body)
		clear(w.header)
		h.ServeHTTP(w, r)
	}
}

// BenchmarkEvent measures one event of a stream, translated, written and flushed.
// first is the event before all of them.
func BenchmarkEvent(b *testing.B, register func(g *gateway.Gateway) func(mux *http.ServeMux), path, body string, first, event message.Event) {
	b.Helper()
	served := false
	g := forgetful(func(out gateway.EventWriter) error {
		served = true
		if err := out.Event(first); err != nil {
			return err
		}
		b.ReportAllocs()
		b.ResetTimer()
		for range b.N {
			if err := out.Event(event); err != nil {
				return err
			}
			if err := out.Flush(); err != nil {
				return err
			}
		}
		b.StopTimer()
		return nil
	})
	r := request(path)
	r.ContentLength, r.Body = int64(len(body)), readCloser{strings.NewReader(body)}
	Handler(register(g)).ServeHTTP(&discard{http.Header{}}, r)
	if !served {
		b.Fatal("the request was refused")
	}
}

func request(path string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, path, nil)
	r.Header.Set("X-Api-Key", Key)
	return r
}

// forgetful makes a gateway that remembers nothing, whose backend runs a function.
func forgetful(run func(out gateway.EventWriter) error) *gateway.Gateway {
	r := &quickRooms{run: run}
	return gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
}

type quickRooms struct {
	Rooms
	run func(out gateway.EventWriter) error
}

func (r *quickRooms) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = gateway.BackendCLI, "claude-haiku-5-5"
	return r, nil
}

func (r *quickRooms) Generate(_ context.Context, _ *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	return gateway.Result{}, r.run(out)
}

func (r *quickRooms) Record(context.Context, gateway.Entry) error { return nil }
func (r *quickRooms) Observe(gateway.Entry)                       {}

// discard is a ResponseWriter that keeps nothing. It has what the server's own
// have.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header              { return d.header }
func (d *discard) Write(b []byte) (int, error)      { return len(b), nil }
func (d *discard) WriteHeader(int)                  {}
func (d *discard) Flush()                           {}
func (d *discard) SetReadDeadline(time.Time) error  { return nil }
func (d *discard) SetWriteDeadline(time.Time) error { return nil }

type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
