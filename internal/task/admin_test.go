package task_test

import (
	"errors"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
)

// TestThoseWhoAdministerSeeAllTasks looks at a task of a key, and answers it, without the
// key.
func TestThoseWhoAdministerSeeAllTasks(t *testing.T) {
	s := newStand(t, asks)
	s.start(t)
	v := s.submit(t, task.Request{Description: strings.Repeat("ä", 1000), Approval: task.ApprovalAsk})
	if _, err := s.engine.Submit(t.Context(), job.Job{Kind: job.KindBatch, KeyID: "k2", ID: "batch_1"}); err != nil {
		t.Fatal(err)
	}
	s.follow(t, v.ID, task.EventApproval)
	list, err := s.tasks.All(t.Context(), job.Filter{})
	if err != nil || len(list) != 1 {
		t.Fatalf("%+v, %v", list, err)
	}
	one := list[0]
	if one.ID != v.ID || one.KeyID != "k1" || one.ProjectID != "acme" || one.Status != job.Running || len(one.Approvals) != 1 || one.Approvals[0].N != 1 {
		t.Errorf("%+v of %s", one.View, one.KeyID)
	}
	if n := len(one.Description); n < 500 || n > 540 || !strings.HasSuffix(one.Description, "ä… (cut)") {
		t.Errorf("its description is %q", one.Description)
	}
	for _, id := range []string{"batch_1", "absent", ""} {
		if _, err := s.tasks.Owner(t.Context(), id); apierror.From(err).Code != apierror.CodeNotFound {
			t.Errorf("whose is %q: %v", id, err)
		}
	}
	owner, err := s.tasks.Owner(t.Context(), v.ID)
	if err != nil || owner.KeyID != "k1" || owner.ProjectID != "acme" || owner.Admin {
		t.Fatalf("%+v, %v", owner, err)
	}
	if e := apierror.From(s.tasks.AnswerFor(t.Context(), owner, v.ID, task.Approval{N: 1, Decision: "perhaps"})); e == nil || e.Param != "decision" {
		t.Errorf("no decision: %v", e)
	}
	if err := s.tasks.AnswerFor(t.Context(), owner, v.ID, task.Approval{N: 1, Decision: task.Deny, Reason: "not today"}); err != nil {
		t.Fatal(err)
	}
	resolved := s.follow(t, v.ID, task.EventResolved)
	if a := decoded(t, resolved[len(resolved)-1]); a.N != 1 || a.Decision != task.Deny || a.By != "admin" {
		t.Errorf("%+v", a)
	}
	s.follow(t, v.ID, "")
	var e *apierror.Error
	if err := s.tasks.AnswerFor(t.Context(), owner, v.ID, task.Approval{N: 1, Decision: task.Allow}); !errors.As(err, &e) || e.Code != task.CodeEnded && e.Code != task.CodeAnswered {
		t.Errorf("a second answer: %v", err)
	}
}
