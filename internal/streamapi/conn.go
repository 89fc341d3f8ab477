package streamapi

import (
	"context"
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

const (
	// authLimit is how long a client without a key may take to present one.
	authLimit = 10 * time.Second
	// firstLimit bounds the first message of a client that has presented no key
	// yet, in bytes: until then it takes memory that anybody may ask for.
	firstLimit = 1 << 20
	// pingAfter is how long a connection is silent before the server pings, and
	// pongWithin how long the client may take to answer.
	pingAfter  = 30 * time.Second
	pongWithin = 30 * time.Second
	// closeLimit is how long the client may take to answer a close frame.
	closeLimit = 5 * time.Second
)

// closeUnauthorized is the close code for a key that isn't accepted: 4000 to
// 4999 are an application's own (RFC 6455, 7.4.2), and it ends as HTTP's 401.
const closeUnauthorized websocket.StatusCode = 4401

// conn is one connection. The goroutine of its request reads; a chat has one of
// its own, and a timer one while it acts. Whoever wants the connection to end
// closes it, and the reader, whose read then fails, ends all else.
type conn struct {
	h         *Handler
	ws        *websocket.Conn
	out       *outbox
	requestID string // of the upgrade; a chat's has a number behind it
	address   string // the client's network address, without a port
	prefer    string // the backend that the header asked for

	// The reader's own.
	key   string // "" until one was presented
	chats int

	life context.Context // ends with the connection
	end  context.CancelFunc
	base context.Context // the request's: it ends where the server stops at once

	heard atomic.Int64 // when a part of a message last came, Unix time in ns

	mu       sync.Mutex
	chat     *chat // nil when none runs
	stopping bool  // the service stops
	told     bool  // and the client knows it from its chat's end
	leaving  bool  // and the connection is being closed
	ended    bool  // the reader has ended: nothing may be started
	tasks    sync.WaitGroup
	late     *time.Timer // ends a connection without a key
	silence  *time.Timer
}

func newConn(h *Handler, requestID, address string) *conn {
	return &conn{h: h, out: newOutbox(), requestID: requestID, address: address}
}

// run serves the connection to its end.
func (c *conn) run(base context.Context) {
	// A context that ends cuts a connection off in the middle of a read; when the
	// server stops the client is told instead.
	c.life, c.end = context.WithCancel(context.WithoutCancel(base))
	c.base = base
	if !c.h.add(c) {
		_ = c.refuse("", errShuttingDown(), websocket.StatusGoingAway)
		c.end()
		_ = c.ws.CloseNow()
		return
	}
	defer c.h.remove(c)
	c.ws.SetReadLimit(-1) // next bounds it
	unwatch := context.AfterFunc(base, c.stop)
	c.arm()
	defer func() { // also after a panic
		unwatch()
		c.cancel(nil)
		c.end()
		c.disarm()
		c.cut() // whoever still writes has nobody to write to
		c.tasks.Wait()
		_ = c.ws.CloseNow()
	}()
	err := c.next()
	for err == nil { // what is worth saying of an error has been said
		err = c.next()
	}
}

// errClosed says that the connection was closed from this side.
var errClosed = errors.New("the connection was closed")

// next reads one message and acts on it. An error ends the connection.
func (c *conn) next() error {
	kind, r, err := c.ws.Reader(c.life)
	if err != nil {
		return err
	}
	if kind == websocket.MessageBinary {
		e := &apierror.Error{Category: apierror.BadRequest, Code: codeBinary, Message: "messages must be text"}
		return c.refuse("", e, websocket.StatusUnsupportedData)
	}
	limit := c.h.maxBody
	if c.key == "" {
		limit = min(limit, firstLimit)
	}
	text, err := io.ReadAll(io.LimitReader(&listener{r, &c.heard}, limit+1))
	if err != nil {
		return err
	}
	if int64(len(text)) > limit {
		e := &apierror.Error{
			Category: apierror.BadRequest, Code: apierror.CodeTooLarge,
			Message: "the message is larger than the limit of " + strconv.FormatInt(limit, 10) + " bytes",
		}
		return c.refuse("", e, websocket.StatusMessageTooBig)
	}
	return c.handle(text)
}

// refuse tells the client of an error that ends the connection, and closes it.
func (c *conn) refuse(id string, e *apierror.Error, code websocket.StatusCode) error {
	c.cancel(nil)
	protocol.Log(c.life, c.h.log, c.requestID, e)
	if err := c.out.write(appendError(nil, id, c.requestID, e)); err != nil {
		return err
	}
	return c.close(code, e)
}

// close says goodbye. A client that doesn't answer soon is cut off.
func (c *conn) close(code websocket.StatusCode, e *apierror.Error) error {
	// The library waits for the rest of a message as long as that takes.
	_ = c.out.raw.SetDeadline(time.Now().Add(closeLimit))
	_ = c.ws.Close(code, closeReason(e))
	return errClosed
}

// closeReason is a short text for a close frame, which holds 123 bytes.
func closeReason(e *apierror.Error) string {
	if e.Code != "" {
		return string(e.Code)
	}
	return string(e.Category)
}

// cancel ends the chat that runs, for the given reason; nil: the client left.
func (c *conn) cancel(cause *apierror.Error) {
	c.mu.Lock()
	running := c.chat
	c.mu.Unlock()
	if running != nil {
		running.end(cause)
	}
}

// stop tells the client that the service stops and closes the connection, now
// or when its chat has ended.
func (c *conn) stop() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.stopping || c.ended {
		return
	}
	c.stopping = true
	if c.chat == nil {
		c.tasks.Go(c.leave)
	}
}

// leave closes the connection because the service stops; the reader ends then.
// The client is told why, unless it has been.
func (c *conn) leave() {
	c.mu.Lock()
	again, told := c.leaving, c.told
	c.leaving = true
	c.mu.Unlock()
	switch {
	case again:
	case told:
		_ = c.close(websocket.StatusGoingAway, errShuttingDown())
	default:
		_ = c.refuse("", errShuttingDown(), websocket.StatusGoingAway)
	}
}

// cut ends the connection without a word.
func (c *conn) cut() { _ = c.out.raw.Close() }

// arm starts the timers.
func (c *conn) arm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.key == "" {
		c.late = c.after(authLimit, func() {
			_ = c.refuse("", unauthorized("no key was presented in time"), closeUnauthorized)
		})
	}
	c.silence = c.after(pingAfter, c.ping)
}

// after is time.AfterFunc for what must have ended when the connection has. The
// caller holds mu.
func (c *conn) after(d time.Duration, act func()) *time.Timer {
	c.tasks.Add(1)
	return time.AfterFunc(d, func() {
		defer c.tasks.Done()
		act()
	})
}

// disarm stops the timers and lets nothing more start.
func (c *conn) disarm() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	for _, timer := range []*time.Timer{c.late, c.silence} {
		if timer != nil && timer.Stop() {
			c.tasks.Done()
		}
	}
}

// authenticated says that a key was presented.
func (c *conn) authenticated() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.late != nil && c.late.Stop() {
		c.tasks.Done()
	}
	c.late = nil
}

// ping asks a client from which nothing was heard whether it is there. A
// connection on which much is written needs none: a client that has left doesn't
// take it. Nor does one on which a long message is coming, in the middle of which
// most clients can't answer.
func (c *conn) ping() {
	if c.silent(pingAfter) {
		ctx, cancel := context.WithTimeout(c.life, pongWithin)
		err := c.ws.Ping(ctx)
		cancel()
		// What came or left since says more.
		if err != nil && c.silent(pongWithin) {
			c.cut()
			return
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.ended {
		c.silence = c.after(pingAfter, c.ping)
	}
}

// silent says that nothing has come or left for so long.
func (c *conn) silent(d time.Duration) bool {
	return c.out.quiet(d) && time.Since(time.Unix(0, c.heard.Load())) >= d
}

// listener notes when something was read.
type listener struct {
	src   io.Reader
	heard *atomic.Int64
}

func (l *listener) Read(b []byte) (int, error) {
	n, err := l.src.Read(b)
	l.heard.Store(time.Now().UnixNano())
	return n, err
}
