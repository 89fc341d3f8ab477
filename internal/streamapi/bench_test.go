package streamapi

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/coder/websocket"

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

// BenchmarkEvent translates and writes one delta, without a network.
func BenchmarkEvent(b *testing.B) {
	ours, theirs := net.Pipe()
	defer func() { _ = theirs.Close() }()
	r := httptest.NewRequest(http.MethodGet, pathStream, nil)
	for name, value := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
		r.Header.Set(name, value)
	}
	u := &upgrader{ResponseWriter: hijackable{httptest.NewRecorder(), discard{ours}}}
	ws, err := websocket.Accept(u, r, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = ws.CloseNow() }()
	c := newConn(New(Options{}), "req_bench")
	c.ws, c.out.ws, c.out.raw = ws, ws, u.conn
	out := newEncoder(&chat{conn: c, id: "c1", call: &gateway.Call{}, ctx: context.Background()})
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
