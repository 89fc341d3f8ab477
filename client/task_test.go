package client_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// writes is a prompt that has a file written by Bash, and then an answer.
const writes = `[[tool=Bash input={"command":"mkdir -p a && echo x > 'a/b c?.txt'"}]] [[then]] [[text=it is written]]`

// TestTasks calls a service on the real CLI.
func TestTasks(t *testing.T) {
	s := newStand(t, clitest.Path(t, install.Version))
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *stand)
	}{
		{"at once", testTask},
		{"as a stream", testTaskStream},
		{"later, through a bad cable", testTaskEvents},
		{"asks", testTaskAsks},
		{"cancelled", testTaskCancelled},
		{"refused", testTaskRefused},
		{"sessions", testSessions},
		{"administration", testAdmin},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

func testTask(t *testing.T, s *stand) {
	task, err := s.Task(within(t), client.TaskRequest{Description: writes, Tools: []string{"Bash"}, Model: "haiku", MaxCost: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	if task.Status != client.StatusCompleted || !task.Ended() || task.Err() != nil || task.Result != "it is written" || task.CostUSD == nil || task.Usage.TotalTokens == 0 {
		t.Fatalf("%+v", task)
	}
	if len(task.Log) != 2 || task.Log[0].Type != client.EventToolUse || !strings.Contains(string(task.Log[0].Input), "echo x") || task.Log[1].Type != client.EventToolResult {
		t.Errorf("%+v", task.Log)
	}
	artifacts, err := s.Artifacts(within(t), task.ID)
	if err != nil || len(artifacts) != 1 || artifacts[0].Path != "a/b c?.txt" || !artifacts[0].Kept {
		t.Fatalf("%+v %v", artifacts, err)
	}
	file, err := s.Artifact(within(t), task.ID, artifacts[0].Path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	if text, err := io.ReadAll(file); err != nil || string(text) != "x\n" {
		t.Errorf("%q %v", text, err)
	}
	_, err = s.Artifact(within(t), task.ID, "none")
	refused(t, err, http.StatusNotFound, "not_found")

	// Whatever becomes of a task that has begun is no error of the call.
	if task, err = s.Task(within(t), client.TaskRequest{Description: writes, Model: "haiku", MaxCost: 0.000001}); err != nil {
		t.Fatal(err)
	}
	if e := refusal(t, task.Err(), 0, "max_cost"); task.Status != client.StatusFailed || e.Category != client.CategoryBudgetExceeded {
		t.Errorf("%+v", task)
	}
}

func testTaskStream(t *testing.T, s *stand) {
	var types []string
	var last client.TaskEvent
	for e, err := range s.TaskStream(within(t), client.TaskRequest{Description: writes, Model: "haiku"}) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Type != client.EventToken && e.Type != client.EventThinking && e.Type != client.EventStatus {
			types = append(types, e.Type)
		}
		if e.Type == client.EventToolUse && (e.Tool != "Bash" || e.ToolUseID == "" || e.Seq == 0 || len(e.Input) == 0) {
			t.Errorf("%+v", e)
		}
		last = e
	}
	if got := strings.Join(types, " "); got != "tool_use tool_result text result" || last.Task == nil || last.Task.Result != "it is written" {
		t.Errorf("%s, then %+v", got, last)
	}
}

// testTaskEvents follows a task over connections that break in the middle of an event.
func testTaskEvents(t *testing.T, s *stand) {
	task, err := s.TaskAsync(within(t), client.TaskRequest{Description: writes, Model: "haiku"})
	if err != nil || task.Status != client.StatusQueued {
		t.Fatalf("%+v %v", task, err)
	}
	cable := &cutter{http.DefaultTransport.(*http.Transport).Clone(), make(chan int, 4)}
	defer cable.RoundTripper.(*http.Transport).CloseIdleConnections()
	key := s.key(t, apikey.Create{Profile: "enterprise"})
	for _, n := range []int{400, 0, 700, 20} {
		cable.after <- n
	}
	// Its key's alone: another one is told that it doesn't exist, and doesn't come again.
	for _, err := range s.as(t, key).TaskEvents(within(t), task.ID, 0) {
		refused(t, err, http.StatusNotFound, "not_found")
	}
	broken := clientOf(t, client.Options{URL: s.URL(), Key: s.own, HTTP: &http.Client{Transport: cable}})
	seq, ended := int64(0), false
	for e, err := range broken.TaskEvents(within(t), task.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Seq != 0 {
			if e.Seq != seq+1 {
				t.Errorf("event %d follows %d", e.Seq, seq)
			}
			seq = e.Seq
		}
		ended = e.Task != nil
	}
	if !ended || len(cable.after) != 0 || seq < 5 {
		t.Errorf("ended: %v, with event %d; %d cuts are left", ended, seq, len(cable.after))
	}
	for e, err := range s.TaskEvents(within(t), task.ID, seq-1) {
		if err != nil || e.Seq != seq || e.Task == nil || e.Task.Status != client.StatusCompleted {
			t.Errorf("behind %d: %+v %v", seq-1, e, err)
		}
	}
	if task, err = s.GetTask(within(t), task.ID); err != nil || task.Status != client.StatusCompleted || task.EndedAt.IsZero() {
		t.Errorf("%+v %v", task, err)
	}
	page, err := s.ListTasks(within(t), client.TaskFilter{Status: client.StatusCompleted, Limit: 1})
	if err != nil || len(page.Tasks) != 1 || !page.HasMore {
		t.Fatalf("%+v %v", page, err)
	}
	next, err := s.ListTasks(within(t), client.TaskFilter{Before: page.Tasks[0].ID})
	if err != nil || len(next.Tasks) == 0 || next.Tasks[0].ID == page.Tasks[0].ID {
		t.Errorf("%+v %v", next, err)
	}
}

func testTaskAsks(t *testing.T, s *stand) {
	task, err := s.TaskAsync(within(t), client.TaskRequest{Description: writes, Model: "haiku", Tools: []string{}, Approval: client.ApprovalAsk})
	if err != nil {
		t.Fatal(err)
	}
	resolved, asked := "", 0
	for e, err := range s.TaskEvents(within(t), task.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case client.EventApproval:
			asked = e.N
			waiting, err := s.GetTask(within(t), task.ID)
			if err != nil || len(waiting.Approvals) != 1 || waiting.Approvals[0].N != e.N || waiting.Approvals[0].Tool != "Bash" || e.ExpiresAt.IsZero() {
				t.Errorf("%+v %v", waiting, err)
			}
			if err := s.AnswerTask(within(t), task.ID, e.N, client.Answer{Decision: client.Deny, Reason: "not today"}); err != nil {
				t.Error(err)
			}
		case client.EventApprovalResolved:
			resolved = e.Decision + " " + e.By + " " + e.Reason
		}
	}
	if asked != 1 || resolved != "deny caller not today" {
		t.Errorf("question %d was answered %q", asked, resolved)
	}
	err = s.AnswerTask(within(t), task.ID, 1, client.Answer{Decision: client.Allow})
	refused(t, err, http.StatusConflict, "task_ended")
}

func testTaskCancelled(t *testing.T, s *stand) {
	task, err := s.TaskAsync(within(t), client.TaskRequest{Description: `[[tool=Bash input={"command":"sleep 60"}]]`, Model: "haiku"})
	if err != nil {
		t.Fatal(err)
	}
	var last client.TaskEvent
	for e, err := range s.TaskEvents(within(t), task.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if last = e; e.Type == client.EventToolUse {
			if _, forgotten, err := s.CancelTask(within(t), task.ID); err != nil || forgotten {
				t.Errorf("forgotten: %v, %v", forgotten, err)
			}
		}
	}
	if last.Type != client.EventError || last.Task.Status != client.StatusCancelled || last.Task.Err() == nil {
		t.Errorf("%+v", last)
	}
	if _, forgotten, err := s.CancelTask(within(t), task.ID); err != nil || !forgotten {
		t.Errorf("forgotten: %v, %v", forgotten, err)
	}
	_, err = s.GetTask(within(t), task.ID)
	refused(t, err, http.StatusNotFound, "not_found")
}

func testTaskRefused(t *testing.T, s *stand) {
	free := s.as(t, s.key(t, apikey.Create{Profile: "free"}))
	_, err := free.Task(within(t), client.TaskRequest{Description: "x", Tools: []string{"Bash"}})
	if e := refusal(t, err, http.StatusForbidden, client.CategoryPermission); e.Param != "allow_tools" {
		t.Errorf("%+v", e)
	}
	for _, err := range free.TaskStream(within(t), client.TaskRequest{}) {
		if e := refusal(t, err, http.StatusBadRequest, client.CategoryBadRequest); e.Param != "description" {
			t.Errorf("%+v", e)
		}
	}
	ctx, cancel := context.WithCancel(within(t))
	cancel()
	if _, err := s.Task(ctx, client.TaskRequest{Description: "x"}); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func testSessions(t *testing.T, s *stand) {
	ctx := within(t)
	session, err := s.CreateSession(ctx, client.SessionRequest{Model: "haiku", System: "be brief", Tools: []string{"Read"}})
	if err != nil || session.Model != "haiku" || session.System != "be brief" || session.ParentID != "" || session.TTL == 0 || session.ExpiresAt.IsZero() {
		t.Fatalf("%+v %v", session, err)
	}
	answer, err := s.Process(ctx, client.ProcessRequest{Model: "haiku", Prompt: "hello", SessionID: session.ID})
	if err != nil || answer.Content != echo("hello") {
		t.Fatalf("%+v %v", answer, err)
	}
	fork, err := s.ForkSession(ctx, session.ID)
	if err != nil || fork.ParentID != session.ID || fork.Turns != 1 {
		t.Fatalf("%+v %v", fork, err)
	}
	if list, err := s.ListSessions(ctx); err != nil || len(list) != 2 {
		t.Errorf("%+v %v", list, err)
	}
	if err := s.DeleteSession(ctx, session.ID); err != nil {
		t.Error(err)
	}
	_, err = s.GetSession(ctx, session.ID)
	refused(t, err, http.StatusNotFound, "not_found")
	if err := s.DeleteSession(ctx, fork.ID); err != nil {
		t.Error(err)
	}
}
