package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"time"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/chaostest"
)

// exchange is one request of a run and what its caller got.
type exchange struct {
	plan   chaostest.Plan
	path   string
	id     string // its X-Request-ID
	took   span
	status int // 0: there is no header
	header http.Header
	body   []byte
	err    error
	left   bool // the caller left, as planned
	hung   bool // nothing came for so long that the caller gave up
	// message is the last one of a WebSocket.
	message streamed
	verdict ending
	text    string // of the answer, put together
}

// category is the error's; of one in a stream or a batch its words.
func (e *exchange) category() string {
	if e.header == nil {
		return e.message.Error.Type
	}
	if found := errorWords.FindAllSubmatch(e.body, -1); e.status == http.StatusOK && len(found) > 0 {
		return string(found[len(found)-1][1])
	}
	return e.header.Get("X-Error-Category")
}

var errorWords = regexp.MustCompile(`"(?:message|error)":"((?:[^"\\]|\\.)+)"`)

func (e *exchange) String() string {
	return fmt.Sprintf("%s (%s stream=%t on %s, fault %q, CLI %q, %s, leave %v): status %d, %v, after %v: %.600q",
		e.id, e.plan.Route, e.plan.Stream, e.plan.Backend, e.plan.Fault, e.plan.CLI, e.plan.Who, e.plan.Leave, e.status, e.err, e.took.to.Sub(e.took.from).Round(time.Millisecond), tail(string(e.body), 500))
}

// ask makes a plan's requests: one, or two where the same is asked again.
func (c *chaos) ask(p chaostest.Plan) []*exchange {
	prompt := p.Prompt()
	var more []string
	if p.Stream {
		more = append(more, `"stream":true`)
	}
	switch p.Route {
	case chaostest.Chat:
		return one(c.post(p, "/v1/chat/completions", chat(prompt, more...)))
	case chaostest.Messages:
		return one(c.post(p, "/v1/messages", messagesBody(prompt, more...)))
	case chaostest.Responses:
		body := `{"model":"haiku","input":` + quote(prompt) + `,"store":false` + members(more) + `}`
		return one(c.post(p, "/v1/responses", body))
	case chaostest.Process:
		if p.Stream {
			more = []string{`"additional_params":{"stream":true}`}
		}
		return one(c.post(p, "/v1/process", processBody(prompt, more...)))
	case chaostest.Async:
		return one(c.async(p, processBody(prompt, `"async_processing":true`, `"timeout":20`)))
	case chaostest.Batch:
		body := `{"model":"haiku","prompts":[` + quote(prompt) + `,` + quote(p.Nonce+" again") + `]}`
		return one(c.post(p, "/v1/batch", body))
	case chaostest.Socket:
		return one(c.talk(p, streamChat(prompt)))
	case chaostest.Once:
		first := c.post(p, "/v1/chat/completions", chat(prompt, more...), "Idempotency-Key", p.Name)
		p.Name += ".again"
		p.Leave = 0
		again := c.post(p, "/v1/chat/completions", chat(prompt, more...), "Idempotency-Key", first.plan.Name)
		return []*exchange{first, again}
	case chaostest.CountTokens:
		return one(c.post(p, "/v1/messages/count_tokens", `{"model":"haiku","messages":[{"role":"user","content":`+quote(prompt)+`}]}`))
	case chaostest.Models:
		return one(c.post(p, "/v1/models", ""))
	case chaostest.Usage:
		return one(c.post(p, "/v1/usage?period=day", ""))
	}
	panic("no such route: " + p.Route)
}

func one(e *exchange) []*exchange { return []*exchange{e} }

// begin gives the context of a plan's request: it ends when the caller leaves, or
// when the request hangs.
func (c *chaos) begin(p chaostest.Plan) (context.Context, context.CancelFunc, *exchange) {
	ctx, cancel := context.WithTimeout(c.t.Context(), cmp.Or(p.Leave, chaosPatience))
	return ctx, cancel, &exchange{plan: p, id: p.Name, took: span{from: time.Now()}}
}

// end notes how a request has ended.
func (e *exchange) end(ctx context.Context, err error) *exchange {
	e.took.to, e.err = time.Now(), err
	if err != nil && ctx.Err() != nil {
		e.left, e.hung = e.plan.Leave > 0, e.plan.Leave == 0
	}
	return e
}

// post makes one request, a GET where there is no body, and reads its answer as
// the plan says.
func (c *chaos) post(p chaostest.Plan, path, body string, headers ...string) *exchange {
	ctx, cancel, e := c.begin(p)
	defer cancel()
	e.path, _, _ = strings.Cut(path, "?")
	method := http.MethodPost
	if body == "" {
		method = http.MethodGet
	}
	request, err := http.NewRequestWithContext(ctx, method, c.url+path, strings.NewReader(body))
	if err != nil {
		panic(err)
	}
	request.Header.Set("X-Api-Key", c.keyOf(p.Who))
	request.Header.Set("X-Request-ID", p.Name)
	request.Header.Set("X-Claude-Backend", p.Backend)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.client.Do(request)
	if err != nil {
		return e.end(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	e.status, e.header = response.StatusCode, response.Header
	var read io.Reader = response.Body
	if p.Slow {
		read = slowly{ctx, read}
	}
	e.body, err = io.ReadAll(read)
	return e.end(ctx, err)
}

// slowly reads a few bytes at a time.
type slowly struct {
	ctx context.Context
	io.Reader
}

func (s slowly) Read(p []byte) (int, error) {
	select {
	case <-time.After(3 * time.Millisecond):
	case <-s.ctx.Done():
	}
	return s.Reader.Read(p[:min(len(p), 64)])
}

// async makes a request that runs by itself and asks for its outcome until there
// is one.
func (c *chaos) async(p chaostest.Plan, body string) *exchange {
	e := c.post(p, "/v1/process", body)
	if e.err != nil || e.status != http.StatusAccepted {
		return e
	}
	var accepted run
	if err := json.Unmarshal(e.body, &accepted); err != nil || accepted.StatusURL == "" {
		return e
	}
	if p.Who != chaostest.Steady {
		return e // its key may be gone by then
	}
	p.Leave = 0
	deadline := time.Now().Add(chaosPatience)
	for time.Now().Before(deadline) {
		got := c.post(chaostest.Plan{Name: p.Name + ".poll", Who: p.Who}, accepted.StatusURL, "")
		state := run{}
		if got.err != nil || got.status != http.StatusOK || json.Unmarshal(got.body, &state) != nil || state.Status != "running" {
			e.body, e.status, e.header, e.err, e.took.to = got.body, got.status, got.header, got.err, got.took.to
			return e
		}
		<-time.After(20 * time.Millisecond) // between two looks
	}
	e.hung = true
	return e
}

// talk chats on a WebSocket of its own.
func (c *chaos) talk(p chaostest.Plan, message string) *exchange {
	ctx, cancel, e := c.begin(p)
	defer cancel()
	e.path, e.id = "/v1/stream", p.Name+"-1"
	header := http.Header{"X-Api-Key": {c.keyOf(p.Who)}, "X-Request-ID": {p.Name}, "X-Claude-Backend": {p.Backend}}
	//nolint:bodyclose // the client has read it, or there is none
	conn, response, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(c.url, "http")+"/v1/stream", &websocket.DialOptions{HTTPHeader: header})
	if response != nil {
		e.status, e.header = response.StatusCode, response.Header
	}
	if err != nil {
		if response != nil && response.StatusCode != http.StatusSwitchingProtocols && response.Body != nil {
			e.body, _ = io.ReadAll(response.Body) // what the client kept of it
			return e.end(ctx, nil)
		}
		return e.end(ctx, err)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(64 << 20)
	e.header = nil
	if err := conn.Write(ctx, websocket.MessageText, []byte(message)); err != nil {
		return e.end(ctx, err)
	}
	var text bytes.Buffer
	for {
		_, got, err := conn.Read(ctx)
		if err != nil {
			return e.end(ctx, err)
		}
		e.body = append(append(e.body, got...), '\n')
		m := streamed{}
		if err := json.Unmarshal(got, &m); err != nil {
			return e.end(ctx, errors.New("a message that isn't JSON"))
		}
		text.WriteString(m.Content)
		if m.Type == "done" || m.Type == "error" {
			e.message, e.text = m, text.String()
			return e.end(ctx, nil)
		}
	}
}
