package task

import (
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
)

// progress is what is noted of a task while it runs, before it goes on: what is asked,
// and which tools are used.
type progress struct {
	Runs int `json:"runs"` // how many have begun
	// Session and Workspace are those of the last run.
	Session   string `json:"session,omitzero"`
	Workspace string `json:"workspace,omitzero"`
	// Effects says that a tool was used which may have changed something.
	Effects bool `json:"effects,omitzero"`
	// Pending are those of them of which no result has come.
	Pending []string `json:"pending,omitzero"`
	Asked   int      `json:"asked,omitzero"` // how many approvals were asked for
	// Waiting are those of them that nobody has given yet.
	Waiting []Question `json:"waiting,omitempty"`
	// Former is where runs worked after which others began anew.
	Former []footprint `json:"former,omitzero"`
	// Spent is what ended runs have cost, in millionths of a US dollar, and Artifacts
	// what they have kept.
	Spent     int64      `json:"spent,omitzero"`
	Artifacts []Artifact `json:"artifacts,omitzero"`
}

func progressOf(j job.Job) (p progress, err error) {
	if j.Progress != nil {
		err = decode(j.Progress, &p)
	}
	return p, err
}

// waiting are the questions of a job that runs which wait for an answer.
func waiting(j job.Job) []Question {
	if j.State != job.Running {
		return nil
	}
	p, err := progressOf(j)
	if err != nil {
		return nil // of a version that wrote something else
	}
	return p.Waiting
}

// answered notes that a question doesn't wait any more.
func (p *progress) answered(n int) {
	p.Waiting = slices.DeleteFunc(p.Waiting, func(q Question) bool { return q.N == n })
}

// footprint is what a run leaves on its machine.
type footprint struct {
	Session   string `json:"session,omitzero"`
	Workspace string `json:"workspace,omitzero"`
}

// harmless are the CLI's tools that change nothing: what uses only them may be done
// again from its beginning. A sub-agent's own tools count themselves; a skill may run
// commands while it is read.
var harmless = []string{
	"Read", "Glob", "Grep", "LS", "NotebookRead", "WebFetch", "WebSearch", "TodoWrite", "ToolSearch", "Task", "Agent",
	"TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "TaskOutput", "BashOutput", "ListMcpResourcesTool", "ReadMcpResourceTool",
}

// uses notes that a tool is about to be used, and says whether that is news for
// whoever goes on after this run.
func (p *progress) uses(tool, id string) bool {
	if slices.Contains(harmless, tool) {
		return false
	}
	p.Effects = true
	p.Pending = append(p.Pending, id)
	return true
}

// gave notes that a tool's result has come.
func (p *progress) gave(id string) bool {
	before := len(p.Pending)
	p.Pending = slices.DeleteFunc(p.Pending, func(pending string) bool { return pending == id })
	return len(p.Pending) < before
}

// course is how a task goes on after a run of it has ended without an end.
type course int

const (
	// begin does it from the beginning: nothing was changed.
	begin course = iota
	// resume goes on with the session: all that is known of, the session knows.
	resume
	// giveUp: a tool was in use that may have done its work, a part of it, or nothing.
	giveUp
)

// status is how an event tells of the course.
func (c course) status() string {
	switch c {
	case resume:
		return "resuming"
	case giveUp:
		return "interrupted"
	case begin:
	}
	return "restarting"
}

// next chooses the course. here says that the session is on this machine.
func (p *progress) next(here bool) course {
	switch {
	case !p.Effects:
		return begin
	case here && len(p.Pending) == 0:
		return resume
	}
	return giveUp
}

// goOn is what a session is asked that goes on.
const goOn = "You were interrupted from outside and your process was started anew. Go on with the task from where you stopped. " +
	"Whatever you have done is still done: don't repeat it, and check what you aren't sure of."

// errInterrupted is how a task ends that can't go on.
var errInterrupted = &apierror.Error{
	Category: job.CategoryInterrupted,
	Message:  "the service was stopped while a tool was in use that may have changed something: it isn't safe to go on",
}

// errUnreachable likewise, where what it worked on is elsewhere.
var errUnreachable = &apierror.Error{
	Category: job.CategoryInterrupted,
	Message:  "the service was stopped after the task had changed something, and its session isn't on this machine",
}

// plan is how a run of a task begins.
type plan struct {
	course             course
	prompt             jsontext.Value
	session, workspace string
}

// planOf says how the next run begins, and notes it. An error says that there is none.
func (t *Tasks) planOf(keyID string, r *Request, p *progress) (plan, error) {
	anew := plan{begin, encode(r.Description), "", ""}
	if p.Runs == 0 {
		return anew, nil
	}
	switch t.courseOf(keyID, p) {
	case resume:
		return plan{resume, encode(goOn), p.Session, p.Workspace}, nil
	case giveUp:
		if len(p.Pending) > 0 {
			return plan{}, errInterrupted
		}
		return plan{}, errUnreachable
	}
	p.Former = append(p.Former, footprint{p.Session, p.Workspace})
	p.Session, p.Workspace = "", ""
	return anew, nil
}

// courseOf says how a task goes on here.
func (t *Tasks) courseOf(keyID string, p *progress) course {
	here := false
	if p.Session != "" {
		_, err := t.runner.Transcript(keyID, p.Session)
		here = err == nil
	}
	return p.next(here)
}
