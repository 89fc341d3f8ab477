package task_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
)

// asks is a run that asks once and says in its text what was decided.
func asks(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
	if err := started(h, "s1"); err != nil {
		return agent.Outcome{}, err
	}
	d, err := h.Permit(ctx, agent.PermitRequest{ToolID: "t1", Tool: "Bash", Input: jsontext.Value(`{"command":"ls"}`)})
	text, jsonErr := json.Marshal(d)
	return agent.Outcome{End: agent.EndCompleted, Text: string(text)}, errors.Join(err, jsonErr)
}

type asked struct {
	N        int            `json:"n"`
	Tool     string         `json:"tool"`
	Decision string         `json:"decision"`
	By       string         `json:"by"`
	Input    jsontext.Value `json:"input"`
	Expires  time.Time      `json:"expires_at"`
}

func decoded(t *testing.T, e job.Event) (a asked) {
	t.Helper()
	if err := json.Unmarshal(e.Data, &a); err != nil {
		t.Fatal(err)
	}
	return a
}

// waits holds what a running task says of its questions, alone and in a list, to the
// numbers of those that wait.
func (s *stand) waits(t *testing.T, id string, want ...int) {
	t.Helper()
	all, err := s.tasks.List(t.Context(), caller, job.Filter{State: job.Running})
	if err != nil || len(all) != 1 || all[0].ID != id {
		t.Fatalf("%+v, %v", all, err)
	}
	for _, v := range []*task.View{s.get(t, id), all[0]} {
		var got []int
		for _, q := range v.Approvals {
			got = append(got, q.N)
			if q.Tool != "Bash" || q.ToolID != "t1" || string(q.Input) != `{"command":"ls"}` || time.Until(q.Expires) < time.Minute {
				t.Errorf("%+v", q)
			}
		}
		if v.Status != job.Running || !slices.Equal(got, want) {
			t.Errorf("a task that is %s waits for %d, want %d", v.Status, got, want)
		}
	}
}

func TestAnswered(t *testing.T) {
	s := newStand(t, asks)
	var told []task.Approval
	s.options.Decided = func(_ context.Context, _ *gateway.Call, _ string, a task.Approval) error {
		told = append(told, a)
		return nil
	}
	s.start(t)
	v := s.submit(t, task.Request{Description: "x", Approval: task.ApprovalAsk})
	events := s.follow(t, v.ID, task.EventApproval)
	if a := decoded(t, events[len(events)-1]); a.N != 1 || a.Tool != "Bash" || string(a.Input) != `{"command":"ls"}` || time.Until(a.Expires) < time.Minute {
		t.Errorf("%+v", a)
	}
	s.waits(t, v.ID, 1)
	if n := s.tasks.Waiting(); n != 1 {
		t.Errorf("%d questions wait", n)
	}
	_, call := s.call(t)
	for _, tt := range []struct {
		name   string
		answer task.Approval
		code   apierror.Code
		param  string
	}{
		{"another question", task.Approval{N: 2, Decision: task.Allow}, apierror.CodeNotFound, "n"},
		{"no decision", task.Approval{N: 1, Decision: "x"}, "", "decision"},
		{"input beside a refusal", task.Approval{N: 1, Decision: task.Deny, Input: jsontext.Value(`{}`)}, "", "input"},
	} {
		if e := apierror.From(s.tasks.Answer(t.Context(), call, v.ID, tt.answer)); e == nil || e.Code != tt.code || e.Param != tt.param {
			t.Errorf("%s: %v", tt.name, e)
		}
	}
	if err := s.tasks.Answer(t.Context(), call, v.ID, task.Approval{N: 1, Decision: task.Allow, Input: jsontext.Value(`{"command":"pwd"}`), By: "x"}); err != nil {
		t.Fatal(err)
	}
	resolved := s.follow(t, v.ID, task.EventResolved)
	if a := decoded(t, resolved[len(resolved)-1]); a.N != 1 || a.Decision != task.Allow || a.By != "caller" {
		t.Errorf("%+v", a)
	}
	s.follow(t, v.ID, "")
	if n := s.tasks.Waiting(); n != 0 {
		t.Errorf("%d questions wait when the task has ended", n)
	}
	if got := s.get(t, v.ID); got.Text != `{"Allow":true,"Input":{"command":"pwd"},"Reason":""}` {
		t.Errorf("%+v", got)
	}
	err := s.tasks.Answer(t.Context(), call, v.ID, task.Approval{N: 1, Decision: task.Deny})
	if e := apierror.From(err); e == nil || e.Code != task.CodeEnded {
		t.Error(err)
	}
	if len(told) != 1 || told[0].By != "caller" {
		t.Errorf("told of %+v", told)
	}
}

func TestASecondAnswer(t *testing.T) {
	let := make(chan struct{})
	s := newStand(t, func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error) {
		o, err := asks(ctx, spec, h)
		<-let
		return o, err
	})
	s.start(t)
	v := s.submit(t, task.Request{Description: "x", Approval: task.ApprovalAsk})
	s.follow(t, v.ID, task.EventApproval)
	_, call := s.call(t)
	if err := s.tasks.Answer(t.Context(), call, v.ID, task.Approval{N: 1, Decision: task.Deny, Reason: "no"}); err != nil {
		t.Fatal(err)
	}
	err := s.tasks.Answer(t.Context(), call, v.ID, task.Approval{N: 1, Decision: task.Allow})
	if e := apierror.From(err); e == nil || e.Code != task.CodeAnswered {
		t.Error(err)
	}
	s.follow(t, v.ID, task.EventResolved)
	s.waits(t, v.ID)
	close(let)
	s.follow(t, v.ID, "")
	if got := s.get(t, v.ID); got.Text != `{"Allow":false,"Input":null,"Reason":"no"}` {
		t.Errorf("%+v", got)
	}
}

func TestNobodyAnswers(t *testing.T) {
	let := make(chan struct{})
	s := newStand(t, func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error) {
		o, err := asks(ctx, spec, h)
		<-let
		return o, err
	})
	s.options.ApprovalTimeout = 20 * time.Millisecond
	s.start(t)
	v := s.submit(t, task.Request{Description: "x", Approval: task.ApprovalAsk})
	events := s.follow(t, v.ID, task.EventResolved)
	if a := decoded(t, events[len(events)-1]); a.Decision != task.Deny || a.By != "timeout" {
		t.Errorf("%+v", a)
	}
	s.waits(t, v.ID)
	close(let)
	s.follow(t, v.ID, "")
	if got := s.get(t, v.ID); got.Status != job.Completed || got.Text != `{"Allow":false,"Input":null,"Reason":"nobody allowed it in time"}` {
		t.Errorf("%+v", got)
	}
}

// A question waits as long as its run does.
func TestTheRunEndsBeforeTheAnswer(t *testing.T) {
	s := newStand(t, asks)
	s.start(t)
	v := s.submit(t, task.Request{Description: "x", Approval: task.ApprovalAsk})
	s.follow(t, v.ID, task.EventApproval)
	s.stop(t)
	if got := s.get(t, v.ID); got.Status != job.Queued || got.Approvals != nil {
		t.Errorf("%+v", got)
	}
	s.start(t)
	s.followTo(t, v.ID, func(e job.Event) bool { return e.Type == task.EventApproval && decoded(t, e).N == 2 })
	s.waits(t, v.ID, 2)
	if _, _, err := s.tasks.Cancel(t.Context(), caller, v.ID); err != nil {
		t.Fatal(err)
	}
	events := s.follow(t, v.ID, "")
	if last := events[len(events)-1]; strings.Contains(string(last.Data), "approvals") {
		t.Errorf("%s", last.Data)
	}
	if got := s.get(t, v.ID); got.Status != job.Cancelled || got.Approvals != nil {
		t.Errorf("%+v", got)
	}
}
