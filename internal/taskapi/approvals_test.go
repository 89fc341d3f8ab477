package taskapi_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/task"
)

// asks is a run that asks whether it may use a tool, and doesn't end before it is let.
func asks(let <-chan struct{}) script {
	return func(ctx context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		if err := h.Event(agent.Event{Type: agent.EventStarted, Time: time.Now(), Session: "s"}); err != nil {
			return agent.Outcome{}, err
		}
		_, err := h.Permit(ctx, agent.PermitRequest{ToolID: "toolu_1", Tool: "Bash", Input: jsontext.Value(`{"command":"ls"}`)})
		<-let
		return agent.Outcome{End: agent.EndCompleted}, err
	}
}

// Whoever only asks what became of a task sees that it waits for an answer.
func TestPollingForApprovals(t *testing.T) {
	let := make(chan struct{})
	h, _ := handler(t, asks(let))
	url := protocoltest.Server(t, h.Register).URL
	paths := protocoltest.Document(t, h.Operations(), "Task").Paths
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/task", strings.NewReader(`{"description":"x","approval":"ask","stream":true}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", protocoltest.Key)
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	stream := bufio.NewReader(response.Body)
	until := func(event string) {
		t.Helper()
		for {
			line, err := stream.ReadString('\n')
			if err != nil {
				t.Fatalf("before %s: %v", event, err)
			}
			if line == "event: "+event+"\n" {
				return
			}
		}
	}
	until(task.EventApproval)
	ask := func(path, documented string) string {
		t.Helper()
		a := protocoltest.Do(t, http.MethodGet, url+path, "", "X-Api-Key", protocoltest.Key)
		if err := protocoltest.Fits(t, paths.Value(documented).Get.Responses.Status(a.Status).Value.Content.Get("application/json").Schema, a.Body); err != nil {
			t.Errorf("%s: %v", a.Body, err)
		}
		return a.Body
	}
	list := ask("/v1/tasks", "/v1/tasks")
	var all struct {
		Tasks []task.View `json:"tasks"`
	}
	if err := json.Unmarshal([]byte(list), &all); err != nil || len(all.Tasks) != 1 {
		t.Fatalf("%s, %v", list, err)
	}
	id := all.Tasks[0].ID
	one := ask("/v1/tasks/"+id, "/v1/tasks/{id}")
	for _, body := range []string{list, one} {
		if !strings.Contains(body, `"status":"running"`) || !strings.Contains(body, `"approvals":[{"n":1,"tool":"Bash","tool_use_id":"toolu_1","input":{"command":"ls"},"expires_at":"`) {
			t.Error(body)
		}
	}
	if a := protocoltest.Post(t, url+"/v1/tasks/"+id+"/approvals/1", `{"decision":"allow"}`); a.Status != http.StatusOK {
		t.Fatalf("%d %s", a.Status, a.Body)
	}
	until(task.EventResolved)
	for _, body := range []string{ask("/v1/tasks", "/v1/tasks"), ask("/v1/tasks/"+id, "/v1/tasks/{id}")} {
		if !strings.Contains(body, `"status":"running"`) || strings.Contains(body, "approvals") {
			t.Error(body)
		}
	}
	close(let)
	if rest, err := io.ReadAll(stream); err != nil || !strings.Contains(string(rest), `"status":"`+string(job.Completed)+`"`) || strings.Contains(string(rest), "approvals") {
		t.Errorf("%s, %v", rest, err)
	}
}
