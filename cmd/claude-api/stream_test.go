package main

import (
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/simulator"
)

// streamed is a message of /v1/stream.
type streamed struct {
	Type, ID, Content, Model, Backend string
	FinishReason                      string `json:"finish_reason"`
	RequestID                         string `json:"request_id"`
	Usage                             struct {
		OutputTokens int64 `json:"output_tokens"`
	}
	Cost     *float64
	Warnings []string
	Error    struct{ Code, Type, Message string }
}

// socket is a connection to /v1/stream.
type socket struct {
	t testing.TB
	*websocket.Conn
}

func (s *service) socket(t testing.TB, headers ...string) *socket {
	t.Helper()
	header := http.Header{"X-Api-Key": {s.key}}
	for i := 0; i+1 < len(headers); i += 2 {
		header.Set(headers[i], headers[i+1])
	}
	//nolint:bodyclose // there is none after an upgrade
	c, _, err := websocket.Dial(within(t), "ws"+strings.TrimPrefix(s.url, "http")+"/v1/stream", &websocket.DialOptions{HTTPHeader: header})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseNow() })
	return &socket{t, c}
}

func (s *socket) send(text string) {
	s.t.Helper()
	if err := s.Write(within(s.t), websocket.MessageText, []byte(text)); err != nil {
		s.t.Fatal(err)
	}
}

func (s *socket) receive() (m streamed) {
	s.t.Helper()
	_, text, err := s.Read(within(s.t))
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return m
}

// streamChat is a chat message; further members are given as JSON.
func streamChat(prompt string, more ...string) string {
	return strings.Replace(chat(prompt, more...), "{", `{"type":"chat",`, 1)
}

// testStream chats on WebSockets: the answer comes in pieces, one after the
// other on a connection, and a cancel reaches the upstream.
func testStream(t *testing.T, s *stand) {
	for backend, use := range map[string]string{"cli": `"use_cli":true`, "direct": `"use_cli":false`} {
		t.Run(backend, func(t *testing.T) {
			s.idle(t)
			id := s.id()
			c := s.socket(t, "X-Request-ID", id)
			for _, number := range []string{"-1", "-2"} {
				prompt := s.word("Good morning, WebSocket")
				c.send(streamChat(prompt, use, `"id":"one"`))
				text, pieces := "", 0
				m := c.receive()
				for ; m.Type == "token" && m.ID == "one"; m = c.receive() {
					text += m.Content
					pieces++
				}
				if text != "Echo: "+prompt || pieces < 2 {
					t.Errorf("%d pieces: %q", pieces, text)
				}
				if m.Type != "done" || m.ID != "one" || m.Backend != backend || m.FinishReason != "stop" || m.Cost == nil ||
					m.Usage.OutputTokens != tokens(text) || m.RequestID != id+number || len(m.Warnings) > 0 {
					t.Errorf("done: %+v", m)
				}
				// It was there before the message.
				if r := row(t, s.db, id+number); r.Endpoint != "/v1/stream" || r.Status != 200 || r.Backend != backend || r.Usage.OutputTokens != tokens(text) {
					t.Errorf("recorded %+v", r)
				}
			}

			before := s.upstream.Stats().Cancelled
			c.send(streamChat(s.word("leave")+" [[tokens=5000 interval=20ms]]", use))
			if m := c.receive(); m.Type != "token" {
				t.Fatalf("%+v", m)
			}
			c.send(`{"type":"cancel"}`)
			m := c.receive()
			for m.Type == "token" {
				m = c.receive()
			}
			if m.Type != "error" || m.Error.Code != "cancelled" || m.RequestID != id+"-3" {
				t.Errorf("after the cancel: %+v", m)
			}
			s.upstream.await(t, "the cancel", func(stats simulator.Stats) bool { return stats.Cancelled > before && stats.InFlight == 0 })
			s.left(t, id+"-3")
			s.serves(t, backend)
			c.send(`{"type":"ping"}`)
			if m := c.receive(); m.Type != "pong" {
				t.Errorf("%+v", m)
			}
			if n := s.metric(t, "claude_api_stream_connections"); n != 1 {
				t.Errorf("%v connections", n)
			}
			_ = c.Close(websocket.StatusNormalClosure, "")
			eventually(t, patience, "the connection is gone", func() bool { return s.metric(t, "claude_api_stream_connections") == 0 })
		})
	}
}

// testStreamQueue has all workers busy: pings are answered at once, and a chat
// that waits can be cancelled.
func testStreamQueue(t *testing.T, s *stand) {
	s.idle(t)
	for range 2 {
		c := s.socket(t)
		c.send(streamChat(s.word("leave")+" [[tokens=5000 interval=20ms]]", `"use_cli":true`))
		if m := c.receive(); m.Type != "token" {
			t.Fatalf("%+v", m)
		}
	}
	id, prompt := s.id(), s.word("leave")
	c := s.socket(t, "X-Request-ID", id)
	c.send(streamChat(prompt, `"use_cli":true`))
	eventually(t, patience, "a chat waits", func() bool { return s.metric(t, "claude_api_cli_queue_length") == 1 })
	fastest := time.Hour
	for range 5 {
		began := time.Now()
		c.send(`{"type":"ping"}`)
		if m := c.receive(); m.Type != "pong" {
			t.Fatalf("%+v", m)
		}
		fastest = min(fastest, time.Since(began))
	}
	if fastest > 50*time.Millisecond {
		t.Errorf("a pong takes %v", fastest)
	}
	c.send(`{"type":"cancel"}`)
	if m := c.receive(); m.Error.Code != "cancelled" {
		t.Errorf("%+v", m)
	}
	s.left(t, id+"-1")
	if len(s.upstream.messages(prompt)) != 0 {
		t.Error("the chat reached the upstream")
	}
}

// TestStreamStop stops a service with two connections: the chat that runs is
// finished.
func TestStreamStop(t *testing.T) {
	s := serve(t, newUpstream(t).url, "off")
	s.ready(t)
	idle, busy := s.socket(t), s.socket(t)
	busy.send(streamChat("bye [[tokens=50 interval=20ms]]"))
	if m := busy.receive(); m.Type != "token" {
		t.Fatalf("%+v", m)
	}
	s.signal(t, syscall.SIGTERM)
	if m := idle.receive(); m.Type != "error" || m.Error.Code != "shutting_down" {
		t.Errorf("%+v", m)
	}
	if _, _, err := idle.Read(within(t)); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v", err)
	}
	m := busy.receive()
	for m.Type == "token" {
		m = busy.receive()
	}
	if m.Type != "done" {
		t.Errorf("the chat that ran: %+v", m)
	}
	if m := busy.receive(); m.Error.Code != "shutting_down" {
		t.Errorf("%+v", m)
	}
	if _, _, err := busy.Read(within(t)); websocket.CloseStatus(err) != websocket.StatusGoingAway {
		t.Errorf("closed with %v", err)
	}
	if code := s.exit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
