package streamapi_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/streamapi"
)

// pipes is a listener of connections inside the process: what happens on them
// takes the fake time of synctest.
type pipes struct {
	incoming chan net.Conn
	closed   chan struct{}
	once     sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }

// open serves a gateway in a bubble, and opens a connection to it.
func (p *pipes) open(t *testing.T, g *gateway.Gateway, headers ...string) (*streamapi.Handler, *client) {
	t.Helper()
	p.incoming, p.closed = make(chan net.Conn), make(chan struct{})
	h := streamapi.New(streamapi.Options{Gateway: g, MaxBody: maxBody})
	server := &http.Server{Handler: protocoltest.Handler(h.Register)}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(p)
	}()
	transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
		ours, theirs := net.Pipe()
		p.incoming <- theirs
		return ours, nil
	}}
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Stop(ctx)
		_ = server.Close()
		<-served
		transport.CloseIdleConnections()
	})
	header := http.Header{}
	for i := 0; i+1 < len(headers); i += 2 {
		header.Add(headers[i], headers[i+1])
	}
	conn, _, err := websocket.Dial(t.Context(), "ws://127.0.0.1/v1/stream", &websocket.DialOptions{ //nolint:bodyclose // there is none after an upgrade
		HTTPHeader: header, HTTPClient: &http.Client{Transport: transport},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return h, &client{t: t, Conn: conn}
}

func TestNoKeyInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		_, c := new(pipes).open(t, new(protocoltest.Rooms).Gateway())
		c.expectError("invalid_api_key")
		c.expectClose(4401)
		if took := time.Since(began); took != 10*time.Second {
			t.Errorf("after %v", took)
		}
	})
}

// A client that is there stays, however long it is idle.
func TestIdle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := new(pipes).open(t, new(protocoltest.Rooms).Gateway(), "X-Api-Key", protocoltest.Key)
		// Not in the moment of a ping: a pipe without a buffer takes one thing at a time.
		idle, cancel := context.WithTimeout(t.Context(), time.Hour+15*time.Second)
		defer cancel()
		answered := make(chan error, 1)
		go func() { // a read that sees pings for an hour, and then a message
			_, text, err := c.Read(context.Background())
			if err == nil && string(text) != `{"type":"pong"}` {
				err = errors.New(string(text))
			}
			answered <- err
		}()
		<-idle.Done()
		c.send(`{"type":"ping"}`)
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
}

// A client that no longer reads is let go.
func TestGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := new(pipes).open(t, new(protocoltest.Rooms).Gateway(), "X-Api-Key", protocoltest.Key)
		time.Sleep(29 * time.Second)
		synctest.Wait()
		if h.Connections() != 1 {
			t.Fatal("it was let go too soon")
		}
		time.Sleep(32 * time.Second)
		synctest.Wait()
		if n := h.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// A client that stops reading holds the backend up, and after a minute counts
// as gone.
func TestBackPressure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive()
		h, c := new(pipes).open(t, l.Gateway(), "X-Api-Key", protocoltest.Key)
		c.send(chat)
		<-l.entered
		l.texts <- "taken"
		c.expect(`{"type":"token","content":"taken"}`)
		if err := <-l.wrote; err != nil {
			t.Error(err)
		}
		l.texts <- "not taken"
		began := time.Now()
		time.Sleep(59 * time.Second)
		synctest.Wait()
		select {
		case l.texts <- "more":
			t.Fatal("the backend goes on")
		case err := <-l.wrote:
			t.Fatalf("the message left: %v", err)
		default:
		}
		if e := apierror.From(<-l.ended); e.Category != apierror.ClientClosed {
			t.Errorf("ended by %v", e)
		}
		if took := time.Since(began); took != time.Minute {
			t.Errorf("after %v", took)
		}
		synctest.Wait()
		if entries := l.Entries(); len(entries) != 1 || entries[0].Status != 499 {
			t.Errorf("recorded %+v", entries)
		}
		if n := h.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// A slow client is only slow: it may take less than a minute for each message,
// and what it asks in between is answered.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive()
		_, c := new(pipes).open(t, l.Gateway(), "X-Api-Key", protocoltest.Key)
		c.send(chat)
		<-l.entered
		go func() {
			for range 5 {
				l.texts <- strings.Repeat("x", 100)
			}
			close(l.texts)
		}()
		for range 5 {
			time.Sleep(50 * time.Second)
			c.expect(`{"type":"token","content":"` + strings.Repeat("x", 100) + `"}`)
		}
		if got := c.receive(); !strings.HasPrefix(got, `{"type":"done"`) {
			t.Error(got)
		}
	})
}

// What the reader answers while a chat's message is stuck leaves behind it, and
// a cancel is read.
func TestAnswersBehindAStuckMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive()
		_, c := new(pipes).open(t, l.Gateway(), "X-Api-Key", protocoltest.Key)
		c.send(chat)
		<-l.entered
		l.texts <- "stuck"
		synctest.Wait()
		c.send(`{"type":"ping","id":"1"}`)
		c.send(chat)
		c.send(`{"type":"cancel"}`)
		synctest.Wait()
		c.expect(`{"type":"token","content":"stuck"}`)
		c.expect(`{"type":"pong","id":"1"}`)
		c.expectError("busy")
		c.expectError("cancelled")
		if err := <-l.ended; apierror.From(err).Code != "cancelled" {
			t.Errorf("ended by %v", err)
		}
	})
}

// A client that claims a long message and sends no more of it is cut off.
func TestStuckInATooLongMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, c := new(pipes).open(t, new(protocoltest.Rooms).Gateway(), "X-Api-Key", protocoltest.Key)
		w, err := c.Writer(t.Context(), websocket.MessageText)
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			_, _ = w.Write([]byte(strings.Repeat("x", maxBody+8_192)))
		}()
		c.expectError("request_too_large")
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if n := h.Connections(); n != 0 {
			t.Errorf("%d connections", n)
		}
	})
}

// A ping that nobody can be answered doesn't cost a slow client its connection.
func TestPingBehindAStuckMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLive()
		_, c := new(pipes).open(t, l.Gateway(), "X-Api-Key", protocoltest.Key)
		c.send(chat)
		<-l.entered
		l.texts <- "stuck"
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		pinged := make(chan error, 1)
		go func() { pinged <- c.Ping(ctx) }()
		time.Sleep(20 * time.Second)
		c.send(`{"type":"cancel"}`)
		c.expect(`{"type":"token","content":"stuck"}`)
		c.expectError("cancelled")
		cancel()
		if err := <-pinged; err == nil {
			t.Error("a pong came from nowhere")
		}
	})
}

// A client that takes minutes to send a message is there, though it can't answer
// pings meanwhile.
func TestSlowMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, c := new(pipes).open(t, new(protocoltest.Rooms).Gateway(), "X-Api-Key", protocoltest.Key)
		w, err := c.Writer(t.Context(), websocket.MessageText)
		if err != nil {
			t.Fatal(err)
		}
		for range 10 {
			if _, err := w.Write([]byte(strings.Repeat(" ", 5_000))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(25 * time.Second)
		}
		_, err = w.Write([]byte(`{"type":"ping"}`))
		if err := errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		c.expect(`{"type":"pong"}`)
	})
}
