package task

import (
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/message"
)

// Why a task's model stopped, where it wasn't for an error.
const (
	stopEnd   = "end_turn"
	stopTurns = "max_turns"
	stopCost  = "max_cost"
)

// Usage is what a task has used.
type Usage struct {
	InputTokens   int64 `json:"input_tokens"`
	OutputTokens  int64 `json:"output_tokens"`
	TotalTokens   int64 `json:"total_tokens"`
	CacheRead     int64 `json:"cache_read_input_tokens"`
	CacheCreation int64 `json:"cache_creation_input_tokens"`
}

func usageOf(u message.Usage) Usage {
	return Usage{u.InputTokens, u.OutputTokens, u.Total(), u.CacheReadInputTokens, u.CacheCreationInputTokens}
}

// Artifact is a file that a task created or changed.
type Artifact struct {
	Path     string    `json:"path"`
	Bytes    int64     `json:"bytes"`
	Change   string    `json:"change"` // created or modified
	SHA256   string    `json:"sha256,omitzero"`
	Kept     bool      `json:"kept"` // it can be downloaded
	Modified time.Time `json:"modified_at"`
	// Run is the run that kept it.
	Run string `json:"run,omitzero"`
}

// Result is what a task gave, as its job keeps it.
type Result struct {
	Text       string     `json:"result"`
	Log        []Entry    `json:"execution_log"`
	LogLeft    int        `json:"execution_log_omitted,omitzero"`
	Artifacts  []Artifact `json:"artifacts"`
	Usage      Usage      `json:"usage"`
	CostUSD    *float64   `json:"cost_usd"` // null: not known
	Model      string     `json:"model"`
	Turns      int        `json:"turns"`
	StopReason string     `json:"stop_reason,omitzero"`
	SessionID  string     `json:"session_id"`
	Denied     []Denial   `json:"denied"`
	Warnings   []string   `json:"warnings,omitzero"`
}

func empty() Result { return Result{Artifacts: []Artifact{}, Log: []Entry{}, Denied: []Denial{}} }

// Denial is the use of a tool that wasn't allowed.
type Denial struct {
	Tool   string         `json:"tool"`
	ToolID string         `json:"tool_use_id"`
	Input  jsontext.Value `json:"input,omitzero"`
	Parent string         `json:"parent,omitzero"`
}

// fill takes what an agent's outcome says, of a run.
func (r *Result) fill(o *agent.Outcome, run string) {
	r.Text, r.Turns, r.Usage = o.Text, o.Turns, usageOf(o.Usage)
	if o.Model != "" {
		r.Model = o.Model
	}
	if o.Session != "" {
		r.SessionID = o.Session
	}
	if o.CostMicroUSD != nil {
		cost := float64(*o.CostMicroUSD) / 1e6
		r.CostUSD = &cost
	}
	switch o.End {
	case agent.EndCompleted:
		r.StopReason = stopEnd
	case agent.EndMaxTurns:
		r.StopReason = stopTurns
	case agent.EndMaxCost:
		r.StopReason = stopCost
	}
	for _, a := range o.Artifacts {
		r.Artifacts = append(r.Artifacts, Artifact{a.Path, a.Bytes, a.Change, a.SHA256, a.Kept, a.Modified.UTC(), run})
	}
	for _, d := range o.Denials {
		r.Denied = append(r.Denied, Denial{d.Tool, d.ToolID, cut(d.Input, MaxLogged), d.Parent})
	}
}

// decode reads what encode has written.
func decode(value jsontext.Value, into any) error {
	return json.Unmarshal(value, into, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
}

// encode gives the JSON for the job. It can't fail: all of it was made here, or by the
// CLI, whose lines were read as leniently.
func encode(v any) jsontext.Value {
	text, err := json.Marshal(v, jsontext.AllowInvalidUTF8(true), jsontext.AllowDuplicateNames(true))
	if err != nil {
		panic(err)
	}
	return text
}
