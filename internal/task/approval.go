package task

import (
	"context"
	"errors"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
)

// What an approval may decide, and who does.
const (
	Allow     = "allow"
	Deny      = "deny"
	byCaller  = "caller"
	byTimeout = "timeout"
)

// Actions of the audit log.
const (
	Approved = "task.approved"
	Denied   = "task.denied"
)

// MaxReason is how long the reason of an answer may be, in bytes.
const MaxReason = 4 << 10

// CodeAnswered refuses a second answer to the same question.
const CodeAnswered apierror.Code = "already_answered"

// Approval is the answer to a task that asks whether it may use a tool.
type Approval struct {
	N        int            `json:"-"`
	Decision string         `json:"decision"`
	Reason   string         `json:"reason,omitzero"`
	Input    jsontext.Value `json:"input,omitzero"` // in place of the model's
	By       string         `json:"by"`
}

// Question is the use of a tool that a task waits for somebody to allow.
type Question struct {
	N       int            `json:"n"`
	Tool    string         `json:"tool"`
	ToolID  string         `json:"tool_use_id"`
	Input   jsontext.Value `json:"input,omitzero"` // beyond MaxLogged a text, its beginning
	Parent  string         `json:"parent,omitzero"`
	Agent   string         `json:"agent,omitzero"`
	Expires time.Time      `json:"expires_at"` // when it is denied by itself
}

const tooLate = "nobody allowed it in time"

// Permit implements agent.Handler: it asks, and waits for the answer.
func (r *record) Permit(ctx context.Context, ask agent.PermitRequest) (agent.Decision, error) {
	r.tasks.waiting.Add(1)
	defer r.tasks.waiting.Add(-1)
	n, err := r.ask(ask)
	if err != nil {
		return agent.Decision{}, err
	}
	answer, err := r.answer(ctx, n)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.answered(n)
	if err != nil {
		return agent.Decision{}, err // the run ends, which is noted
	}
	if err := r.note(); err != nil {
		return agent.Decision{}, err
	}
	err = r.emit(&data{
		Type: EventResolved, N: n, Tool: ask.Tool, ToolID: ask.ToolID, Decision: answer.Decision, By: answer.By, Reason: answer.Reason, Parent: ask.Parent,
	})
	return agent.Decision{Allow: answer.Decision == Allow, Input: answer.Input, Reason: answer.Reason}, err
}

// ask emits the question. What isn't noted can't be answered.
func (r *record) ask(ask agent.PermitRequest) (n int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress.Asked++
	n = r.progress.Asked
	q := Question{n, ask.Tool, ask.ToolID, cut(ask.Input, MaxLogged), ask.Parent, r.agents[ask.Parent], time.Now().Add(r.tasks.options.ApprovalTimeout).UTC()}
	r.progress.Waiting = append(r.progress.Waiting, q)
	if err := r.note(); err != nil {
		return 0, err
	}
	return n, r.emit(&data{
		Type: EventApproval, N: n, Tool: q.Tool, ToolID: q.ToolID, Input: r.room(ask.Input), Parent: q.Parent, Agent: q.Agent, Expires: q.Expires,
	})
}

// answer waits for the answer that counts, which is the first: a caller's, or that
// time is over.
func (r *record) answer(ctx context.Context, n int) (Approval, error) {
	waiting, cancel := context.WithTimeout(ctx, r.tasks.options.ApprovalTimeout)
	defer cancel()
	value, err := r.run.Answer(waiting, n)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		value, err = r.run.Settle(ctx, n, encode(Approval{Decision: Deny, By: byTimeout, Reason: tooLate}))
	}
	var a Approval
	if err == nil {
		err = json.Unmarshal(value, &a)
	}
	return a, err
}

// Answer answers the question n of a task of the call's caller. An error is an
// apierror.Error: there is no such question, it was answered before, or the task has
// ended.
func (t *Tasks) Answer(ctx context.Context, call *gateway.Call, id string, a Approval) error {
	a.By = byCaller
	if err := t.answer(ctx, call.Caller, id, a); err != nil || t.options.Decided == nil {
		return err
	}
	return t.options.Decided(ctx, call, id, a)
}

// answer keeps an answer to a question of a task of the caller.
func (t *Tasks) answer(ctx context.Context, caller *gateway.Caller, id string, a Approval) error {
	j, err := t.find(ctx, caller, id)
	if err != nil {
		return err
	}
	noted, err := progressOf(j)
	if err != nil {
		return err
	}
	switch {
	case a.N < 1 || a.N > noted.Asked:
		return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "n", Message: "the task has asked no such question"}
	case a.Decision != Allow && a.Decision != Deny:
		return apierror.Invalid("decision", "decision: must be %s or %s", Allow, Deny)
	case len(a.Reason) > MaxReason:
		return apierror.Invalid("reason", "reason: must be at most %d bytes long", MaxReason)
	case a.Input != nil && (a.Decision != Allow || a.Input.Kind() != '{'):
		return apierror.Invalid("input", "input: must be an object, beside the decision %s", Allow)
	case j.State.Ended():
		return ended()
	}
	err = t.jobs.Answer(ctx, caller.KeyID, id, a.N, encode(a))
	switch {
	case errors.Is(err, job.ErrAnswered):
		return &apierror.Error{Category: apierror.BadRequest, Code: CodeAnswered, Message: "the question was answered before, or its time is over", Cause: err}
	case errors.Is(err, job.ErrEnded):
		return ended()
	case err != nil:
		return told(err)
	}
	return nil
}
