package taskapi_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/taskapi"
)

// script is a runner that does what a test says.
type script func(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error)

func (s script) Run(ctx context.Context, spec agent.Spec, h agent.Handler) (agent.Outcome, error) {
	return s(ctx, spec, h)
}

func (script) Transcript(string, string) ([]byte, error) { return nil, errors.New("not here") }
func (script) Forget(string, string, string) error       { return nil }
func (script) ForgetSession(string, string) error        { return nil }

func (script) Artifact(_, _, path string) (io.ReadCloser, agent.Artifact, error) {
	return io.NopCloser(strings.NewReader("<b>" + path)), agent.Artifact{Bytes: int64(len("<b>" + path))}, nil
}

// handler makes one on an engine that runs what requests bring, and whose queue waits.
func handler(t *testing.T, run script) (*taskapi.Handler, *protocoltest.Rooms) {
	t.Helper()
	store, err := sqlite.OpenJobs(t.Context(), sqlite.JobOptions{Path: filepath.Join(t.TempDir(), "tasks.db"), Synchronous: "NORMAL"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	rooms := &protocoltest.Rooms{}
	tasks := task.New(task.Options{Runner: run, Jobs: job.New(job.Options{Store: store})})
	return taskapi.New(taskapi.Options{Gateway: rooms.Gateway(), Tasks: tasks, MaxBody: 1 << 20}), rooms
}

// says is a run that waits and then says something.
func says(wait time.Duration, text string, err error) script {
	return func(_ context.Context, _ agent.Spec, h agent.Handler) (agent.Outcome, error) {
		if err := h.Event(agent.Event{Type: agent.EventStarted, Time: time.Now(), Session: "s"}); err != nil {
			return agent.Outcome{}, err
		}
		time.Sleep(wait)
		o := agent.Outcome{End: agent.EndCompleted, Text: text}
		o.Artifacts = []agent.Artifact{{Path: "a/b.html", Bytes: 1, Change: "created", Kept: true}, {Path: "large", Change: "created"}}
		return o, err
	}
}

const plain = `{"description":"x"}`

// The connection of a caller who waits is kept alive: by white space in front of an
// answer, by comments in a stream.
func TestTheConnectionIsKeptAlive(t *testing.T) {
	for _, tt := range []struct {
		name, body, beat string
		wait             time.Duration
		beats            int
	}{
		{"at once", plain, "\n", 0, 0},
		{"a minute", plain, "\n", time.Minute + time.Second, 4},
		{"a stream of a minute", `{"description":"x","stream":true}`, ": keep-alive\n", time.Minute + time.Second, 4},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h, _ := handler(t, says(tt.wait, "said", nil))
				r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/task", strings.NewReader(tt.body))
				r.Header.Set("X-Api-Key", protocoltest.Key)
				w := httptest.NewRecorder()
				protocoltest.Handler(h.Register).ServeHTTP(w, r)
				answer := w.Body.String()
				if w.Code != http.StatusOK || strings.Count(answer, `"result":"said"`) != 1 || strings.Count(answer, tt.beat) != tt.beats {
					t.Errorf("%d %q", w.Code, answer)
				}
				if tt.beat == "\n" && !jsontext.Value(answer).IsValid() {
					t.Errorf("it isn't JSON: %q", answer)
				}
				if w.Header().Get("X-Claude-Backend") != "cli" {
					t.Errorf("header %v", w.Header())
				}
			})
		})
	}
}

// Once a task has begun, its failure is told by its answer.
func TestAFailureIsAnAnswer(t *testing.T) {
	h, rooms := handler(t, says(0, "so far", apierror.New(apierror.UpstreamError, "it broke")))
	url := protocoltest.Server(t, h.Register).URL
	a := protocoltest.Post(t, url+"/v1/task", plain)
	var got task.View
	if err := json.Unmarshal([]byte(a.Body), &got); err != nil {
		t.Fatal(err)
	}
	if a.Status != http.StatusOK || got.Status != job.Failed || got.Detail != "it broke" || got.Error.Type != "upstream_error" || got.Text != "so far" || a.Header.Get("X-Error-Category") != "upstream_error" {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
	}
	if rows := rooms.Entries(); len(rows) != 1 || rows[0].Status != http.StatusBadGateway {
		t.Errorf("%+v", rows)
	}
	rooms.AdmitErr = &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: 2 * time.Second}
	for _, body := range []string{plain, `{"description":"x","stream":true}`, `{"description":"x","async":true}`} {
		if a := protocoltest.Post(t, url+"/v1/task", body); a.Status != http.StatusTooManyRequests || a.Header.Get("Retry-After") != "2" || !strings.HasPrefix(a.Body, `{"detail":"slow down"`) {
			t.Errorf("%s: %d %s", body, a.Status, a.Body)
		}
	}
}

func TestBadRequests(t *testing.T) {
	h, _ := handler(t, says(0, "", errors.New("it was begun")))
	url := protocoltest.Server(t, h.Register).URL
	for _, tt := range []struct {
		body   string
		status int
		param  string
	}{
		{`{`, 400, ""},
		{`{}`, 400, "description"},
		{`{"description":7}`, 400, "description"},
		{`{"description":"x","allow_tools":"Read"}`, 400, "allow_tools"},
		{`{"description":"x","allow_tools":["Bash"]}`, 403, "allow_tools"},
		{`{"description":"x","allow_agents":["a"]}`, 403, "allow_agents"},
		{`{"description":"x","allow_skills":["a"]}`, 403, "allow_skills"},
		{`{"description":"x","allowed_tools":["Read"]}`, 400, "allowed_tools"},
		{`{"description":"x","working_directory":"relative"}`, 403, "working_directory"},
		{`{"description":"x","timeout":0}`, 400, "timeout"},
		{`{"description":"x","timeout":90000}`, 400, "timeout"},
		{`{"description":"x","max_cost":0}`, 400, "max_cost"},
		{`{"description":"x","max_turns":0}`, 400, "max_turns"},
		{`{"description":"x","approval":"x"}`, 400, "approval"},
		{`{"description":"x","priority":9}`, 400, "priority"},
		{`{"description":"x","stream":true,"async":true}`, 400, "async"},
		{`{"description":"` + strings.Repeat("x", task.MaxDescription+1) + `"}`, 400, "description"},
	} {
		a := protocoltest.Post(t, url+"/v1/task", tt.body)
		if a.Status != tt.status || tt.param != "" && !strings.Contains(a.Body, `"param":"`+tt.param+`"`) {
			t.Errorf("%.80s: %d %s", tt.body, a.Status, a.Body)
		}
	}
	for path, status := range map[string]int{
		"/v1/tasks?status=x": 400, "/v1/tasks?limit=0": 400, "/v1/tasks?limit=x": 400, "/v1/tasks/x": 404, "/v1/tasks/x/events": 404,
		"/v1/tasks/x/events?after=-1": 400, "/v1/tasks/x/artifacts": 404, "/v1/tasks/x/artifacts/a/b": 404, "/v1/tasks?limit=5": 200,
	} {
		if a := protocoltest.Do(t, http.MethodGet, url+path, "", "X-Api-Key", protocoltest.Key); a.Status != status {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
	if a := protocoltest.Post(t, url+"/v1/tasks/x/approvals/one", `{"decision":"allow"}`); a.Status != 400 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if a := protocoltest.Do(t, http.MethodDelete, url+"/v1/tasks/x", "", "X-Api-Key", protocoltest.Key); a.Status != 404 {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

// An artifact is nothing that a browser shows.
func TestArtifact(t *testing.T) {
	h, _ := handler(t, says(0, "x", nil))
	url := protocoltest.Server(t, h.Register).URL
	var v task.View
	if err := json.Unmarshal([]byte(protocoltest.Post(t, url+"/v1/task", plain).Body), &v); err != nil {
		t.Fatal(err)
	}
	a := protocoltest.Do(t, http.MethodGet, url+"/v1/tasks/"+v.ID+"/artifacts/a/b.html", "", "X-Api-Key", protocoltest.Key)
	if a.Status != 200 || a.Body != "<b>a/b.html" || a.Header.Get("Content-Type") != "application/octet-stream" || a.Header.Get("X-Content-Type-Options") != "nosniff" || a.Header.Get("Content-Disposition") != "attachment" {
		t.Errorf("%d %v %s", a.Status, a.Header, a.Body)
	}
	for _, path := range []string{"large", "a", "a/b.html/c", "%2e%2e/x"} {
		if a := protocoltest.Do(t, http.MethodGet, url+"/v1/tasks/"+v.ID+"/artifacts/"+path, "", "X-Api-Key", protocoltest.Key); a.Status != http.StatusNotFound {
			t.Errorf("%s: %d %s", path, a.Status, a.Body)
		}
	}
}

// Who follows a queued task hears of its end, and is let go when the service stops.
func TestFollowing(t *testing.T) {
	h, _ := handler(t, nil)
	url := protocoltest.Server(t, h.Register).URL
	queued := func() (id string) {
		a := protocoltest.Post(t, url+"/v1/task", `{"description":"x","async":true,"priority":1}`)
		var v task.View
		if err := json.Unmarshal([]byte(a.Body), &v); err != nil || a.Status != http.StatusAccepted || a.Header.Get("Location") != "/v1/tasks/"+v.ID {
			t.Fatalf("%d %s %v", a.Status, a.Body, err)
		}
		return v.ID
	}
	follow := func(id string) *http.Response {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/tasks/"+id+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", protocoltest.Key)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		return response
	}
	first := queued()
	cancelled := follow(first)
	defer func() { _ = cancelled.Body.Close() }()
	if a := protocoltest.Do(t, http.MethodDelete, url+"/v1/tasks/"+first, "", "X-Api-Key", protocoltest.Key); a.Status != http.StatusOK || !strings.Contains(a.Body, `"status":"cancelled"`) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if all, err := io.ReadAll(cancelled.Body); err != nil || !strings.Contains(string(all), "event: error\ndata: {\"type\":\"error\"") || strings.Contains(string(all), "id: ") {
		t.Errorf("%s, %v", all, err)
	}
	left := follow(queued())
	defer func() { _ = left.Body.Close() }()
	if line, err := bufio.NewReader(left.Body).ReadString('\n'); err != nil || line != ": events\n" {
		t.Errorf("%q, %v", line, err)
	}
	if err := h.With(taskapi.Options{}).Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadAll(left.Body); err != nil {
		t.Error(err)
	}
}

// TestReadersAreBounded: each costs the service something for as long as it stays.
func TestReadersAreBounded(t *testing.T) {
	h, _ := handler(t, nil)
	url := protocoltest.Server(t, h.Register).URL
	var v task.View
	if err := json.Unmarshal([]byte(protocoltest.Post(t, url+"/v1/task", `{"description":"x","async":true}`).Body), &v); err != nil {
		t.Fatal(err)
	}
	follow := func() (status int, retryAfter string) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/v1/tasks/"+v.ID+"/events", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", protocoltest.Key)
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = response.Body.Close() })
		return response.StatusCode, response.Header.Get("Retry-After")
	}
	for i := range 100 {
		if status, _ := follow(); status != http.StatusOK {
			t.Fatalf("reader %d: %d", i, status)
		}
	}
	if status, retryAfter := follow(); status != http.StatusTooManyRequests || retryAfter == "" {
		t.Errorf("one more: %d, %q", status, retryAfter)
	}
	if a := protocoltest.Do(t, http.MethodDelete, url+"/v1/tasks/"+v.ID, "", "X-Api-Key", protocoltest.Key); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	// All streams end with the task.
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		status, _ := follow()
		if status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("after their end: %d", status)
		}
	}
}

func TestOperations(t *testing.T) {
	h, _ := handler(t, says(0, "said", nil))
	url := protocoltest.Server(t, h.Register).URL
	doc := protocoltest.Document(t, h.Operations(), "Task")
	operation := doc.Paths.Find("/v1/task").Post
	a := protocoltest.Post(t, url+"/v1/task", plain)
	if err := protocoltest.Fits(t, operation.Responses.Status(200).Value.Content.Get("application/json").Schema, a.Body); err != nil {
		t.Errorf("%s: %v", a.Body, err)
	}
	later := protocoltest.Post(t, url+"/v1/task", `{"description":"x","async":true}`)
	if err := protocoltest.Fits(t, operation.Responses.Status(202).Value.Content.Get("application/json").Schema, later.Body); err != nil {
		t.Errorf("%s: %v", later.Body, err)
	}
	events := protocoltest.Post(t, url+"/v1/task", `{"description":"x","stream":true}`)
	schema := operation.Responses.Status(200).Value.Content.Get("text/event-stream").Schema
	for line := range strings.Lines(events.Body) {
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			if err := protocoltest.Fits(t, schema, data); err != nil {
				t.Errorf("%s: %v", data, err)
			}
		}
	}
	refused := protocoltest.Post(t, url+"/v1/task", `{}`)
	protocoltest.DocumentsHeaders(t, operation, refused)
}
