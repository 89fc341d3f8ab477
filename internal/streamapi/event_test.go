package streamapi

import (
	"bufio"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// discard is a connection that takes everything.
type discard struct{ net.Conn }

func (discard) Write(b []byte) (int, error)      { return len(b), nil }
func (discard) SetDeadline(time.Time) error      { return nil }
func (discard) SetWriteDeadline(time.Time) error { return nil }

// hijackable gives a discard for the upgrade.
type hijackable struct {
	*httptest.ResponseRecorder
	conn net.Conn
}

func (h hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return h.conn, bufio.NewReadWriter(bufio.NewReader(h.conn), bufio.NewWriter(h.conn)), nil
}

// discarding is an encoder whose messages go nowhere.
func discarding(tb testing.TB) *encoder {
	tb.Helper()
	ours, theirs := net.Pipe()
	tb.Cleanup(func() { _ = theirs.Close() })
	r := httptest.NewRequest(http.MethodGet, pathStream, nil)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	u := &upgrader{ResponseWriter: hijackable{httptest.NewRecorder(), discard{ours}}}
	ws, err := websocket.Accept(u, r, nil)
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = ws.CloseNow() })
	c := newConn(New(Options{}), "req_1", "192.0.2.1")
	c.ws, c.out.ws, c.out.raw = ws, ws, u.conn
	return newEncoder(&chat{conn: c, id: "c1", call: &gateway.Call{}, ctx: context.Background()})
}

// BenchmarkEvent translates and writes one delta, without a network.
func BenchmarkEvent(b *testing.B) {
	out := discarding(b)
	event := message.Event{
		Type: message.EventContentBlockDelta,
		Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello, \"world\""}}`),
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := out.Event(event); err != nil {
			b.Fatal(err)
		}
	}
}

// Whatever the upstream streams becomes valid messages, or is the upstream's
// fault.
func FuzzEvent(f *testing.F) {
	for _, data := range []string{
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a\u2028"}}`,
		`{"type":"content_block_start","content_block":{"type":"thinking","thinking":"hm","signature":""}}`,
		`{"delta":{"type":"text_delta","text":7}}`,
		`{"delta":{"type":"text_delta","text":{"a":["b"]}},"content_block":{}}`,
		`{"delta":null}`,
		`{"delta":{"type"`,
	} {
		f.Add([]byte(data))
	}
	out := discarding(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		out.buffer = out.buffer[:0]
		err := out.Event(message.Event{Type: message.EventContentBlockDelta, Data: data})
		if err != nil && apierror.From(err).Category != apierror.UpstreamError {
			t.Fatalf("category of %v", err)
		}
		if len(out.buffer) > 0 && !json.Valid(out.buffer) {
			t.Fatalf("the client got %s", out.buffer)
		}
	})
}
