package adminapi

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/sse"
	"claude-code-api-service/internal/task"
)

const (
	pathChat           = "/admin/v1/playground/chat"
	pathPlaygroundTask = "/admin/v1/playground/task"
)

// Actions of the audit log: what was asked for in a key's name.
const (
	PlaygroundChat = "playground.chat"
	PlaygroundTask = "playground.task"
)

// The ways that a chat of the playground may take.
const (
	pathWarm   = "warm"   // a process of the CLI that waits
	pathCold   = "cold"   // one that is started for it
	pathDirect = "direct" // the Messages API, without the CLI
)

// defaultMaxTokens is as on the chat completions endpoint.
const defaultMaxTokens = 4_096

func (h *Handler) playgroundEndpoints() []endpoint {
	events := &openapi.Schema{Type: openapi.String}
	stream := func(description string) []openapi.Response {
		all := []openapi.Response{{Status: http.StatusOK, Description: description, ContentType: openapi.EventStream, Schema: events}}
		all = append(all, answers(http.StatusOK, "", nil)[1:]...)
		failed := all[len(all)-1].Schema
		for _, status := range []int{http.StatusBadGateway, http.StatusGatewayTimeout} {
			all = append(all, openapi.Response{Status: status, Description: "As the key's own request would be answered.", Schema: failed})
		}
		return all
	}
	return []endpoint{
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathChat, ID: "adminPlaygroundChat", Summary: "Have a prompt answered in a key's name.",
				Description: "It is the key's request: its limits and budgets hold, and its ledger has it. Server-sent events: `start` {request_id}, `token` {text}, then `done` {usage, cost_micro_usd, model, backend, stages, total_ms, ttft_ms, warnings} or `error`.",
				Request: openapi.Members("AdminChat", "",
					openapi.Always("key_id", openapi.Text("The id of a caller's key.")),
					openapi.Maybe("model", openapi.Text("haiku, sonnet, opus, auto or a full model id. Absent: auto.")),
					openapi.Always("prompt", openapi.Text("")), openapi.Maybe("system", openapi.Text("")),
					openapi.Maybe("max_tokens", &openapi.Schema{Type: openapi.Integer, Minimum: 1, Default: defaultMaxTokens}),
					openapi.Maybe("path", &openapi.Schema{Type: openapi.String, Enum: []string{pathWarm, pathCold, pathDirect}, Default: pathWarm,
						Description: "warm: a process of the CLI that waits; cold: one that is started for it; direct: the Messages API, without the CLI."})),
				Responses: stream("The answer, as it comes."),
			},
			serve: h.chat,
		},
		{
			Operation: openapi.Operation{
				Method: http.MethodPost, Path: pathPlaygroundTask, ID: "adminPlaygroundTask", Summary: "Have an agent do a task in a key's name.",
				Description: "As `POST /v1/task` with `stream`: what the key's profile allows holds, and its limits and budgets. The task ends when its caller leaves.",
				Request:     playgroundTaskObject.Schema(), Responses: stream("The task's events, as they happen."),
			},
			serve: h.playgroundTask,
		},
	}
}

// open opens a call in the name of a key, which its id names.
func (h *Handler) open(ctx context.Context, who *administrator, endpoint, keyID string) (*gateway.Call, error) {
	if keyID == "" {
		return nil, apierror.Invalid("key_id", "key_id: the id of a caller's key is needed")
	}
	caller, err := h.options.Authenticator.Caller(ctx, keyID)
	var refusal *apierror.Error
	if errors.As(err, &refusal) && refusal.Category == apierror.AuthError {
		e := apierror.Invalid("key_id", "key_id: %s", refusal.Message)
		e.Cause = err
		return nil, e
	}
	if err != nil {
		return nil, err
	}
	call, err := h.options.Gateway.OpenFor(ctx, who.RequestID, endpoint, caller, who.Address)
	if err != nil {
		e := apierror.Invalid("key_id", "key_id: it is an admin key: that generates nothing")
		e.Cause = err
		return nil, e
	}
	return call, nil
}

// paid notes that something is asked for in a key's name, which costs it.
func (h *Handler) paid(ctx context.Context, who *administrator, call *gateway.Call, action, detail string) error {
	return h.note(ctx, who, audit.Event{Action: action, Target: call.Caller.KeyID, Project: call.Caller.ProjectID, Detail: strings.TrimSpace(detail)})
}

// chatWish is the body of a chat.
type chatWish struct {
	KeyID     string `json:"key_id"`
	Model     string `json:"model"`
	Prompt    string `json:"prompt"`
	System    string `json:"system"`
	MaxTokens *int64 `json:"max_tokens"`
	Path      string `json:"path"`
}

// request makes the body of a Messages request.
func (c *chatWish) request() (*message.Request, error) {
	type turn struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	maxTokens := int64(defaultMaxTokens)
	if c.MaxTokens != nil {
		maxTokens = *c.MaxTokens
	}
	if maxTokens < 1 {
		return nil, apierror.Invalid("max_tokens", "max_tokens: must be at least 1")
	}
	if c.Prompt == "" {
		return nil, apierror.Invalid("prompt", "prompt: must not be empty")
	}
	body, err := json.Marshal(struct {
		Model     string `json:"model"`
		MaxTokens int64  `json:"max_tokens"`
		Stream    bool   `json:"stream"`
		System    string `json:"system,omitzero"`
		Messages  []turn `json:"messages"`
	}{c.Model, maxTokens, true, c.System, []turn{{"user", c.Prompt}}})
	if err != nil {
		return nil, apierror.Wrap(apierror.BadRequest, "the prompt isn't a text", err)
	}
	return message.ParseRequest(body)
}

// choose says which way a call takes.
func (c *chatWish) choose(call *gateway.Call) error {
	switch c.Path {
	case pathWarm, "":
		c.Path, call.Prefer = pathWarm, gateway.BackendCLI
	case pathCold:
		call.Prefer, call.Fresh = gateway.BackendCLI, true
	case pathDirect:
		call.Prefer = gateway.BackendDirect
	default:
		return apierror.Invalid("path", "path: must be %s, %s or %s", pathWarm, pathCold, pathDirect)
	}
	return nil
}

func (h *Handler) chat(w http.ResponseWriter, r *http.Request, who *administrator) error {
	var wish chatWish
	if err := read(w, r, &wish); err != nil {
		return err
	}
	call, err := h.open(r.Context(), who, pathChat, wish.KeyID)
	if err != nil {
		return err
	}
	if call.Request, err = wish.request(); err == nil {
		err = wish.choose(call)
	}
	if err == nil {
		err = h.paid(r.Context(), who, call, PlaygroundChat, wish.Path+" "+wish.Model)
	}
	if err == nil {
		out := &chatWriter{stream: protocol.NewStream(w, protocol.SetHeader), call: call, reader: protocol.NewEventReader()}
		ctx, end := h.allowed(r.Context(), who)
		err = protocol.Serve(ctx, h.options.Gateway, call, out, h.log)
		end()
	}
	if err != nil {
		h.options.Gateway.Refuse(r.Context(), call, err)
	}
	return err
}

// chatWriter writes an answer as the events of the playground.
type chatWriter struct {
	stream *protocol.Stream
	call   *gateway.Call
	reader *protocol.EventReader
	frame  []byte
	began  bool
	first  time.Duration // when the first text came; 0: none has
}

var _ protocol.Encoder = (*chatWriter)(nil)

// Stream gives what is written to.
func (c *chatWriter) Stream() *protocol.Stream { return c.stream }

// Started implements protocol.Encoder.
func (c *chatWriter) Started() bool { return c.stream.Started() }

// begin sends what comes before the answer.
func (c *chatWriter) begin() error {
	if c.began {
		return nil
	}
	c.began = true
	c.stream.Start(c.call)
	return c.send("start", struct {
		RequestID string `json:"request_id"`
	}{c.call.RequestID})
}

func (c *chatWriter) send(event string, value any) error {
	data, err := json.Marshal(value, json.Deterministic(true))
	if err != nil {
		return err
	}
	c.frame = sse.Append(c.frame[:0], event, data)
	return c.stream.Write(c.frame)
}

// Event implements gateway.EventWriter.
func (c *chatWriter) Event(e message.Event) error {
	if err := c.begin(); err != nil {
		return err
	}
	if e.Type != message.EventContentBlockDelta && e.Type != message.EventContentBlockStart {
		return nil
	}
	if err := c.reader.Read(e); err != nil {
		return err
	}
	kind := string(c.reader.Kind())
	if kind != "text" && kind != "text_delta" || len(protocol.Inner(c.reader.Text)) == 0 {
		return nil
	}
	if c.first == 0 {
		c.first = max(1, time.Since(c.call.Clock.StartTime()))
	}
	c.frame = append(append(append(c.frame[:0], "event: token\ndata: {\"text\":"...), c.reader.Text...), "}\n\n"...)
	return c.stream.Write(c.frame)
}

// Flush implements gateway.EventWriter.
func (c *chatWriter) Flush() error { return c.stream.Flush() }

// Message implements gateway.EventWriter.
func (c *chatWriter) Message([]byte) error { return protocol.ErrForm }

// usageView is what a chat has used.
type usageView struct {
	InputTokens   int64 `json:"input_tokens"`
	OutputTokens  int64 `json:"output_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheCreation int64 `json:"cache_creation_input_tokens"`
}

// End implements gateway.EventWriter: the answer is told of, with how long it took.
func (c *chatWriter) End(result gateway.Result) error {
	if err := c.begin(); err != nil {
		return err
	}
	c.call.Clock.Finish()
	done := struct {
		Usage        usageView          `json:"usage"`
		CostMicroUSD *int64             `json:"cost_micro_usd"`
		Model        string             `json:"model"`
		Backend      string             `json:"backend"`
		StopReason   string             `json:"stop_reason"`
		Stages       map[string]float64 `json:"stages"`
		TotalMS      float64            `json:"total_ms"`
		TTFTMS       *float64           `json:"ttft_ms"`
		Warnings     []string           `json:"warnings,omitzero"`
	}{
		Usage:        usageView{result.Usage.InputTokens, result.Usage.OutputTokens, result.Usage.CacheReadInputTokens, result.Usage.CacheCreationInputTokens},
		CostMicroUSD: result.CostMicroUSD, Model: result.Model, Backend: c.call.Backend, StopReason: result.StopReason,
		Stages: map[string]float64{}, Warnings: c.call.Warnings,
	}
	if done.Model == "" {
		done.Model = c.call.Model
	}
	for s := range latency.Stage(latency.Count) {
		if took, known := c.call.Clock.Took(s); known && s != latency.Total {
			done.Stages[s.String()] = millis(took)
		} else if known {
			done.TotalMS = millis(took)
		}
	}
	if c.first > 0 {
		first := millis(c.first)
		done.TTFTMS = &first
	}
	if err := c.send("done", done); err != nil {
		return err
	}
	return c.stream.Close(c.call)
}

// Fail implements protocol.Encoder.
func (c *chatWriter) Fail(e *apierror.Error) {
	c.frame = append(protocol.AppendFlatError(append(c.frame[:0], "event: error\ndata: {"...), e), "}\n\n"...)
	_ = c.stream.Write(c.frame) // a caller who left isn't told
	_ = c.stream.Close(c.call)
}

// playgroundTask is the body of a task.
type playgroundTask struct {
	task.Request
	keyID string
}

// playgroundTaskObject is its table. It is never changed.
var playgroundTaskObject = protocol.NewObject(
	openapi.Schema{Name: "AdminPlaygroundTask"},
	func(_ *playgroundTask, s *protocol.Scanner, name string) error {
		if err := task.Misnamed(name); err != nil {
			return err
		}
		return s.Invalid("", "there is no such member")
	},
	append([]protocol.Field[playgroundTask]{{
		Name: "key_id", Required: true, Schema: openapi.Text("The id of a caller's key."),
		Read: protocol.ReadString(func(t *playgroundTask) *string { return &t.keyID }),
	}}, task.Fields(func(t *playgroundTask) *task.Request { return &t.Request })...)...,
)

func (h *Handler) playgroundTask(w http.ResponseWriter, r *http.Request, who *administrator) error {
	body, err := protocol.ReadBody(w, r, maxBody)
	if err != nil {
		return err
	}
	var wish playgroundTask
	if err := playgroundTaskObject.Document(protocol.NewScanner(body), &wish); err != nil {
		return err
	}
	call, err := h.open(r.Context(), who, pathPlaygroundTask, wish.keyID)
	if err != nil {
		return err
	}
	if err = h.paid(r.Context(), who, call, PlaygroundTask, wish.Model); err == nil {
		err = h.runTask(w, r, who, call, &wish.Request)
	}
	if err != nil {
		h.options.Gateway.Refuse(r.Context(), call, err)
	}
	return err
}

// runTask does a task in its caller's request, and gives its events.
func (h *Handler) runTask(w http.ResponseWriter, r *http.Request, who *administrator, call *gateway.Call, wish *task.Request) error {
	s := protocol.NewStream(w, protocol.SetHeader)
	allowed, end := h.allowed(r.Context(), who)
	defer end()
	err := h.options.Tasks.Stream(allowed, s, h.options.Gateway, call, wish, h.log)
	if s.Started() {
		return nil // what became of it was told there
	}
	return err
}
