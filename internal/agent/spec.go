// Package agent runs agentic work: each run on a process of the CLI of its own,
// with tools, in a folder, held to what its caller may do.
package agent

import (
	"context"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// Spec is one run. What it names was checked before: the caller may do it.
type Spec struct {
	// ID is the run's, unique: requests that it makes of the upstream are in the
	// ledger under it.
	ID     string
	Caller *gateway.Caller
	// Endpoint is the route's path, as metrics and ledger name it.
	Endpoint string
	Model    string // the routed model's id
	// Prompt is what the run is asked: a text, or content blocks. A session's turns
	// bring their own.
	Prompt jsontext.Value
	// System is added to the CLI's own system prompt.
	System string
	// Tools are those of the CLI that may be used without asking, each maybe with a
	// rule behind it, as the CLI writes it: Bash(git log:*). gateway.All, here and in
	// Agents and Skills, is all that the caller's profile allows.
	Tools []string
	// Agents and Skills are the names of those that may be used.
	Agents, Skills []string
	// Directory is where the run works: absolute, without links. "": in a workspace
	// of its own.
	Directory string
	// Workspace and Session are those of an earlier run of the same key that this one
	// goes on from, as an Outcome or EventStarted names them; "": it begins anew.
	Workspace, Session string
	// Fork has the conversation go on under an id of its own, and leaves Session as it is.
	Fork bool
	// MaxCostMicroUSD is the most that the run may cost, in millionths of a US dollar;
	// 0: no limit but the budgets'.
	MaxCostMicroUSD int64
	// MaxTurns is how often the model may be asked at the most; 0: no limit.
	MaxTurns int
	// Ask says that what Tools doesn't hold, and the profile allows, is asked for with
	// Handler.Permit; else it is denied.
	Ask bool
}

// Handler hears of a run as it happens. Event is called in order by one goroutine;
// Permit may be called beside it, several at once.
type Handler interface {
	// Event takes one event, valid after the call. An error ends the run.
	Event(e Event) error
	// Permit decides whether a tool may be used. It may take its time; ctx ends with
	// the run. An error denies.
	Permit(ctx context.Context, r PermitRequest) (Decision, error)
}

// EventType says what an Event is.
type EventType string

// The types of events.
const (
	EventStarted    EventType = "started"     // Session, Workspace, Model, Tools
	EventToken      EventType = "token"       // Text: a piece of what a later EventText holds whole
	EventThinking   EventType = "thinking"    // Text
	EventText       EventType = "text"        // Text
	EventToolUse    EventType = "tool_use"    // ToolID, Tool, Input
	EventToolResult EventType = "tool_result" // ToolID, Content, IsError
	EventWarning    EventType = "warning"     // Text
)

// Event is something that happened in a run.
type Event struct {
	Type EventType
	Time time.Time
	Text string
	// Parent is the tool use by which the agent was started in which it happened; "":
	// the run itself.
	Parent  string
	ToolID  string
	Tool    string
	Input   jsontext.Value
	Content jsontext.Value // as in a tool_result block: a text or blocks
	IsError bool

	Session, Workspace, Model string
	Tools                     []string
}

// PermitRequest is a tool that the model wants to use.
type PermitRequest struct {
	ToolID string
	Tool   string
	Input  jsontext.Value
	Parent string // see Event
}

// Decision answers a PermitRequest.
type Decision struct {
	Allow  bool
	Input  jsontext.Value // in place of the model's; nil: as it was
	Reason string         // what the model is told of a refusal
}

// End says why a run ended.
type End string

// The ends of a run that isn't an error.
const (
	EndCompleted End = "completed"
	EndMaxTurns  End = "max_turns" // MaxTurns was reached
	EndMaxCost   End = "max_cost"  // MaxCostMicroUSD was used up
)

// Outcome is what is known of a run at its end, also beside an error.
type Outcome struct {
	End                End    // "" beside an error
	Text               string // the last answer's
	Session, Workspace string
	Model              string // the answered model
	Turns              int    // how often the model was asked
	Usage              message.Usage
	CostMicroUSD       *int64 // nil: not known
	Artifacts          []Artifact
	Denials            []PermitRequest // what was denied
}

// Artifact is a file that a run created or changed.
type Artifact struct {
	Path     string // below the run's folder, with slashes
	Bytes    int64
	Change   string // created or modified
	SHA256   string // hexadecimal; "" where Kept is false
	Kept     bool   // its content was kept
	Modified time.Time
}
