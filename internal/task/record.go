package task

import (
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
)

// record keeps what happens in one run of a task. It is the agent's Handler.
type record struct {
	tasks   *Tasks
	run     *job.Run
	request *Request
	// listen hears of every event beside the job's own listeners, in order; nil: nobody
	// does.
	listen func(e job.Event) error
	ctx    context.Context // the run's

	mu       sync.Mutex // guards what follows, and the order of events
	seq      int64      // of the last event, where all of the job's are this record's
	kept     int        // bytes of events
	progress progress
	log      log
	tools    map[string]string // their names, by their uses' ids
	agents   map[string]string // those that were started, by the use of the tool that did
	result   Result
	started  bool          // the agent has begun
	idle     chan struct{} // closed when no tool with effects is in use any more; nil: nobody waits
}

var _ agent.Handler = (*record)(nil)

func newRecord(t *Tasks, run *job.Run, r *Request, listen func(e job.Event) error) (*record, error) {
	rec := &record{
		tasks: t, run: run, request: r, listen: listen, ctx: run.Context(), tools: map[string]string{}, agents: map[string]string{},
		result: empty(),
	}
	var err error
	rec.progress, err = progressOf(run.Job())
	return rec, err
}

// Event implements agent.Handler.
func (r *record) Event(e agent.Event) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := data{Parent: e.Parent, Agent: r.agents[e.Parent]}
	switch e.Type {
	case agent.EventStarted:
		return r.begun(&e)
	case agent.EventToken:
		d.Type, d.Content = EventToken, &e.Text
		return r.live(&d)
	case agent.EventThinking:
		d.Type, d.Content = EventThinking, &e.Text
	case agent.EventText:
		d.Type, d.Content = EventText, &e.Text
	case agent.EventWarning:
		return r.warn(d, e.Text)
	case agent.EventToolUse:
		return r.uses(d, &e)
	case agent.EventToolResult:
		return r.gave(d, &e)
	default:
		return nil
	}
	return r.emit(&d)
}

// begun notes where the run works, for whoever goes on after it.
func (r *record) begun(e *agent.Event) error {
	r.started = true
	r.progress.Session, r.progress.Workspace = e.Session, e.Workspace
	r.result.SessionID, r.result.Model = e.Session, e.Model
	if err := r.note(); err != nil {
		return err
	}
	return r.emit(&data{
		Type: EventStatus, ID: r.run.Job().ID, Status: string(job.Running), Attempt: r.progress.Runs, Model: e.Model, SessionID: e.Session, Tools: e.Tools,
	})
}

// warn tells what went wrong on the way. The lock is held.
func (r *record) warn(d data, text string) error {
	d.Type, d.Content = EventWarning, &text
	r.result.Warnings = append(r.result.Warnings, text)
	return r.emit(&d)
}

// unknown warns, in a task's first run, of tools that it can't be given: those that only
// follow it don't see the header of the answer.
func (r *record) unknown(p *gateway.Permissions) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if text := agent.Unknown(paramTools, p, r.request.Tools); text != "" && r.progress.Runs == 1 {
		return r.warn(data{}, text)
	}
	return nil
}

// uses notes a tool that may have effects before it has any: the agent lets it begin
// when this returns.
func (r *record) uses(d data, e *agent.Event) error {
	r.tools[e.ToolID] = e.Tool
	var input struct {
		Agent string `json:"subagent_type"`
	}
	if json.Unmarshal(e.Input, &input) == nil && input.Agent != "" {
		r.agents[e.ToolID] = input.Agent
	}
	if r.progress.uses(e.Tool, e.ToolID) {
		if err := r.note(); err != nil {
			return err
		}
	}
	d.Type, d.Tool, d.ToolID, d.Input = EventToolUse, e.Tool, e.ToolID, r.room(e.Input)
	return r.logged(&d, e)
}

func (r *record) gave(d data, e *agent.Event) error {
	d.Type, d.Tool, d.ToolID, d.Output, d.IsError = EventToolResult, r.tools[e.ToolID], e.ToolID, r.room(e.Content), &e.IsError
	if err := r.logged(&d, e); err != nil {
		return err
	}
	if !r.progress.gave(e.ToolID) {
		return nil
	}
	if r.idle != nil && len(r.progress.Pending) == 0 {
		close(r.idle)
		r.idle = nil
	}
	return r.note()
}

func (r *record) logged(d *data, e *agent.Event) error {
	r.log.add(d, e.Time.UTC())
	return r.emit(d)
}

// room cuts what there is no room for among the events.
func (r *record) room(value jsontext.Value) jsontext.Value {
	if r.kept+len(value) > maxKept {
		return cut(value, MaxLogged)
	}
	return cut(value, maxPiece)
}

// emit keeps an event. The lock is held.
func (r *record) emit(d *data) error {
	e := job.Event{Type: d.Type, Data: encode(d)}
	return r.keep(e)
}

func (r *record) keep(e job.Event) error {
	r.kept += len(e.Data)
	// What has happened is kept, whatever has ended meanwhile.
	if err := r.run.Emit(context.WithoutCancel(r.ctx), e); err != nil {
		return err
	}
	r.seq++
	if r.listen == nil {
		return nil
	}
	e.Seq = r.seq
	return r.listen(e)
}

// live gives an event away that isn't kept. The lock is held.
func (r *record) live(d *data) error {
	e := job.Event{Type: d.Type, Data: encode(d)}
	r.run.Live(e)
	if r.listen == nil {
		return nil
	}
	return r.listen(e)
}

// note keeps the progress. The lock is held.
func (r *record) note() error {
	return r.run.Note(context.WithoutCancel(r.ctx), encode(&r.progress))
}

// next notes that a run begins, and gives its id and plan.
func (r *record) next(keyID string) (id string, p plan, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p, err = r.tasks.planOf(keyID, r.request, &r.progress); err != nil {
		return "", p, err
	}
	r.progress.Runs++
	r.progress.Waiting = nil // an earlier run's, which nobody asks any more
	id = r.run.Job().ID
	if err := r.note(); err != nil {
		return "", p, err
	}
	if r.listen != nil {
		// Who hears the events only has to know whose they are.
		err = r.emit(&data{Type: EventStatus, ID: id, Status: statusStarting, Attempt: r.progress.Runs})
	}
	return runID(id, r.progress.Runs), p, err
}

// statusStarting is the status of a task for which a process is started.
const statusStarting = "starting"

// ended takes what the agent gave of a run.
func (r *record) ended(o *agent.Outcome, run string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.fill(o, run)
	if o.CostMicroUSD != nil {
		r.progress.Spent += *o.CostMicroUSD
	}
	r.progress.Artifacts = merged(r.progress.Artifacts, r.result.Artifacts)
	r.result.Artifacts = r.progress.Artifacts
	if o.Workspace != "" {
		r.progress.Workspace = o.Workspace
	}
	return r.note()
}

// merged adds a later run's artifacts to those of earlier ones. The last content of a
// file counts.
func merged(earlier, later []Artifact) []Artifact {
	all := make([]Artifact, 0, len(earlier)+len(later))
	at := map[string]int{}
	for _, a := range append(earlier[:len(earlier):len(earlier)], later...) {
		if i, ok := at[a.Path]; ok {
			a.Change = all[i].Change // as it was before the first of them
			all[i] = a
			continue
		}
		at[a.Path] = len(all)
		all = append(all, a)
	}
	return all
}

// hasBegun says that the agent has begun.
func (r *record) hasBegun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.started
}

// changed says that the task may have changed something.
func (r *record) changed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress.Effects
}

// finish makes the task as it has ended, and keeps the event that is its last.
func (r *record) finish(err error) (*View, job.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.result.Log, r.result.LogLeft = append(r.result.Log, r.log.entries...), r.log.left
	j := r.run.Job()
	v := viewOf(j)
	v.Result, v.Status, v.EndedAt, v.Approvals = &r.result, job.Completed, time.Now().UTC(), nil
	if e := apierror.From(err); e != nil {
		v.fail(e)
		v.Status = job.Failed
		if e.Category == apierror.ClientClosed {
			v.Status = job.Cancelled
		}
	}
	last := v.last()
	// The job has its end in its row, too.
	_ = r.keep(last)
	last.Seq = r.seq
	return v, last
}
