package client

import (
	"context"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// TaskRequest asks for agentic work. What is left out has the service's default, as far as
// the key's profile goes.
type TaskRequest struct {
	Description string `json:"description"`
	// Tools, Agents and Skills are those that may be used; nil: all that the profile
	// allows; empty: none.
	Tools  []string `json:"allow_tools,omitzero"`
	Agents []string `json:"allow_agents,omitzero"`
	Skills []string `json:"allow_skills,omitzero"`
	// Timeout is how long the task may run, MaxCost what it may cost in US dollars.
	Timeout          time.Duration `json:"-"`
	MaxCost          float64       `json:"max_cost,omitzero"`
	WorkingDirectory string        `json:"working_directory,omitzero"` // "": an empty folder of its own
	Model            string        `json:"model,omitzero"`
	System           string        `json:"system,omitzero"`
	MaxTurns         int           `json:"max_turns,omitzero"`
	// Approval is ApprovalAsk or ApprovalDeny, for a tool that Tools doesn't hold and the
	// profile allows; "" is ApprovalDeny.
	Approval string `json:"approval,omitzero"`
	Priority int    `json:"priority,omitzero"` // 1 (first) to 4, among those of the key
}

// What becomes of a tool that wasn't allowed beforehand.
const (
	ApprovalAsk  = "ask"
	ApprovalDeny = "deny"
)

type sentTask struct {
	TaskRequest
	Timeout float64 `json:"timeout,omitzero"`
	Stream  bool    `json:"stream,omitzero"`
	Async   bool    `json:"async,omitzero"`
}

func (r *TaskRequest) sent() *sentTask {
	return &sentTask{TaskRequest: *r, Timeout: r.Timeout.Seconds()}
}

// Task is what is known of a task. What Result and the members behind it say is there
// when it has ended.
type Task struct {
	ID          string    `json:"id"`
	Status      string    `json:"status"` // StatusQueued, StatusRunning, StatusCompleted, StatusFailed or StatusCancelled
	Description string    `json:"description,omitzero"`
	CreatedAt   time.Time `json:"created_at"`
	StartedAt   time.Time `json:"started_at,omitzero"`
	EndedAt     time.Time `json:"ended_at,omitzero"`
	ExpiresAt   time.Time `json:"expires_at,omitzero"`
	Attempt     int       `json:"attempt"`
	Cancelling  bool      `json:"cancelling,omitzero"`
	// Approvals are the questions that wait for an answer.
	Approvals []Question `json:"approvals,omitzero"`
	// KeyID and ProjectID say whose it is, to those who administer the service.
	KeyID     string `json:"key_id,omitzero"`
	ProjectID string `json:"project_id,omitzero"`

	Result     string         `json:"result,omitzero"`
	Log        []TaskLogEntry `json:"execution_log,omitzero"`
	LogOmitted int            `json:"execution_log_omitted,omitzero"`
	Artifacts  []Artifact     `json:"artifacts,omitzero"`
	Usage      Usage          `json:"usage"`
	CostUSD    *float64       `json:"cost_usd"` // nil: not known
	Model      string         `json:"model,omitzero"`
	Turns      int            `json:"turns,omitzero"`
	StopReason string         `json:"stop_reason,omitzero"`
	SessionID  string         `json:"session_id,omitzero"`
	Denied     []Denial       `json:"denied,omitzero"`
	Warnings   []string       `json:"warnings,omitzero"`

	// Detail and Failure say why it failed.
	Detail  string       `json:"detail,omitzero"`
	Failure *TaskFailure `json:"error,omitzero"`
}

// Ended says whether nothing more becomes of it.
func (t *Task) Ended() bool { return t.Status != StatusQueued && t.Status != StatusRunning }

// Err is why the task failed or was cancelled; nil unless it was.
func (t *Task) Err() error {
	if t.Failure == nil {
		return nil
	}
	return &Error{Category: t.Failure.Type, Code: t.Failure.Code, Message: t.Failure.Message, Param: t.Failure.Param}
}

// TaskFailure is why a task didn't complete.
type TaskFailure struct {
	Message string `json:"message"`
	Type    string `json:"type"` // a category
	Param   string `json:"param"`
	Code    string `json:"code"`
}

// Question is the use of a tool that a task waits for somebody to allow.
type Question struct {
	N         int            `json:"n"`
	Tool      string         `json:"tool"`
	ToolUseID string         `json:"tool_use_id"`
	Input     jsontext.Value `json:"input,omitzero"`
	Parent    string         `json:"parent,omitzero"`
	Agent     string         `json:"agent,omitzero"`
	ExpiresAt time.Time      `json:"expires_at"` // when it is denied by itself
}

// TaskLogEntry is a use of a tool, or what came of one.
type TaskLogEntry struct {
	Type      string         `json:"type"` // EventToolUse or EventToolResult
	Time      time.Time      `json:"time"`
	Tool      string         `json:"tool"`
	ToolUseID string         `json:"tool_use_id"`
	Input     jsontext.Value `json:"input,omitzero"`
	Output    jsontext.Value `json:"output,omitzero"`
	IsError   bool           `json:"is_error"`
	Parent    string         `json:"parent,omitzero"`
	Agent     string         `json:"agent,omitzero"`
}

// Artifact is a file that a task created or changed.
type Artifact struct {
	Path       string    `json:"path"`
	Bytes      int64     `json:"bytes"`
	Change     string    `json:"change"` // created or modified
	SHA256     string    `json:"sha256,omitzero"`
	Kept       bool      `json:"kept"` // it can be downloaded
	ModifiedAt time.Time `json:"modified_at"`
	Run        string    `json:"run,omitzero"`
}

// Denial is a use of a tool that was refused.
type Denial struct {
	Tool      string         `json:"tool"`
	ToolUseID string         `json:"tool_use_id"`
	Input     jsontext.Value `json:"input,omitzero"`
	Parent    string         `json:"parent,omitzero"`
}

const (
	pathTask  = "/v1/task"
	pathTasks = "/v1/tasks"
)

func pathOfTask(id string) string { return pathTasks + "/" + url.PathEscape(id) }

// Task has a task done and waits for its end. Whatever became of it, there is no error
// once it has begun: its Status and Err tell. The task ends when ctx does, unless the call
// has an IdempotencyKey.
func (c *Client) Task(ctx context.Context, request TaskRequest, options ...Option) (*Task, error) {
	return c.task(ctx, http.MethodPost, pathTask, request.sent(), options...)
}

func (c *Client) task(ctx context.Context, method, path string, body any, options ...Option) (*Task, error) {
	t := &Task{}
	if err := c.ask(ctx, method, path, body, t, newCall(options)); err != nil {
		return nil, err
	}
	return t, nil
}

// TaskAsync has a task done later, whatever becomes of the caller. It returns when the task
// is queued, durably; TaskEvents and GetTask tell what becomes of it.
func (c *Client) TaskAsync(ctx context.Context, request TaskRequest, options ...Option) (*Task, error) {
	sent := request.sent()
	sent.Async = true
	return c.task(ctx, http.MethodPost, pathTask, sent, options...)
}

// The types of a TaskEvent, besides EventToken, EventThinking and EventToolUse.
const (
	EventStatus           = "status"
	EventText             = "text"
	EventWarning          = "warning"
	EventToolResult       = "tool_result"
	EventApproval         = "approval"
	EventApprovalResolved = "approval_resolved"
	EventResult           = "result"
	EventError            = "error"
)

// TaskEvent is something that happened in a task.
type TaskEvent struct {
	// Seq is its number, by which TaskEvents goes on behind it; 0: it isn't kept, as
	// EventToken, whose text comes again in EventText.
	Seq  int64
	Type string
	// Data is all of it, as it came.
	Data jsontext.Value

	Content   string         // of EventToken, EventThinking, EventText and EventWarning
	Status    string         // of EventStatus
	Attempt   int            // of EventStatus
	Model     string         // of EventStatus
	Tool      string         // of those about a tool, as the five behind it
	ToolUseID string         //
	Input     jsontext.Value //
	Output    jsontext.Value //
	IsError   bool           //
	Agent     string         //
	N         int            // of EventApproval and EventApprovalResolved
	ExpiresAt time.Time      // of EventApproval
	Decision  string         // of EventApprovalResolved
	By        string         // of EventApprovalResolved
	Reason    string         // of EventApprovalResolved
	// Task is all of the task, with EventResult and EventError, of which one is the last.
	Task *Task
}

// readTaskEvent reads an event. One of a type that isn't known here has its Data.
func readTaskEvent(f frame) (TaskEvent, error) {
	e := TaskEvent{Seq: f.id, Data: jsontext.Value(f.data).Clone()}
	var read struct {
		Type      string         `json:"type"`
		Content   string         `json:"content"`
		Status    string         `json:"status"`
		Attempt   int            `json:"attempt"`
		Model     string         `json:"model"`
		Tool      string         `json:"tool"`
		ToolUseID string         `json:"tool_use_id"`
		Input     jsontext.Value `json:"input"`
		Output    jsontext.Value `json:"output"`
		IsError   bool           `json:"is_error"`
		Agent     string         `json:"agent"`
		N         int            `json:"n"`
		ExpiresAt time.Time      `json:"expires_at"`
		Decision  string         `json:"decision"`
		By        string         `json:"by"`
		Reason    string         `json:"reason"`
	}
	if err := decodeEvent(f.data, &read); err != nil {
		return TaskEvent{}, err
	}
	e.Type, e.Content, e.Status, e.Attempt, e.Model = read.Type, read.Content, read.Status, read.Attempt, read.Model
	e.Tool, e.ToolUseID, e.Input, e.Output, e.IsError, e.Agent = read.Tool, read.ToolUseID, read.Input, read.Output, read.IsError, read.Agent
	e.N, e.ExpiresAt, e.Decision, e.By, e.Reason = read.N, read.ExpiresAt, read.Decision, read.By, read.Reason
	if e.Type == EventResult || e.Type == EventError {
		e.Task = &Task{}
		if err := decodeEvent(f.data, e.Task); err != nil {
			return TaskEvent{}, err
		}
	}
	return e, nil
}

// TaskStream has a task done and gives its events as they happen. The last one is
// EventResult or EventError, or the stream's last step an error. Whoever stops reading ends
// the task; where the connection breaks, the service does.
func (c *Client) TaskStream(ctx context.Context, request TaskRequest, options ...Option) iter.Seq2[TaskEvent, error] {
	return func(yield func(TaskEvent, error) bool) {
		sent := request.sent()
		sent.Stream = true
		stream, err := c.open(ctx, http.MethodPost, pathTask, sent, newCall(options))
		if err != nil {
			yield(TaskEvent{}, err)
			return
		}
		defer stream.close()
		for {
			e, err := stream.task()
			if err != nil {
				yield(TaskEvent{}, err)
				return
			}
			if e.Task != nil {
				stream.finish()
			}
			if !yield(e, nil) || e.Task != nil {
				return
			}
		}
	}
}

func (e *events) task() (TaskEvent, error) {
	f, err := e.next()
	if err != nil {
		return TaskEvent{}, err
	}
	return readTaskEvent(f)
}

// TaskFilter says which tasks are listed.
type TaskFilter struct {
	Status string // ""; of all
	Before string // only those made before this one, by its id
	Limit  int    // 1 to 1000; 0 is 100
}

func (f TaskFilter) query() string {
	values := url.Values{}
	if f.Status != "" {
		values.Set("status", f.Status)
	}
	if f.Before != "" {
		values.Set("before", f.Before)
	}
	if f.Limit != 0 {
		values.Set("limit", strconv.Itoa(f.Limit))
	}
	if len(values) == 0 {
		return ""
	}
	return "?" + values.Encode()
}

// TaskPage is a list of tasks, the newest first.
type TaskPage struct {
	Tasks   []Task `json:"tasks"`
	HasMore bool   `json:"has_more"` // before the last one
}

// ListTasks lists the key's tasks.
func (c *Client) ListTasks(ctx context.Context, filter TaskFilter) (*TaskPage, error) {
	p := &TaskPage{}
	if err := c.ask(ctx, http.MethodGet, pathTasks+filter.query(), nil, p, newCall(nil)); err != nil {
		return nil, err
	}
	return p, nil
}

// GetTask gives what is known of a task.
func (c *Client) GetTask(ctx context.Context, id string) (*Task, error) {
	return c.task(ctx, http.MethodGet, pathOfTask(id), nil)
}

// CancelTask ends a task, or forgets one that has ended, with its events and artifacts;
// forgotten says which it was. A task that runs has not ended yet when it returns.
func (c *Client) CancelTask(ctx context.Context, id string) (task *Task, forgotten bool, err error) {
	return c.cancelTask(ctx, pathOfTask(id))
}

func (c *Client) cancelTask(ctx context.Context, path string) (*Task, bool, error) {
	var read struct {
		Task
		Deleted bool `json:"deleted"`
	}
	if err := c.ask(ctx, http.MethodDelete, path, nil, &read, newCall(nil)); err != nil {
		return nil, false, err
	}
	return &read.Task, read.Deleted, nil
}

// The decisions about a Question.
const (
	Allow = "allow"
	Deny  = "deny"
)

// Answer decides a Question.
type Answer struct {
	Decision string         `json:"decision"`        // Allow or Deny
	Reason   string         `json:"reason,omitzero"` // what the model is told of a refusal
	Input    jsontext.Value `json:"input,omitzero"`  // in place of the model's; only with Allow
}

// AnswerTask answers the question n of a task. The first answer counts: a later one is an
// Error of the status 409.
func (c *Client) AnswerTask(ctx context.Context, id string, n int, answer Answer) error {
	return c.ask(ctx, http.MethodPost, pathOfTask(id)+"/approvals/"+strconv.Itoa(n), answer, nil, newCall(nil))
}

// Artifacts lists the files of a task that has ended.
func (c *Client) Artifacts(ctx context.Context, id string) ([]Artifact, error) {
	var read struct {
		Artifacts []Artifact `json:"artifacts"`
	}
	err := c.ask(ctx, http.MethodGet, pathOfTask(id)+"/artifacts", nil, &read, newCall(nil))
	return read.Artifacts, err
}

// Artifact gives the content of a file of a task. It is the caller's to close.
func (c *Client) Artifact(ctx context.Context, id, path string) (io.ReadCloser, error) {
	if path == "" {
		return nil, fmt.Errorf("the artifact's path must not be empty")
	}
	names := strings.Split(path, "/")
	for i := range names {
		names[i] = url.PathEscape(names[i])
	}
	response, err := c.send(ctx, http.MethodGet, pathOfTask(id)+"/artifacts/"+strings.Join(names, "/"), nil, newCall(nil))
	if err != nil {
		return nil, err
	}
	return response.Body, nil
}
