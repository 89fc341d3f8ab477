package claudecli

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

const hookID = "tool"

// everyToolUse has the CLI ask before each tool use (initialize).
var everyToolUse = map[string][]hookMatcher{"PreToolUse": {{CallbackIDs: []string{hookID}}}}

type hookMatcher struct {
	CallbackIDs []string `json:"hookCallbackIds"`
}

// agentRequest is a line by which the CLI asks something.
type agentRequest struct {
	RequestID string `json:"request_id"`
	Request   struct {
		Subtype   string         `json:"subtype"`
		ToolName  string         `json:"tool_name"`
		ToolUseID string         `json:"tool_use_id"`
		AgentID   string         `json:"agent_id"`
		Input     jsontext.Value `json:"input"`
	} `json:"request"`
}

// hookInput is what a hook is told of a tool use.
type hookInput struct {
	Event     string         `json:"hook_event_name"`
	ToolName  string         `json:"tool_name"`
	ToolInput jsontext.Value `json:"tool_input"`
	ToolUseID string         `json:"tool_use_id"`
	AgentID   string         `json:"agent_id"`
}

// asked answers what the CLI asks during a turn.
func (t *agentTurn) asked(l *line) error {
	var r agentRequest
	if err := decode(l.Raw, &r); err != nil {
		return fmt.Errorf("decode control request: %w", err)
	}
	switch r.Request.Subtype {
	case "hook_callback":
		return t.judge(&r)
	case "can_use_tool":
		t.permit(&r)
		return nil
	}
	return t.send(refusal(r.RequestID))
}

// judge answers the hook before a tool use. One of an answer after which the model
// isn't asked any more stays without an answer: nothing is run.
func (t *agentTurn) judge(r *agentRequest) error {
	var in hookInput
	if err := decode(r.Request.Input, &in); err != nil {
		return fmt.Errorf("decode hook: %w", err)
	}
	call := ToolCall{ID: cmp.Or(in.ToolUseID, r.Request.ToolUseID), Name: in.ToolName, Input: slices.Clone(in.ToolInput)}
	agent := t.agents[in.AgentID]
	call.Parent, call.Agent = agent.toolUse, agent.kind
	if most := t.handler.MaxTurns; most > 0 && t.answer.Turns >= most && in.AgentID == "" {
		t.held = true
		if t.whole {
			return errOutOfTurns
		}
		return nil
	}
	verdict := Verdict{Decision: Ask}
	if t.handler.Judge != nil {
		verdict = t.handler.Judge(t.ctx, call)
	}
	if verdict.Decision == Deny {
		t.deny(call)
	}
	return t.send(success(r.RequestID, hookAnswer(verdict)))
}

// hookAnswer is a hook's answer in the CLI's words.
func hookAnswer(v Verdict) any {
	type specific struct {
		Event    string `json:"hookEventName"`
		Decision string `json:"permissionDecision"`
		Reason   string `json:"permissionDecisionReason,omitempty"`
	}
	type answer struct {
		Continue bool     `json:"continue"`
		Specific specific `json:"hookSpecificOutput"`
	}
	decision := map[Decision]string{Allow: "allow", Deny: "deny", Ask: "ask"}[v.Decision]
	return answer{true, specific{"PreToolUse", decision, reasonOf(v)}}
}

func reasonOf(v Verdict) string {
	if v.Decision == Allow {
		return v.Reason
	}
	return cmp.Or(v.Reason, "not allowed here")
}

// permit has the handler decide on a tool use, beside the reading of the process's
// output.
func (t *agentTurn) permit(r *agentRequest) {
	call := ToolCall{ID: r.Request.ToolUseID, Name: r.Request.ToolName, Input: slices.Clone(r.Request.Input)}
	agent := t.agents[r.Request.AgentID]
	call.Parent, call.Agent = agent.toolUse, agent.kind
	ctx, cancel := context.WithCancel(t.ctx)
	t.mu.Lock()
	t.waiting[r.RequestID] = cancel
	t.mu.Unlock()
	requestID := r.RequestID
	t.permits.Go(func() {
		defer cancel()
		verdict := Verdict{}
		if t.handler.Permit != nil {
			var err error
			if verdict, err = t.handler.Permit(ctx, call); err != nil {
				verdict = Verdict{Reason: "nobody has allowed it"}
			}
		}
		t.mu.Lock()
		_, wanted := t.waiting[requestID]
		delete(t.waiting, requestID)
		t.mu.Unlock()
		if !wanted || ctx.Err() != nil {
			return
		}
		if verdict.Decision != Allow {
			t.deny(call)
		}
		_ = t.send(success(requestID, permitAnswer(call, verdict))) // a process that has died says so to its reader
	})
}

// permitAnswer answers can_use_tool in the CLI's words.
func permitAnswer(call ToolCall, v Verdict) any {
	if v.Decision != Allow {
		return struct {
			Behavior string `json:"behavior"`
			Message  string `json:"message"`
		}{"deny", reasonOf(v)}
	}
	input := v.Input
	if input == nil {
		input = call.Input
	}
	return struct {
		Behavior string         `json:"behavior"`
		Input    jsontext.Value `json:"updatedInput"`
	}{"allow", input}
}

// withdrawn ends a question that the CLI no longer wants to be answered.
func (t *agentTurn) withdrawn(l *line) error {
	var r agentRequest
	if err := decode(l.Raw, &r); err != nil {
		return fmt.Errorf("decode control request: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if cancel := t.waiting[r.RequestID]; cancel != nil {
		delete(t.waiting, r.RequestID)
		cancel()
	}
	return nil
}

// stopAsking ends all questions that are open.
func (t *agentTurn) stopAsking() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for id, cancel := range t.waiting {
		delete(t.waiting, id)
		cancel()
	}
}

func (t *agentTurn) deny(call ToolCall) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.denied) < maxDenied {
		t.denied = append(t.denied, call)
	}
}
