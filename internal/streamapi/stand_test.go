package streamapi_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/streamapi"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const maxBody = 2 << 20

// live are rooms whose backend a test drives event by event.
type live struct {
	*protocoltest.Rooms
	revoked atomic.Bool

	entered chan *gateway.Call
	texts   chan string // pieces of the answer; closing it ends the answer
	wrote   chan error  // of each piece
	ended   chan error  // why the backend gave up
}

func newLive() *live {
	return &live{
		Rooms: &protocoltest.Rooms{}, entered: make(chan *gateway.Call, 1),
		texts: make(chan string), wrote: make(chan error, 1_000), ended: make(chan error, 1),
	}
}

func (l *live) Gateway() *gateway.Gateway {
	return gateway.New(gateway.Options{Authenticator: l, Admitter: l, Router: l, Recorder: l, Observer: l})
}

func (l *live) Authenticate(ctx context.Context, key, address string) (*gateway.Caller, error) {
	if l.revoked.Load() {
		return nil, &apierror.Error{Category: apierror.AuthError, Code: apierror.CodeInvalidKey, Message: "revoked"}
	}
	return l.Rooms.Authenticate(ctx, key, address)
}

func (l *live) Route(call *gateway.Call) (gateway.Backend, error) {
	_, err := l.Rooms.Route(call)
	return l, err
}

func (l *live) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	l.entered <- call
	for {
		select {
		case <-ctx.Done():
			l.ended <- context.Cause(ctx)
			return l.Result, ctx.Err()
		case text, more := <-l.texts:
			if !more {
				return l.Result, nil
			}
			err := out.Event(message.Event{
				Type: message.EventContentBlockDelta,
				Data: []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"` + text + `"}}`),
			})
			if err == nil {
				err = out.Flush()
			}
			l.wrote <- err
			if err != nil {
				l.ended <- err
				return l.Result, err
			}
		}
	}
}

// serve serves a gateway until the test ends.
func serve(t testing.TB, g *gateway.Gateway) (*streamapi.Handler, *httptest.Server) {
	t.Helper()
	h := streamapi.New(streamapi.Options{Gateway: g, MaxBody: maxBody})
	server := protocoltest.Server(t, h.Register)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // what a test left open is ended at once
		_ = h.Stop(ctx)
	})
	return h, server
}

func within(t testing.TB) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// client is one client's connection.
type client struct {
	t testing.TB
	*websocket.Conn
	header http.Header // of the upgrade
}

// dial opens a connection with further headers, given as names and values in
// turn.
func dial(t testing.TB, server *httptest.Server, headers ...string) *client {
	t.Helper()
	c, header, refusal := tryDial(t, server, headers...)
	if c == nil {
		t.Fatal(refusal)
	}
	c.SetReadLimit(-1)
	t.Cleanup(func() { _ = c.CloseNow() })
	return &client{t: t, Conn: c, header: header}
}

// tryDial gives no connection but status and body where the upgrade is refused.
func tryDial(t testing.TB, server *httptest.Server, headers ...string) (c *websocket.Conn, header http.Header, refusal string) {
	t.Helper()
	sent := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		sent.Add(headers[i], headers[i+1])
	}
	// The library wants to know what it offers.
	var offered []string
	if line := sent.Get("Sec-WebSocket-Protocol"); line != "" {
		offered = strings.Split(line, ",")
	}
	c, response, err := websocket.Dial(within(t), "ws"+strings.TrimPrefix(server.URL, "http")+"/v1/stream", &websocket.DialOptions{
		HTTPHeader: sent, HTTPClient: server.Client(), Subprotocols: offered,
	})
	if err == nil {
		return c, response.Header, ""
	}
	if response == nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return nil, response.Header, response.Status + " " + string(body)
}

// enter is dial with the key in a header.
func enter(t testing.TB, server *httptest.Server) *client {
	t.Helper()
	return dial(t, server, "X-Api-Key", protocoltest.Key)
}

func (c *client) send(text string) {
	c.t.Helper()
	if err := c.Write(within(c.t), websocket.MessageText, []byte(text)); err != nil {
		c.t.Fatalf("send: %v", err)
	}
}

// receive reads one message.
func (c *client) receive() string {
	c.t.Helper()
	kind, text, err := c.Read(within(c.t))
	if err != nil || kind != websocket.MessageText {
		c.t.Fatalf("receive: %v, %v", kind, err)
	}
	return string(text)
}

// expect reads one message, which must be want.
func (c *client) expect(want string) {
	c.t.Helper()
	if got := c.receive(); got != want {
		c.t.Fatalf("\ngot  %s\nwant %s", got, want)
	}
}

// expectError reads one message, which must be an error of that code.
func (c *client) expectError(code string) string {
	c.t.Helper()
	got := c.receive()
	if !strings.HasPrefix(got, `{"type":"error"`) || !strings.Contains(got, `"code":"`+code+`"}`) {
		c.t.Fatalf("got %s, want an error of the code %s", got, code)
	}
	return got
}

// expectClose reads the end of the connection.
func (c *client) expectClose(want websocket.StatusCode) {
	c.t.Helper()
	_, text, err := c.Read(within(c.t))
	if got := websocket.CloseStatus(err); got != want {
		c.t.Fatalf("closed with %d (%v), %q; want %d", got, err, text, want)
	}
}

const chat = `{"type":"chat","model":"haiku","messages":[{"role":"user","content":"hi"}]}`
