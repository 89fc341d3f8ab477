package client

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// ChatRequest asks for an answer on a Stream. What is left out has the service's default.
type ChatRequest struct {
	Model       string         `json:"model,omitzero"` // "" is auto
	Messages    []Message      `json:"messages"`
	System      string         `json:"system,omitzero"`
	MaxTokens   int            `json:"max_tokens,omitzero"`
	Temperature *float64       `json:"temperature,omitzero"`
	Stop        []string       `json:"stop,omitzero"`
	Thinking    jsontext.Value `json:"thinking,omitzero"` // as in the Messages API
}

// ChatEvent is a piece of an answer: EventToken, EventThinking, or EventDone, which is the
// last one and has the members behind Content.
type ChatEvent struct {
	Type       string   `json:"type"`
	Content    string   `json:"content"`
	Usage      Usage    `json:"usage"`
	CostUSD    *float64 `json:"cost"` // nil: not known
	Model      string   `json:"model"`
	StopReason string   `json:"stop_reason"`
	Backend    string   `json:"backend"`
	Warnings   []string `json:"warnings"`
	RequestID  string   `json:"request_id"`
}

// Stream is a connection for chats, which stays open between them. Its methods may be
// called from several goroutines; chats wait for each other. Close must be called.
type Stream struct {
	socket   *websocket.Conn
	life     context.Context
	end      context.CancelFunc
	messages chan []byte // closed when nothing more is read
	failed   error       // why; to be read when messages is closed

	turn chan struct{} // who holds it chats
	mu   sync.Mutex
	last int // the number of the last chat
}

// Stream opens a connection for chats. ctx is for the opening alone. The Options Backend,
// RequestID and Header hold for all chats of the connection.
func (c *Client) Stream(ctx context.Context, options ...Option) (*Stream, error) {
	o := newCall(options)
	if c.key != "" {
		o.header.Set("X-Api-Key", c.key)
	}
	socket, response, err := websocket.Dial(ctx, c.base.String()+"/v1/stream", &websocket.DialOptions{HTTPClient: c.http, HTTPHeader: o.header}) //nolint:bodyclose // it is in memory
	if err != nil {
		if response != nil && response.StatusCode >= http.StatusBadRequest {
			return nil, errorOf(response) // its body is in memory
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, err
	}
	socket.SetReadLimit(maxEvent)
	s := &Stream{socket: socket, messages: make(chan []byte), turn: make(chan struct{}, 1)}
	s.life, s.end = context.WithCancel(context.Background())
	go s.read()
	return s, nil
}

// read hands on what the service sends, also between chats, so that its pings are
// answered.
func (s *Stream) read() {
	defer close(s.messages)
	for {
		_, data, err := s.socket.Read(s.life)
		if err != nil {
			s.failed = err
			return
		}
		select {
		case s.messages <- data:
		case <-s.life.Done():
			s.failed = s.life.Err()
			return
		}
	}
}

// Close ends the connection, and with it a chat that runs.
func (s *Stream) Close() error {
	err := s.socket.Close(websocket.StatusNormalClosure, "")
	s.end()
	for range s.messages {
		continue // until the reader has ended
	}
	var closed websocket.CloseError
	if errors.As(err, &closed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// cancelFor is how long the end of a chat is waited for that was cancelled, before the
// connection is given up.
const cancelFor = 10 * time.Second

// Chat asks for an answer and gives it as it comes. Its last event is EventDone, or its last
// step an error. When ctx ends, or whoever reads stops before the end, the chat is cancelled
// and the connection stays; a chat of the same connection that runs is waited for first.
func (s *Stream) Chat(ctx context.Context, request ChatRequest) iter.Seq2[ChatEvent, error] {
	return func(yield func(ChatEvent, error) bool) {
		select {
		case s.turn <- struct{}{}:
		case <-ctx.Done():
			yield(ChatEvent{}, ctx.Err())
			return
		}
		defer func() { <-s.turn }()
		s.mu.Lock()
		s.last++
		id := "chat-" + strconv.Itoa(s.last)
		s.mu.Unlock()
		err := s.write(struct {
			Type string `json:"type"`
			ID   string `json:"id"`
			ChatRequest
		}{"chat", id, request})
		if err != nil {
			yield(ChatEvent{}, err)
			return
		}
		for {
			e, ended, err := s.next(ctx, id)
			if err == nil && e.Type == "" {
				continue // of another chat, or of none
			}
			if err != nil && !ended {
				s.cancel(id)
			}
			if err != nil {
				yield(ChatEvent{}, err)
				return
			}
			if !yield(e, nil) {
				if !ended {
					s.cancel(id)
				}
				return
			}
			if ended {
				return
			}
		}
	}
}

// next gives the next message of a chat; ended says that the chat has, or the
// connection.
func (s *Stream) next(ctx context.Context, id string) (e ChatEvent, ended bool, err error) {
	select {
	case data, open := <-s.messages:
		if !open {
			return e, true, fmt.Errorf("%w: %w", ErrCut, s.failed)
		}
		return readChatEvent(data, id)
	case <-ctx.Done():
		return e, false, ctx.Err()
	}
}

// readChatEvent reads a message. One that isn't of the chat with the id has no type.
func readChatEvent(data []byte, id string) (e ChatEvent, ended bool, err error) {
	var read struct {
		ChatEvent
		ID string `json:"id"`
	}
	if err := json.Unmarshal(data, &read, lenient); err != nil {
		return e, false, fmt.Errorf("read a message: %w", err)
	}
	switch {
	case read.Type == EventError && (read.ID == id || read.ID == ""):
		var f failure
		if err := json.Unmarshal(data, &f, lenient); err != nil {
			return e, false, fmt.Errorf("read a message: %w", err)
		}
		return e, true, f.error()
	case read.ID != id:
		return e, false, nil
	}
	return read.ChatEvent, read.Type == EventDone, nil
}

// cancel ends a chat and waits for its last message, so that the connection is free for
// another.
func (s *Stream) cancel(id string) {
	err := s.write(struct {
		Type string `json:"type"`
		ID   string `json:"id"`
	}{"cancel", id})
	ctx, stop := context.WithTimeout(s.life, cancelFor)
	defer stop()
	for ended := false; err == nil && !ended; {
		_, ended, err = s.next(ctx, id)
	}
	if err != nil {
		if _, told := isRefusal(err); !told {
			_ = s.socket.CloseNow() // the connection is of no more use
		}
	}
}

// write sends a message.
func (s *Stream) write(message any) error {
	data, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("write the request: %w", err)
	}
	ctx, stop := context.WithTimeout(s.life, cancelFor)
	defer stop()
	return s.socket.Write(ctx, websocket.MessageText, data)
}
