package streamapi_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/streamapi"
)

func limited() error {
	return &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: 1500 * time.Millisecond}
}

func errUpstream() error { return apierror.New(apierror.ConnectionError, "the upstream hung up") }

const text = "event: content_block_delta\ndata: {\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n"

func TestAuthentication(t *testing.T) {
	key := protocoltest.Key
	tests := []struct {
		name    string
		headers []string
		first   string // the first message, "" for a chat
		answer  string // to it, before the chat
		proto   string // the subprotocol that the server selects
	}{
		{name: "x-api-key", headers: []string{"X-Api-Key", key}},
		{name: "bearer", headers: []string{"Authorization", "Bearer " + key}},
		{name: "subprotocol", headers: []string{"Sec-WebSocket-Protocol", "claude-api, key." + key}, proto: "claude-api"},
		{name: "subprotocol, the key first", headers: []string{"Sec-WebSocket-Protocol", "key." + key + ",claude-api"}, proto: "claude-api"},
		{name: "subprotocol without ours", headers: []string{"Sec-WebSocket-Protocol", "key." + key}},
		{name: "auth message", first: `{"type":"auth","id":"a","api_key":"` + key + `"}`, answer: `{"type":"authenticated","id":"a"}`},
		{name: "in a chat", first: strings.Replace(chat, `"chat"`, `"chat","api_key":"`+key+`"`, 1)},
		{name: "in a ping", first: `{"type":"ping","api_key":"` + key + `"}`, answer: `{"type":"pong"}`},
		{name: "again", headers: []string{"X-Api-Key", key}, first: `{"type":"auth","api_key":"` + key + `"}`, answer: `{"type":"authenticated"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Stream: []byte(text)}
			_, server := serve(t, rooms.Gateway())
			c := dial(t, server, tt.headers...)
			if c.Subprotocol() != tt.proto {
				t.Errorf("subprotocol %q, want %q", c.Subprotocol(), tt.proto)
			}
			for name, values := range c.header {
				if strings.Contains(strings.Join(values, ","), key) {
					t.Errorf("the key is in %s", name)
				}
			}
			if tt.first != "" {
				c.send(tt.first)
			}
			if tt.answer != "" {
				c.expect(tt.answer)
			}
			if tt.first == "" || tt.answer != "" {
				c.send(chat)
			}
			c.expect(`{"type":"token","content":"hello"}`)
			if done := c.receive(); !strings.HasPrefix(done, `{"type":"done"`) {
				t.Error(done)
			}
			entries := rooms.Entries()
			if len(entries) != 1 || entries[0].Caller.ProjectID != protocoltest.ProjectID || entries[0].Endpoint != "/v1/stream" || entries[0].RequestID != "req_test-1" {
				t.Errorf("recorded %+v", entries)
			}
		})
	}
}

func TestRefusedBeforeTheUpgrade(t *testing.T) {
	tests := []struct {
		name    string
		headers []string
		status  int
		want    string // in the body
	}{
		{"bad key in a header", []string{"X-Api-Key", "cc_no"}, 401, `{"detail":"invalid API key","error":{"message":"invalid API key","type":"auth_error","param":null,"code":"invalid_api_key"}}`},
		{"bad key in the subprotocol", []string{"Sec-WebSocket-Protocol", "claude-api, key.cc_no"}, 401, `"code":"invalid_api_key"`},
		{"bad key under two names", []string{"Authorization", "Bearer cc_no", "Sec-WebSocket-Protocol", "key." + protocoltest.Key}, 401, `"code":"invalid_api_key"`},
		{"another origin", []string{"X-Api-Key", protocoltest.Key, "Origin", "https://evil.example"}, 403, `"code":"origin_not_allowed"`},
		{"no origin to speak of", []string{"Origin", "null"}, 403, `"code":"origin_not_allowed"`},
		{"an unknown backend", []string{"X-Api-Key", protocoltest.Key, "X-Claude-Backend", "gpu"}, 400, `"param":"X-Claude-Backend"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{}
			_, server := serve(t, rooms.Gateway())
			c, header, refusal := tryDial(t, server, tt.headers...)
			if c != nil {
				_ = c.CloseNow()
				t.Fatal("it was let in")
			}
			if !strings.HasPrefix(refusal, strconv.Itoa(tt.status)) || !strings.Contains(refusal, tt.want) || header.Get("Content-Type") != "application/json" {
				t.Errorf("%v %s", header, refusal)
			}
			if tt.status == 401 && (len(rooms.Observed()) != 1 || rooms.Observed()[0].Status != 401) {
				t.Errorf("observed %+v", rooms.Observed())
			}
		})
	}
	t.Run("no upgrade", func(t *testing.T) {
		_, server := serve(t, new(protocoltest.Rooms).Gateway())
		answer := protocoltest.Do(t, http.MethodGet, server.URL+"/v1/stream", "", "X-Api-Key", protocoltest.Key)
		http.DefaultClient.CloseIdleConnections()
		if answer.Status != http.StatusUpgradeRequired || !strings.Contains(answer.Body, `"code":"upgrade_required"`) || answer.Header.Get("Upgrade") != "websocket" {
			t.Errorf("%d %v %s", answer.Status, answer.Header, answer.Body)
		}
	})
}

func TestSameOrigin(t *testing.T) {
	_, server := serve(t, new(protocoltest.Rooms).Gateway())
	c := dial(t, server, "X-Api-Key", protocoltest.Key, "Origin", server.URL)
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
}

// Pages of the origins that are configured may connect, and those of others that
// look alike may not. With makes a handler of the same connections.
func TestConfiguredOrigins(t *testing.T) {
	first, _ := serve(t, new(protocoltest.Rooms).Gateway())
	h := first.With(streamapi.Options{
		Gateway: new(protocoltest.Rooms).Gateway(), Origins: []string{"https://app.example", "http://[::1]:3000"},
	})
	server := protocoltest.Server(t, h.Register)
	for _, origin := range []string{"https://app.example", "http://[::1]:3000"} {
		c := dial(t, server, "X-Api-Key", protocoltest.Key, "Origin", origin)
		c.send(`{"type":"ping"}`)
		c.expect(`{"type":"pong"}`)
	}
	if n := first.Connections(); n != 2 {
		t.Errorf("the first handler knows of %d connections", n)
	}
	for _, origin := range []string{"http://app.example", "https://app.example.evil.example", "https://xapp.example", "http://:::1:3000"} {
		c, _, refusal := tryDial(t, server, "X-Api-Key", protocoltest.Key, "Origin", origin)
		if c != nil || !strings.Contains(refusal, "origin_not_allowed") {
			t.Errorf("a page of %s: %s", origin, refusal)
		}
	}
}

// What ends a connection.
func TestRefusedMessages(t *testing.T) {
	tests := []struct {
		name   string
		known  bool // the key came with the upgrade
		binary bool
		in     string
		code   string
		status websocket.StatusCode
	}{
		{"no key", false, false, chat, "invalid_api_key", 4401},
		{"a ping without a key", false, false, `{"type":"ping"}`, "invalid_api_key", 4401},
		{"bad key in an auth message", false, false, `{"type":"auth","api_key":"cc_no"}`, "invalid_api_key", 4401},
		{"bad key in a chat", false, false, `{"type":"chat","api_key":"cc_no","messages":[]}`, "invalid_api_key", 4401},
		{"bad key later", true, false, `{"type":"ping","api_key":"cc_no"}`, "invalid_api_key", 4401},
		{"bad JSON without a key", false, false, `{"type"`, "bad_request", 4401},
		{"too large without a key", false, false, `{"type":"auth","api_key":"` + strings.Repeat("x", 1<<20) + `"}`, "request_too_large", 1009},
		{"too large", true, false, `{"type":"chat","system":"` + strings.Repeat("x", maxBody) + `"}`, "request_too_large", 1009},
		{"binary", true, true, chat, "binary_message", 1003},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Stream: []byte(text)}
			_, server := serve(t, rooms.Gateway())
			var headers []string
			if tt.known {
				headers = []string{"X-Api-Key", protocoltest.Key}
			}
			c := dial(t, server, headers...)
			kind := websocket.MessageText
			if tt.binary {
				kind = websocket.MessageBinary
			}
			if err := c.Write(within(t), kind, []byte(tt.in)); err != nil {
				t.Fatal(err)
			}
			c.expectError(tt.code)
			c.expectClose(tt.status)
			if len(rooms.Calls()) > 0 {
				t.Error("it reached the backend")
			}
		})
	}
}

// What is wrong with one message leaves the connection open.
func TestComplaints(t *testing.T) {
	_, server := serve(t, (&protocoltest.Rooms{Stream: []byte(text)}).Gateway())
	c := enter(t, server)
	tests := []struct{ name, in, want string }{
		{"bad JSON", `{"type":"chat",`, `"code":"bad_request"`},
		{"an array", `[]`, `"code":"bad_request"`},
		{"no type", `{}`, `"param":"type"`},
		{"unknown type", `{"type":"sing","id":"s"}`, `{"type":"error","id":"s","detail":"type: must be chat`},
		{"auth without a key", `{"type":"auth"}`, `"param":"api_key"`},
		{"agentic task", `{"type":"agentic_task","id":"t","description":"x","timeout":3}`, `{"type":"error","id":"t","detail":"agentic tasks aren't available here","error":{"message":"agentic tasks aren't available here","type":"bad_request","param":"type","code":"not_implemented"}`},
		{"no messages", `{"type":"chat","id":"7"}`, `{"type":"error","id":"7","detail":"messages: field required"`},
		{"only a system message", `{"type":"chat","messages":[{"role":"system","content":"x"}]}`, `"param":"messages"`},
		{"a bad role", `{"type":"chat","messages":[{"role":"robot","content":"x"}]}`, `"param":"messages.0.role"`},
		{"tools", strings.Replace(chat, `"chat"`, `"chat","tools":[{}]`, 1), `"param":"tools","code":"not_implemented"`},
		{"too hot", strings.Replace(chat, `"chat"`, `"chat","temperature":3`, 1), `"param":"temperature"`},
		{"an id that is too long", `{"type":"ping","id":"` + strings.Repeat("x", 129) + `"}`, `"param":"id"`},
		{"an id that is no string", `{"type":"ping","id":7}`, `"param":"id"`},
		{"thinking of a wrong kind", strings.Replace(chat, `"chat"`, `"chat","thinking":true`, 1), `"param":"thinking"`},
		{"too many stops", strings.Replace(chat, `"chat"`, `"chat","stop":["a","b","c","d","e"]`, 1), `"param":"stop"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.send(tt.in)
			if got := c.receive(); !strings.HasPrefix(got, `{"type":"error"`) || !strings.Contains(got, tt.want) {
				t.Errorf("got %s\nwant %s", got, tt.want)
			}
		})
	}
	c.send(`{"type":"cancel"}`) // nothing runs: no error
	c.send(`{"type":"ping","id":"p"}`)
	c.expect(`{"type":"pong","id":"p"}`)
	c.send(chat)
	c.expect(`{"type":"token","content":"hello"}`)
}

func TestBusyAndPing(t *testing.T) {
	l := newLive()
	_, server := serve(t, l.Gateway())
	c := enter(t, server)
	c.send(strings.Replace(chat, `"chat"`, `"chat","id":"one"`, 1))
	<-l.entered
	// The backend hangs: the reader goes on.
	began := time.Now()
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
	if took := time.Since(began); took > 50*time.Millisecond {
		t.Errorf("the pong took %v", took)
	}
	c.send(strings.Replace(chat, `"chat"`, `"chat","id":"two"`, 1))
	if got := c.expectError("busy"); !strings.Contains(got, `"id":"two"`) {
		t.Error(got)
	}
	// The protocol's own ping is answered too; the next message ends the reading
	// by which the client sees that.
	pong := make(chan error, 1)
	go func() {
		pong <- c.Ping(within(t))
		l.texts <- "still here"
	}()
	c.expect(`{"type":"token","id":"one","content":"still here"}`)
	if err := <-pong; err != nil {
		t.Errorf("the protocol's own ping: %v", err)
	}
	close(l.texts)
	if got := c.receive(); !strings.HasPrefix(got, `{"type":"done","id":"one"`) {
		t.Error(got)
	}
}

func TestCancel(t *testing.T) {
	l := newLive()
	_, server := serve(t, l.Gateway())
	c := enter(t, server)
	c.send(strings.Replace(chat, `"chat"`, `"chat","id":"one"`, 1))
	<-l.entered
	l.texts <- "a"
	c.expect(`{"type":"token","id":"one","content":"a"}`)
	c.send(`{"type":"cancel","id":"another"}`)
	c.send(`{"type":"ping"}`)
	c.expect(`{"type":"pong"}`)
	if len(l.ended) > 0 {
		t.Fatal("another's cancel ended the chat")
	}
	c.send(`{"type":"cancel"}`)
	if err := <-l.ended; apierror.From(err).Code != "cancelled" {
		t.Errorf("the backend was ended by %v", err)
	}
	c.expect(`{"type":"error","id":"one","detail":"the chat was cancelled","error":{"message":"the chat was cancelled","type":"client_closed","param":null,"code":"cancelled"},"request_id":"req_test-1"}`)
	if entries := l.Entries(); len(entries) != 1 || entries[0].Status != 499 || entries[0].Category != "client_closed" {
		t.Errorf("recorded %+v", entries)
	}
	c.send(chat)
	<-l.entered
	close(l.texts)
	if got := c.receive(); !strings.HasPrefix(got, `{"type":"done"`) || !strings.Contains(got, `"request_id":"req_test-2"`) {
		t.Errorf("after a cancelled chat: %s", got)
	}
}

func TestLeave(t *testing.T) {
	for name, leave := range map[string]func(c *client){
		"with a close frame": func(c *client) { _ = c.Close(websocket.StatusNormalClosure, "") },
		"without a word":     func(c *client) { _ = c.CloseNow() },
	} {
		t.Run(name, func(t *testing.T) {
			l := newLive()
			h, server := serve(t, l.Gateway())
			c := enter(t, server)
			c.send(chat)
			<-l.entered
			l.texts <- "a"
			c.expect(`{"type":"token","content":"a"}`)
			leave(c)
			if err := <-l.ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the backend was ended by %v", err)
			}
			if err := h.Stop(within(t)); err != nil { // waits for the connection's end
				t.Error(err)
			}
			if entries := l.Entries(); len(entries) != 1 || entries[0].Status != 499 {
				t.Errorf("recorded %+v", entries)
			}
		})
	}
}

func TestRevokedBetweenChats(t *testing.T) {
	l := newLive()
	_, server := serve(t, l.Gateway())
	c := enter(t, server)
	c.send(chat)
	<-l.entered
	l.revoked.Store(true)
	close(l.texts) // what runs goes on
	if got := c.receive(); !strings.HasPrefix(got, `{"type":"done"`) {
		t.Error(got)
	}
	c.send(chat)
	c.expectError("invalid_api_key")
	c.expectClose(4401)
}

func TestStop(t *testing.T) {
	l := newLive()
	h, server := serve(t, l.Gateway())
	idle, busy := enter(t, server), enter(t, server)
	idle.send(`{"type":"ping"}`) // it is being served
	idle.expect(`{"type":"pong"}`)
	busy.send(chat)
	<-l.entered
	if n := h.Connections(); n != 2 {
		t.Errorf("%d connections", n)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop(within(t)) }()
	idle.expectError("shutting_down")
	idle.expectClose(websocket.StatusGoingAway)
	busy.send(strings.Replace(chat, `"chat"`, `"chat","id":"late"`, 1))
	busy.expectError("shutting_down")
	if _, _, refusal := tryDial(t, server, "X-Api-Key", protocoltest.Key); !strings.HasPrefix(refusal, "503") {
		t.Errorf("a new connection: %s", refusal)
	}
	l.texts <- "to the end"
	busy.expect(`{"type":"token","content":"to the end"}`)
	close(l.texts)
	if got := busy.receive(); !strings.HasPrefix(got, `{"type":"done"`) {
		t.Error(got)
	}
	busy.expectError("shutting_down")
	busy.expectClose(websocket.StatusGoingAway)
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	if n := h.Connections(); n != 0 {
		t.Errorf("%d connections", n)
	}
	if err := h.Stop(within(t)); err != nil {
		t.Errorf("again: %v", err)
	}
}

func TestStopInHaste(t *testing.T) {
	l := newLive()
	h, server := serve(t, l.Gateway())
	c := enter(t, server)
	c.send(chat)
	<-l.entered
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop(ctx) }()
	if err := <-l.ended; apierror.From(err).Code != "shutting_down" {
		t.Errorf("the backend was ended by %v", err)
	}
	if got := c.expectError("shutting_down"); !strings.Contains(got, `"retry_after":1,"request_id":"req_test-1"`) {
		t.Error(got)
	}
	c.expectClose(websocket.StatusGoingAway)
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("Stop: %v", err)
	}
	if entries := l.Entries(); len(entries) != 1 || entries[0].Status != http.StatusServiceUnavailable {
		t.Errorf("recorded %+v", entries)
	}
}

// A server that stops at once ends the contexts of its requests.
func TestTheRequestsContextEnds(t *testing.T) {
	l := newLive()
	h := streamapi.New(streamapi.Options{Gateway: l.Gateway()})
	base, end := context.WithCancelCause(context.Background())
	routes := protocoltest.Handler(h.Register)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		routes.ServeHTTP(w, r.WithContext(base))
	}))
	t.Cleanup(server.Close)
	idle, busy := enter(t, server), enter(t, server)
	idle.send(`{"type":"ping"}`)
	idle.expect(`{"type":"pong"}`)
	busy.send(chat)
	<-l.entered
	end(apierror.New(apierror.Overloaded, "the service is stopping"))
	for _, c := range []*client{idle, busy} {
		c.expectError("shutting_down")
		c.expectClose(websocket.StatusGoingAway)
	}
	if err := h.Stop(within(t)); err != nil {
		t.Error(err)
	}
	if entries := l.Entries(); len(entries) != 1 || entries[0].Status != http.StatusServiceUnavailable {
		t.Errorf("recorded %+v", entries)
	}
}

func TestTheKeyIsNotLogged(t *testing.T) {
	var log syncBuffer
	l := newLive()
	h := streamapi.New(streamapi.Options{Gateway: l.Gateway(), Log: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	server := protocoltest.Server(t, h.Register)
	const bad = "cc_planted"
	if _, _, refusal := tryDial(t, server, "Sec-WebSocket-Protocol", "claude-api, key."+bad); !strings.HasPrefix(refusal, "401") {
		t.Error(refusal)
	}
	for _, in := range []string{`{"type":"auth","api_key":"` + bad + `"}`, `{"type":"auth","api_key":"` + bad + `",`, `{"type":"auth","api_key":["` + bad + `"]}`} {
		c := dial(t, server)
		c.send(in)
		if got := c.receive(); !strings.Contains(got, `"type":"error"`) || strings.Contains(got, bad) {
			t.Error(got)
		}
		c.expectClose(4401)
	}
	if err := h.Stop(within(t)); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Contains(text, "planted") || !strings.Contains(text, "auth_error") {
		t.Errorf("the log:\n%s", text)
	}
}

// syncBuffer is a bytes.Buffer for a logger.
type syncBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}
