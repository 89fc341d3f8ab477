package adminapi_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
)

// asks is a run that asks once, and has kept a file.
func asks(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
	if err := started(h); err != nil {
		return agent.Outcome{}, err
	}
	d, err := h.Permit(ctx, agent.PermitRequest{ToolID: "t1", Tool: "Bash", Input: jsontext.Value(`{"command":"ls"}`)})
	text, jsonErr := json.Marshal(d)
	return agent.Outcome{
		End: agent.EndCompleted, Text: string(text), Artifacts: []agent.Artifact{{Path: "made/here.html", Bytes: 3, Change: "created", Kept: true}},
	}, errors.Join(err, jsonErr)
}

// started tells that the agent has begun.
func started(h agent.Handler) error {
	return h.Event(agent.Event{Type: agent.EventStarted, Time: time.Now(), Session: "s1", Workspace: "0011223344556677", Model: "claude-haiku-5-5"})
}

// submit queues a task of a key.
func (h *hall) submit(t *testing.T, keyID, description string) (id string) {
	t.Helper()
	account, err := h.keys.Find(t.Context(), keyID)
	if err != nil {
		t.Fatal(err)
	}
	call, err := h.gateway.OpenFor(t.Context(), "req_task", task.Endpoint, &gateway.Caller{
		KeyID: keyID, ProjectID: account.Key.ProjectID, Permissions: account.Profile.Permissions,
	}, "")
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.tasks.Submit(t.Context(), h.gateway, call, &task.Request{Description: description, Approval: task.ApprovalAsk})
	if err != nil {
		t.Fatal(err)
	}
	return v.ID
}

// follow reads a task's events until one of a type, "" for all.
func (h *hall) follow(t *testing.T, id, until string, header ...string) []frame {
	t.Helper()
	response := h.request(t, http.MethodGet, "/tasks/"+id+"/events", "", append(header, "X-Api-Key", h.admin)...)
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d, %v", response.StatusCode, response.Header)
	}
	list := frames(t, response.Body, func(f frame) bool { return f.event == until })
	if until != "" && (len(list) == 0 || list[len(list)-1].event != until) {
		t.Fatalf("there is no %s among %s", until, events(list))
	}
	return list
}

type taskTold struct {
	ID          string           `json:"id"`
	KeyID       string           `json:"key_id"`
	ProjectID   string           `json:"project_id"`
	Status      string           `json:"status"`
	Description string           `json:"description"`
	Result      string           `json:"result"`
	Cancelling  bool             `json:"cancelling"`
	Deleted     bool             `json:"deleted"`
	Approvals   []jsontext.Value `json:"approvals"`
}

// TestATaskOfAnyKey follows a task of a key, answers it, and forgets it.
func TestATaskOfAnyKey(t *testing.T) {
	h := newHall(t)
	h.runner.run = asks
	id := h.submit(t, h.keyID, "clean up")
	first := h.follow(t, id, task.EventApproval)
	var one taskTold
	h.get(t, http.MethodGet, "/tasks/"+id, "", &one)
	if one.ID != id || one.KeyID != h.keyID || one.ProjectID != "alpha" || one.Status != "running" || one.Description != "clean up" || len(one.Approvals) != 1 {
		t.Errorf("%+v", one)
	}
	reply := func(body string, status int, param string) refusal {
		return refusal{http.MethodPost, "/tasks/" + id + "/approvals/1", body, status, param}
	}
	h.refuses(
		t, reply(`{}`, http.StatusBadRequest, "decision"), reply(`{"decision":"perhaps"}`, http.StatusBadRequest, "decision"), reply(`{"decision":1}`, http.StatusBadRequest, "decision"),
		reply(`{"decision":"deny","input":{}}`, http.StatusBadRequest, "input"), reply(`{"decision":"deny","message":"`+strings.Repeat("x", task.MaxReason+1)+`"}`, http.StatusBadRequest, "message"),
		reply(`{"decision":"deny","reason":"x"}`, http.StatusBadRequest, "reason"),
		refusal{http.MethodPost, "/tasks/" + id + "/approvals/2", `{"decision":"allow"}`, http.StatusNotFound, "n"}, refusal{http.MethodPost, "/tasks/" + id + "/approvals/x", `{"decision":"allow"}`, http.StatusBadRequest, "n"},
	)
	if status, text := h.ask(t, http.MethodPost, "/tasks/"+id+"/approvals/1", `{"decision":"allow","input":{"command":"pwd"}}`); status != http.StatusNoContent {
		t.Fatalf("%d %s", status, text)
	}
	last := first[len(first)-1]
	rest := h.follow(t, id, "", "Last-Event-ID", last.id)
	if rest[0].event != task.EventResolved || !strings.Contains(string(rest[0].data), `"by":"admin"`) || rest[len(rest)-1].event != task.EventResult {
		t.Errorf("after %s: %s, %s", last.id, events(rest), rest[0].data)
	}
	whole := h.follow(t, id, "")
	if got, want := events(whole), events(first)+" "+events(rest); got != want {
		t.Errorf("all: %s, want %s", got, want)
	}
	response := h.request(t, http.MethodGet, "/tasks/"+id+"/events?after="+last.id, "", "X-Api-Key", h.admin)
	if got := events(frames(t, response.Body, nil)); got != events(rest) {
		t.Errorf("after %s in the query: %s", last.id, got)
	}
	if h.get(t, http.MethodGet, "/tasks/"+id, "", &one); one.Status != "completed" || one.Result != `{"Allow":true,"Input":{"command":"pwd"},"Reason":""}` {
		t.Errorf("%+v", one)
	}
	h.refuses(t, reply(`{"decision":"allow"}`, http.StatusConflict, ""))

	var list struct {
		Artifacts []task.Artifact `json:"artifacts"`
	}
	if h.get(t, http.MethodGet, "/tasks/"+id+"/artifacts", "", &list); len(list.Artifacts) != 1 || list.Artifacts[0].Path != "made/here.html" {
		t.Errorf("%+v", list)
	}
	file := h.request(t, http.MethodGet, "/tasks/"+id+"/artifacts/made/here.html", "", "X-Api-Key", h.admin)
	content, err := io.ReadAll(file.Body)
	if err != nil || file.StatusCode != http.StatusOK || !strings.HasPrefix(string(content), "<script>") {
		t.Errorf("%d %s, %v", file.StatusCode, content, err)
	}
	for name, want := range map[string]string{"Content-Type": "application/octet-stream", "Content-Disposition": "attachment", "X-Content-Type-Options": "nosniff", "Content-Security-Policy": "sandbox", "Cache-Control": "no-store"} {
		if got := file.Header.Get(name); got != want {
			t.Errorf("%s: %s", name, got)
		}
	}
	var gone taskTold
	if h.get(t, http.MethodDelete, "/tasks/"+id, "", &gone); gone.ID != id || !gone.Deleted {
		t.Errorf("%+v", gone)
	}
	if got, want := h.noted(t), []string{"task.approved " + id + " question 1", "task.forgotten " + id}; !slices.Equal(got, want) {
		t.Errorf("noted %q", got)
	}
	h.refuses(
		t, refusal{http.MethodGet, "/tasks/" + id, "", http.StatusNotFound, "id"}, refusal{http.MethodDelete, "/tasks/" + id, "", http.StatusNotFound, "id"},
		refusal{http.MethodGet, "/tasks/" + id + "/events", "", http.StatusNotFound, "id"}, refusal{http.MethodGet, "/tasks/" + id + "/artifacts", "", http.StatusNotFound, "id"},
		refusal{http.MethodGet, "/tasks/" + id + "/artifacts/x", "", http.StatusNotFound, "id"}, reply(`{"decision":"allow"}`, http.StatusNotFound, "id"),
		refusal{http.MethodGet, "/tasks/" + id + "/events?after=x", "", http.StatusBadRequest, "after"},
	)
}

// TestTasksOfAllKeys are listed together, page by page, and ended.
func TestTasksOfAllKeys(t *testing.T) {
	h := newHall(t)
	release := make(chan struct{})
	h.runner.run = func(ctx context.Context, spec agent.Spec, handler agent.Handler) (agent.Outcome, error) {
		if err := started(handler); err != nil {
			return agent.Outcome{}, err
		}
		if strings.Contains(string(spec.Prompt), "quick") {
			return agent.Outcome{End: agent.EndCompleted, Text: "done"}, nil
		}
		select {
		case <-release:
			return agent.Outcome{End: agent.EndCompleted}, nil
		case <-ctx.Done():
			return agent.Outcome{}, ctx.Err()
		}
	}
	defer close(release)
	_, other := h.make(t, apikey.Create{ProjectID: "beta", Profile: apikey.ProfileEnterprise})
	quick := h.submit(t, h.keyID, "quick")
	h.follow(t, quick, task.EventResult)
	var slow []string
	for _, key := range []string{h.keyID, other, other} { // two run at once
		slow = append([]string{h.submit(t, key, "slow")}, slow...)
	}
	h.until(t, slow[2], job.Running)
	h.until(t, slow[1], job.Running)
	type page struct {
		Tasks []taskTold `json:"tasks"`
		Next  *string    `json:"next"`
	}
	var ids []string
	path := "/tasks?limit=3"
	for {
		var p page
		h.get(t, http.MethodGet, path, "", &p)
		for _, one := range p.Tasks {
			ids = append(ids, one.ID)
			if (one.KeyID == other) != (one.ProjectID == "beta") || one.Description == "" || one.Result != "" {
				t.Errorf("%+v", one)
			}
		}
		if p.Next == nil {
			break
		}
		path = "/tasks?limit=3&before=" + *p.Next
	}
	if want := append(slices.Clone(slow), quick); !slices.Equal(ids, want) {
		t.Errorf("the pages hold %v, want %v", ids, want)
	}
	for state, want := range map[string][]string{"queued": slow[:1], "running": slow[1:], "completed": {quick}, "failed": {}} {
		var p page
		h.get(t, http.MethodGet, "/tasks?state="+state, "", &p)
		got := []string{}
		for _, one := range p.Tasks {
			got = append(got, one.ID)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", state, got, want)
		}
	}
	h.refuses(
		t, refusal{http.MethodGet, "/tasks?state=asleep", "", http.StatusBadRequest, "state"}, refusal{http.MethodGet, "/tasks?limit=x", "", http.StatusBadRequest, "limit"},
	)
	for i, want := range []int{http.StatusOK, http.StatusAccepted} { // first the one that waits
		id := slow[i]
		status, text := h.ask(t, http.MethodDelete, "/tasks/"+id, "")
		if status != want || !strings.Contains(text, `"key_id":"`+other+`"`) {
			t.Errorf("%d %s, want %d", status, text, want)
		}
		h.until(t, id, job.Cancelled)
	}
	if noted := h.noted(t); len(noted) != 2 || !strings.HasPrefix(noted[0], "task.cancelled ") || !strings.HasPrefix(noted[1], "task.cancelled ") {
		t.Errorf("noted %q", noted)
	}
}

// until follows a task until it is in a state.
func (h *hall) until(t *testing.T, id string, state job.State) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	owner, err := h.tasks.Owner(ctx, id)
	if err != nil {
		t.Fatal(err)
	}
	events, err := h.tasks.Events(ctx, owner, id, 0)
	if err != nil {
		t.Fatal(err)
	}
	is := func() job.State {
		j, err := h.jobs.Find(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		return j.State
	}
	for _, err := range events {
		if err != nil {
			t.Fatal(err)
		}
		if is() == state {
			return
		}
	}
	if now := is(); now != state {
		t.Fatalf("%s is %s, want %s", id, now, state)
	}
}

// TestFollowingEnds ends a stream of events with the key that it was asked for by, and
// with the service.
func TestFollowingEnds(t *testing.T) {
	h := newHall(t)
	h.runner.run = asks
	id := h.submit(t, h.keyID, "wait")
	other, otherID := h.make(t, apikey.Create{ProjectID: "house", Admin: true})
	open := func(key string) *heard {
		response := h.request(t, http.MethodGet, "/tasks/"+id+"/events", "", "X-Api-Key", key)
		if response.StatusCode != http.StatusOK {
			t.Fatal(response.StatusCode)
		}
		return response
	}
	followed, ours := open(other), open(h.admin)
	if status, _ := h.ask(t, http.MethodDelete, "/keys/"+otherID, ""); status != http.StatusNoContent {
		t.Fatal(status)
	}
	ended := make(chan string, 2)
	read := func(response *heard) { ended <- events(frames(t, response.Body, nil)) }
	go read(followed)
	wait := func(what string) {
		t.Helper()
		select {
		case got := <-ended:
			if !strings.HasPrefix(got, task.EventStatus) {
				t.Errorf("%s: %s", what, got)
			}
		case <-time.After(patience):
			t.Fatalf("%s: it goes on", what)
		}
	}
	wait("a revoked key")
	go read(ours)
	if err := h.handler.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	wait("the service stops")
}

// TestFollowersAreBounded has as many read at once as may, and one more.
func TestFollowersAreBounded(t *testing.T) {
	h := newHall(t)
	h.runner.run = asks
	id := h.submit(t, h.keyID, "wait")
	for range 50 {
		if response := h.request(t, http.MethodGet, "/tasks/"+id+"/events", "", "X-Api-Key", h.admin); response.StatusCode != http.StatusOK {
			t.Fatal(response.StatusCode)
		}
	}
	if response := h.request(t, http.MethodGet, "/tasks/"+id+"/events", "", "X-Api-Key", h.admin); response.StatusCode != http.StatusTooManyRequests || response.Header.Get("Retry-After") == "" {
		t.Errorf("one more: %d, %v", response.StatusCode, response.Header)
	}
}
