package streamapi

import (
	"context"
	"net"
	"sync"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
)

const (
	// stallLimit is how long one message may take to leave before the client
	// counts as gone, as on event streams: it bounds how long somebody who stops
	// reading can hold a worker.
	stallLimit = 60 * time.Second
	// pongPatience is how long the answer to a client's ping waits for a message
	// that is being written. A client that reads nothing for longer sees no pong
	// either.
	pongPatience = time.Second
	// maxReplies bounds what is kept of the reader's replies while a chat writes.
	maxReplies = 64
)

// outbox writes a connection's messages, one at a time. A chat waits until its
// message has left, so a slow client slows the upstream. The reader never waits
// for a chat's message, unless the client asks much and reads nothing: its replies
// leave behind that message. It is safe for concurrent use, reply excepted.
type outbox struct {
	ws  *websocket.Conn
	raw net.Conn

	turn chan struct{} // held while a message is written

	mu      sync.Mutex
	replies [][]byte
	last    time.Time // of the last message's end
}

func newOutbox() *outbox { return &outbox{turn: make(chan struct{}, 1)} }

// write sends a message and returns when it has left. The message may be used
// again then. An error says that the client has left.
func (o *outbox) write(text []byte) error { return o.writeAfter(func() {}, text) }

// writeAfter is write, with something that is done before the message leaves and
// after everything that was written earlier.
func (o *outbox) writeAfter(first func(), text []byte) error {
	o.turn <- struct{}{} // whoever holds it lets go within stallLimit
	first()
	err := o.send(text)
	<-o.turn
	if err == nil {
		err = o.drain()
	}
	return err
}

// reply sends a message, now or behind the one that is being written. Only the
// reader may call it. The outbox owns the message from here on.
func (o *outbox) reply(text []byte) error {
	o.mu.Lock()
	full := len(o.replies) >= maxReplies
	if !full {
		o.replies = append(o.replies, text)
	}
	o.mu.Unlock()
	if full {
		return o.write(text)
	}
	return o.drain()
}

// drain sends the replies, unless somebody else writes, who will do it.
func (o *outbox) drain() error {
	for {
		o.mu.Lock()
		waiting := len(o.replies) > 0
		o.mu.Unlock()
		if !waiting {
			return nil
		}
		select {
		case o.turn <- struct{}{}:
		default:
			return nil
		}
		err := o.sendReplies()
		<-o.turn
		if err != nil {
			return err
		}
	}
}

func (o *outbox) sendReplies() error {
	o.mu.Lock()
	replies := o.replies
	o.replies = nil
	o.mu.Unlock()
	for _, text := range replies {
		if err := o.send(text); err != nil {
			return err
		}
	}
	return nil
}

// send writes one message. The caller has the turn.
func (o *outbox) send(text []byte) error {
	// A deadline on the connection costs nothing; a context with one, which the
	// library would take, costs more than the message. It ends with the message,
	// so that it doesn't strike the library's own frames.
	_ = o.raw.SetWriteDeadline(time.Now().Add(stallLimit))
	err := o.ws.Write(context.Background(), websocket.MessageText, text)
	now := time.Now()
	_ = o.raw.SetWriteDeadline(time.Time{})
	o.mu.Lock()
	o.last = now
	o.mu.Unlock()
	if err != nil {
		_ = o.raw.Close() // half a message may have left: nothing can follow it
		return apierror.Wrap(apierror.ClientClosed, "the caller left", err)
	}
	return nil
}

// quiet says that nothing was written for so long, nor is.
func (o *outbox) quiet(d time.Duration) bool {
	if len(o.turn) > 0 {
		return false
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	return time.Since(o.last) >= d
}

// onPing says whether a client's ping is to be answered. The library gives the
// answer five seconds and then the connection up, which would be the end of a
// client that is only slow.
func (o *outbox) onPing(context.Context, []byte) bool {
	timer := time.NewTimer(pongPatience)
	defer timer.Stop()
	select {
	case o.turn <- struct{}{}:
		<-o.turn
		_ = o.drain() // whoever fails to write closes the connection
		return true
	case <-timer.C:
		return false
	}
}
