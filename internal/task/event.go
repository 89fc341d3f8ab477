package task

import (
	"bytes"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
)

// The types of a task's events. All of them are kept, except EventToken.
const (
	EventStatus     = "status"
	EventToken      = "token"
	EventThinking   = "thinking"
	EventText       = "text"
	EventToolUse    = "tool_use"
	EventToolResult = "tool_result"
	EventApproval   = "approval"
	EventResolved   = "approval_resolved"
	EventWarning    = "warning"
	EventResult     = "result"
	EventError      = "error"
)

// The bounds of what is kept of one task's events, in bytes.
const (
	// maxPiece is the most of one tool's input or output that its event holds.
	maxPiece = 1 << 20
	// maxKept is how much all events hold together before those that follow are cut to
	// MaxLogged.
	maxKept = 64 << 20
)

// cutMark ends what was cut.
const cutMark = "… (cut)"

// data is the JSON of an event. What it doesn't have is left out.
type data struct {
	Type    string         `json:"type"`
	Content *string        `json:"content,omitzero"`
	Tool    string         `json:"tool,omitzero"`
	ToolID  string         `json:"tool_use_id,omitzero"`
	Input   jsontext.Value `json:"input,omitzero"`
	Output  jsontext.Value `json:"output,omitzero"`
	IsError *bool          `json:"is_error,omitzero"`
	// Parent is the tool use that started the agent in which it happened, Agent the
	// agent's name.
	Parent string `json:"parent,omitzero"`
	Agent  string `json:"agent,omitzero"`

	ID        string   `json:"id,omitzero"`
	Status    string   `json:"status,omitzero"`
	Attempt   int      `json:"attempt,omitzero"`
	Model     string   `json:"model,omitzero"`
	SessionID string   `json:"session_id,omitzero"`
	Tools     []string `json:"tools,omitzero"`

	N        int       `json:"n,omitzero"`
	Decision string    `json:"decision,omitzero"`
	By       string    `json:"by,omitzero"`
	Reason   string    `json:"reason,omitzero"`
	Expires  time.Time `json:"expires_at,omitzero"`
}

// Failure is an error as clients of the former service's family read it.
type Failure struct {
	Message string  `json:"message"`
	Type    string  `json:"type"`
	Param   *string `json:"param"`
	Code    string  `json:"code"`
}

// failure gives an error in that form.
func failure(e *apierror.Error) *Failure {
	f := &Failure{Message: e.Message, Type: string(e.Category), Code: string(e.Code)}
	if f.Code == "" {
		f.Code = f.Type
	}
	if e.Param != "" {
		f.Param = &e.Param
	}
	return f
}

// cut bounds a JSON value. What is too long becomes a text, its beginning.
func cut(value jsontext.Value, most int) jsontext.Value {
	if len(value) <= most {
		return value
	}
	text := ""
	if value.Kind() != '"' || json.Unmarshal(value, &text) != nil {
		text = string(value)
	}
	if len(text) > most {
		text = string(bytes.ToValidUTF8([]byte(text[:most]), nil)) + cutMark
	}
	short, err := json.Marshal(text)
	if err != nil {
		return jsontext.Value(`"` + cutMark + `"`)
	}
	return short
}
