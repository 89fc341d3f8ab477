package task

import (
	"time"

	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of an execution log.
const (
	// MaxLogged is how many bytes an entry has of a tool's input, and of its output; the
	// events have them whole.
	MaxLogged = 8 << 10
	// MaxEntries is how many entries a log has at the most.
	MaxEntries = 2_000
	// maxLog is how many bytes of inputs and outputs a log has before those that follow
	// are cut to maxRest.
	maxLog  = 4 << 20
	maxRest = 256
)

// Entry is one line of an execution log: a tool that was called, or what it gave.
type Entry struct {
	Type    string         `json:"type"` // tool_use or tool_result
	Time    time.Time      `json:"time"`
	Tool    string         `json:"tool"`
	ToolID  string         `json:"tool_use_id"`
	Input   jsontext.Value `json:"input,omitzero"`
	Output  jsontext.Value `json:"output,omitzero"`
	IsError bool           `json:"is_error"`
	Parent  string         `json:"parent,omitzero"`
	Agent   string         `json:"agent,omitzero"`
}

// log collects the entries of a task.
type log struct {
	entries []Entry
	bytes   int
	left    int // how many entries there was no room for
}

func (l *log) add(d *data, at time.Time) {
	if len(l.entries) >= MaxEntries {
		l.left++
		return
	}
	most := MaxLogged
	if l.bytes > maxLog {
		most = maxRest
	}
	e := Entry{
		Type: d.Type, Time: at, Tool: d.Tool, ToolID: d.ToolID, Parent: d.Parent, Agent: d.Agent,
		Input: cut(d.Input, most), Output: cut(d.Output, most),
	}
	l.bytes += len(e.Input) + len(e.Output)
	if d.IsError != nil {
		e.IsError = *d.IsError
	}
	l.entries = append(l.entries, e)
}
