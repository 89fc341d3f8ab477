package client

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/url"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The roles of messages.
const (
	RoleSystem    = "system"
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleTool      = "tool"
)

// Message is one of a conversation.
type Message struct {
	Role string `json:"role"`
	// Content is a string, or a list of content blocks, written as JSON.
	Content any `json:"content"`
}

// ProcessRequest asks for one answer. What is left out has the service's default.
type ProcessRequest struct {
	// Provider is given back; it chooses nothing. "" is claudecode.
	Provider string `json:"provider"`
	// Model is an alias, a full id, or another vendor's name, for which one of ours stands
	// in; "" is auto.
	Model string `json:"model_name"`
	// Messages are the conversation, or Prompt is all that is asked; System goes in front
	// of either.
	Messages []Message `json:"messages,omitzero"`
	Prompt   string    `json:"user_message,omitzero"`
	System   string    `json:"system_message,omitzero"`

	MaxTokens   int      `json:"max_tokens,omitzero"`
	Temperature *float64 `json:"temperature,omitzero"`
	// Tools, ToolChoice, OutputSchema, Media and Params (additional_params) are JSON as the
	// endpoint takes it.
	Tools        jsontext.Value `json:"tools,omitzero"`
	ToolChoice   jsontext.Value `json:"tool_choice,omitzero"`
	OutputSchema jsontext.Value `json:"output_schema,omitzero"`
	Media        jsontext.Value `json:"media_content,omitzero"`
	Params       jsontext.Value `json:"additional_params,omitzero"`

	SessionID        string   `json:"session_id,omitzero"`
	WorkingDirectory string   `json:"working_directory,omitzero"`
	AllowedTools     []string `json:"allowed_tools,omitzero"`
	// Timeout is when the service gives up; 0: it doesn't.
	Timeout time.Duration `json:"-"`
}

// sentProcess is a ProcessRequest as it is sent.
type sentProcess struct {
	ProcessRequest
	Timeout float64 `json:"timeout,omitzero"`
	Stream  bool    `json:"stream,omitzero"`
	Async   bool    `json:"async_processing,omitzero"`
}

func (r *ProcessRequest) sent() *sentProcess {
	s := &sentProcess{ProcessRequest: *r, Timeout: r.Timeout.Seconds()}
	if s.Provider == "" {
		s.Provider = "claudecode"
	}
	if s.Model == "" {
		s.Model = "auto"
	}
	return s
}

// Usage counts tokens.
type Usage struct {
	InputTokens              int64 `json:"input_tokens"`
	OutputTokens             int64 `json:"output_tokens"`
	TotalTokens              int64 `json:"total_tokens"` // of input and output: what budgets count
	CacheReadInputTokens     int64 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens int64 `json:"cache_creation_input_tokens"`
}

// ProcessResponse is an answer.
type ProcessResponse struct {
	Content string `json:"content"`
	// ContentBlocks are those of the Messages API; nil where Content has all of them.
	ContentBlocks jsontext.Value  `json:"content_blocks,omitzero"`
	Model         string          `json:"model"`    // as it was asked for
	Provider      string          `json:"provider"` // as it was asked for
	Metadata      ProcessMetadata `json:"metadata"`
}

// ProcessMetadata is what is said about an answer.
type ProcessMetadata struct {
	ActualModel    string   `json:"actual_model"`
	Usage          Usage    `json:"usage"`
	CostUSD        *float64 `json:"cost_usd"`        // nil: the price isn't known
	ProcessingTime float64  `json:"processing_time"` // seconds
	FinishReason   string   `json:"finish_reason"`
	MappedFrom     string   `json:"mapped_from,omitzero"`
	Warnings       []string `json:"warnings,omitzero"` // what of the request had no effect
}

const (
	pathProcess = "/v1/process"
	pathBatch   = "/v1/batch"
)

// Process asks for one answer and waits for it.
func (c *Client) Process(ctx context.Context, request ProcessRequest, options ...Option) (*ProcessResponse, error) {
	answer := &ProcessResponse{}
	if err := c.ask(ctx, http.MethodPost, pathProcess, request.sent(), answer, newCall(options)); err != nil {
		return nil, err
	}
	return answer, nil
}

// The types of a ProcessEvent.
const (
	EventToken    = "token"
	EventThinking = "thinking"
	EventToolUse  = "tool_use"
	EventDone     = "done"
)

// ProcessEvent is a piece of a streamed answer.
type ProcessEvent struct {
	Type string
	// Content is the text of EventToken and EventThinking.
	Content string
	// Block is the content block of EventToolUse.
	Block jsontext.Value
	// Done is the whole answer, with EventDone, which is the last one.
	Done *ProcessResponse
}

// ProcessStream asks for one answer and gives it as it comes. The stream's last event is
// EventDone, or its last step an error. Whoever stops reading ends the call.
func (c *Client) ProcessStream(ctx context.Context, request ProcessRequest, options ...Option) iter.Seq2[ProcessEvent, error] {
	return func(yield func(ProcessEvent, error) bool) {
		sent := request.sent()
		sent.Stream = true
		stream, err := c.open(ctx, http.MethodPost, pathProcess, sent, newCall(options))
		if err != nil {
			yield(ProcessEvent{}, err)
			return
		}
		defer stream.close()
		for {
			f, err := stream.next()
			var e ProcessEvent
			if err == nil {
				e, err = readProcessEvent(f.data)
			}
			if err != nil {
				yield(ProcessEvent{}, stream.told(err))
				return
			}
			if e.Done != nil {
				stream.finish()
			}
			if !yield(e, nil) || e.Done != nil {
				return
			}
		}
	}
}

// readProcessEvent reads the data of an event. One of a type that isn't known here has
// that type and nothing else.
func readProcessEvent(data []byte) (ProcessEvent, error) {
	var head struct {
		Type    string `json:"type"`
		Content string `json:"content"`
		failure
	}
	// The content of a block is no text.
	var kind struct {
		Type string `json:"type"`
	}
	if err := decodeEvent(data, &kind); err != nil {
		return ProcessEvent{}, err
	}
	e := ProcessEvent{Type: kind.Type}
	var err error
	switch kind.Type {
	case EventToken, EventThinking, "error":
		if err = decodeEvent(data, &head); err == nil && kind.Type == "error" {
			err = head.error()
		}
		e.Content = head.Content
	case EventToolUse:
		e.Block = jsontext.Value(data).Clone()
	case EventDone:
		e.Done = &ProcessResponse{}
		err = decodeEvent(data, e.Done)
	}
	if err != nil {
		return ProcessEvent{}, err
	}
	return e, nil
}

// Accepted is a request that the service has taken for later.
type Accepted struct {
	ID        string `json:"id"`
	Status    string `json:"status"`
	StatusURL string `json:"status_url"` // a path
}

// The states of what was asked for later; tasks have StatusQueued and StatusCancelled
// besides.
const (
	StatusQueued    = "queued"
	StatusRunning   = "running"
	StatusCompleted = "completed"
	StatusFailed    = "failed"
	StatusCancelled = "cancelled"
)

// ProcessAsync has an answer made later; ProcessResult and AwaitProcess give it. It
// returns when the request is queued, durably.
func (c *Client) ProcessAsync(ctx context.Context, request ProcessRequest, options ...Option) (*Accepted, error) {
	sent := request.sent()
	sent.Async = true
	a := &Accepted{}
	if err := c.ask(ctx, http.MethodPost, pathProcess, sent, a, newCall(options)); err != nil {
		return nil, err
	}
	return a, nil
}

// Run is what is known of a request that was asked for later.
type Run[T any] struct {
	ID          string    `json:"id"`
	Status      string    `json:"status"` // StatusRunning, StatusCompleted or StatusFailed
	CreatedAt   time.Time `json:"created_at"`
	CompletedAt time.Time `json:"completed_at,omitzero"` // zero: it runs
	// Response is nil until there is one; a batch has one with the results so far.
	Response *T `json:"response,omitzero"`

	err *Error
}

// Err is why it failed; nil unless it did.
func (r *Run[T]) Err() error {
	if r.Status != StatusFailed {
		return nil
	}
	return r.err
}

// ProcessResult gives what is known of a request that ProcessAsync has made.
func (c *Client) ProcessResult(ctx context.Context, id string) (*Run[ProcessResponse], error) {
	return result[ProcessResponse](ctx, c, pathProcess, id)
}

func result[T any](ctx context.Context, c *Client, path, id string) (*Run[T], error) {
	var read struct {
		Run[T]
		failure
	}
	if err := c.ask(ctx, http.MethodGet, path+"/"+url.PathEscape(id), nil, &read, newCall(nil)); err != nil {
		return nil, err
	}
	read.err = read.error()
	return &read.Run, nil
}

// AwaitProcess waits until a request that ProcessAsync has made has ended, and gives its
// answer, or why it failed. It asks often at first, and every two seconds in the end.
func (c *Client) AwaitProcess(ctx context.Context, id string) (*ProcessResponse, error) {
	return await(ctx, func() (*Run[ProcessResponse], error) { return c.ProcessResult(ctx, id) })
}

// How often it is asked whether something has ended.
const (
	firstPoll = 50 * time.Millisecond
	mostPoll  = 2 * time.Second
)

func await[T any](ctx context.Context, ask func() (*Run[T], error)) (*T, error) {
	for wait := firstPoll; ; wait = min(wait*3/2, mostPoll) {
		r, err := ask()
		switch {
		case err != nil:
			return nil, err
		case r.Status == StatusFailed:
			return r.Response, r.Err()
		case r.Status == StatusCompleted && r.Response == nil:
			return nil, fmt.Errorf("the service says that %s has completed, and gives no answer", r.ID)
		case r.Status == StatusCompleted:
			return r.Response, nil
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, ctx.Err()
		}
	}
}
