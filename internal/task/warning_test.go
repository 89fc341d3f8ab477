package task_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/task"
)

// Tools that there aren't are named to whoever brings the task, and to those that only
// see what became of it.
func TestToolsThatThereArent(t *testing.T) {
	s := newStand(t, func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		return agent.Outcome{End: agent.EndCompleted}, started(h, "s1")
	})
	all := *caller
	all.Permissions.AllowedTools = []string{gateway.All}
	s.callers.now = &all
	s.start(t)
	g, call := s.call(t)
	call.Caller = &all
	r := task.Request{Description: "x", Tools: []string{"Read", "Nonsense", "mcp__files"}}
	v, err := s.tasks.Submit(t.Context(), g, call, &r)
	if err != nil {
		t.Fatal(err)
	}
	if len(call.Warnings) != 1 || !strings.HasPrefix(call.Warnings[0], "allow_tools: ") || !strings.HasSuffix(call.Warnings[0], `: "Nonsense"`) {
		t.Errorf("%q", call.Warnings)
	}
	if got := types(s.follow(t, v.ID, "")); got != "warning status result" {
		t.Errorf("%s", got)
	}
	if got := s.get(t, v.ID); !slices.Equal(got.Warnings, call.Warnings) {
		t.Errorf("%q, want %q", got.Warnings, call.Warnings)
	}
	_, strict := s.call(t)
	strict.Caller, strict.Strict = &all, true
	if _, err := s.tasks.Submit(t.Context(), g, strict, &r); category(err) != apierror.BadRequest {
		t.Errorf("a strict one: %v", err)
	}
}
