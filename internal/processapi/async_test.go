package processapi_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

const later = `{"provider":"openai","model_name":"gpt-4","content":"hi","memory":1,"async_processing":true}`

// outcome is what GET /v1/process/{id} gives.
type outcome struct {
	ID          string         `json:"id"`
	Status      string         `json:"status"`
	StatusURL   string         `json:"status_url"`
	CreatedAt   time.Time      `json:"created_at"`
	CompletedAt time.Time      `json:"completed_at"`
	Response    jsontext.Value `json:"response"`
	Detail      string         `json:"detail"`
	Error       struct {
		Type string `json:"type"`
	} `json:"error"`
}

func parse(t *testing.T, body string) outcome {
	t.Helper()
	var o outcome
	if err := json.Unmarshal([]byte(body), &o); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	return o
}

// accepted starts an asynchronous request.
func accepted(t *testing.T, url string) outcome {
	t.Helper()
	answer := protocoltest.Post(t, url+"/v1/process", later)
	o := parse(t, answer.Body)
	if answer.Status != http.StatusAccepted || o.Status != "running" || o.ID == "" || o.StatusURL != "/v1/process/"+o.ID || answer.Header.Get("Location") != o.StatusURL {
		t.Fatalf("%d %s %v", answer.Status, answer.Body, answer.Header)
	}
	if answer.Header.Get("X-Claude-Warnings") != "memory: has no effect here" || answer.Header.Get("X-Claude-Backend") != "cli" {
		t.Errorf("header = %v", answer.Header)
	}
	return o
}

func get(t *testing.T, url string) outcome {
	t.Helper()
	answer := protocoltest.Do(t, http.MethodGet, url, "", "X-Api-Key", protocoltest.Key)
	if answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	return parse(t, answer.Body)
}

// settled asks until a request isn't running any more.
func settled(t *testing.T, url string) outcome {
	t.Helper()
	for {
		if o := get(t, url); o.Status != "running" {
			return o
		}
		if t.Context().Err() != nil {
			t.Fatal("it never ended")
		}
	}
}

func TestAsync(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 1), let: make(chan struct{})}
	url := start(t, rooms.options())
	o := accepted(t, url)
	<-rooms.began
	if running := get(t, url+o.StatusURL); running.Status != "running" || running.CreatedAt.IsZero() || running.Response != nil {
		t.Errorf("running: %+v", running)
	}
	close(rooms.let)
	done := settled(t, url+o.StatusURL)
	if done.Status != "completed" || done.ID != o.ID || done.CompletedAt.Before(done.CreatedAt) || done.Detail != "" {
		t.Errorf("done: %+v", done)
	}
	const want = `{"content":"hel\"lo","model":"gpt-4","provider":"openai","metadata":{"actual_model":"claude-sonnet-5-5","usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0,` +
		`"cache_read_input_tokens":0,"cache_creation_input_tokens":0},"cost_usd":null,"processing_time":T,"finish_reason":"length","mapped_from":"openai:gpt-4 → claudecode:sonnet","warnings":["memory: has no effect here"]}}`
	if got := measured.ReplaceAllString(string(done.Response), `"processing_time":T`); got != want {
		t.Errorf("response\n%s, want\n%s", got, want)
	}
	if entries := rooms.Entries(); len(entries) != 1 || entries[0].Status != 200 || entries[0].Endpoint != "/v1/process" {
		t.Errorf("entries = %+v", entries)
	}
}

func TestAsyncFailsLater(t *testing.T) {
	url := start(t, options(&protocoltest.Rooms{Err: apierror.New(apierror.CLIError, "the CLI died")}))
	if o := settled(t, url+accepted(t, url).StatusURL); o.Status != "failed" || o.Detail != "the CLI died" || o.Error.Type != "cli_error" || o.Response != nil {
		t.Errorf("outcome = %+v", o)
	}
}

// What refuses a request before anything is spent has its own status.
func TestAsyncIsRefused(t *testing.T) {
	full := &shelf{fail: errors.New("disk full")}
	for _, tt := range []struct {
		name   string
		rooms  *protocoltest.Rooms
		shelf  *shelf
		status int
	}{
		{"by the limits", &protocoltest.Rooms{AdmitErr: &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: time.Second}}, &shelf{}, 429},
		{"by the archive", &protocoltest.Rooms{}, full, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(tt.rooms)
			o.Archive = tt.shelf
			answer := protocoltest.Post(t, start(t, o)+"/v1/process", later)
			if answer.Status != tt.status || answer.Header.Get("Location") != "" {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
			if len(tt.rooms.Calls()) != 0 || len(tt.shelf.kept) != 0 {
				t.Error("it ran all the same")
			}
		})
	}
}

func TestAsyncIsTheKeysOwn(t *testing.T) {
	o := options(&protocoltest.Rooms{})
	shelf := &shelf{kept: map[string][]byte{"process/other/proc_1": []byte(`{}`)}}
	o.Archive = shelf
	url := start(t, o)
	for _, id := range []string{"proc_1", "proc_2", "..%2fx"} {
		answer := protocoltest.Do(t, http.MethodGet, url+"/v1/process/"+id, "", "X-Api-Key", protocoltest.Key)
		if answer.Status != http.StatusNotFound || !strings.Contains(answer.Body, `"code":"not_found"`) {
			t.Errorf("%s: %d %s", id, answer.Status, answer.Body)
		}
	}
	if answer := protocoltest.Do(t, http.MethodGet, url+"/v1/process/proc_1", ""); answer.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", answer.Status)
	}
}

// One that a former process was running when it was killed.
func TestAsyncAfterACrash(t *testing.T) {
	o := options(&protocoltest.Rooms{})
	o.Archive = &shelf{kept: map[string][]byte{"process/k1/proc_1": []byte(`{"id":"proc_1","status":"running","created_at":"2026-01-02T03:04:05Z"}`)}}
	if got := get(t, start(t, o)+"/v1/process/proc_1"); got.Status != "failed" || got.Error.Type != "overloaded" || !strings.Contains(got.Detail, "stopped") || got.CreatedAt.Year() != 2026 {
		t.Errorf("outcome = %+v", got)
	}
}

func TestAsyncTimeouts(t *testing.T) {
	for _, tt := range []struct {
		name, body string
		timeout    time.Duration
	}{
		{"the service's", later, 20 * time.Millisecond},
		{"the caller's", strings.Replace(later, "{", `{"timeout":0.02,`, 1), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := (&waiting{Rooms: &protocoltest.Rooms{}}).options()
			o.AsyncTimeout = tt.timeout
			url := start(t, o)
			answer := protocoltest.Post(t, url+"/v1/process", tt.body)
			if got := settled(t, url+parse(t, answer.Body).StatusURL); got.Status != "failed" || got.Error.Type != "timeout" {
				t.Errorf("outcome = %+v", got)
			}
		})
	}
}

func TestStop(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 2), let: make(chan struct{})}
	h := processapi.New(rooms.options())
	url := protocoltest.Server(t, h.Register).URL
	quick, slow := accepted(t, url), accepted(t, url)
	<-rooms.began
	<-rooms.began
	rooms.let <- struct{}{} // one of the two goes on
	for get(t, url+quick.StatusURL).Status == "running" && get(t, url+slow.StatusURL).Status == "running" {
		continue
	}

	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- h.Stop(ctx) }()
	// Nothing new begins while it waits.
	for {
		answer := protocoltest.Post(t, url+"/v1/process", later)
		if answer.Status == http.StatusServiceUnavailable && answer.Header.Get("Retry-After") != "" {
			break
		}
		<-rooms.began
	}
	select {
	case err := <-stopped:
		t.Fatalf("it didn't wait: %v", err)
	default:
	}
	cancel()
	if err := <-stopped; !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if err := h.Stop(t.Context()); err != nil {
		t.Errorf("a second time: %v", err)
	}
	outcomes := []outcome{get(t, url+quick.StatusURL), get(t, url+slow.StatusURL)}
	failed := 0
	for _, o := range outcomes {
		if o.Status == "failed" {
			failed++
			if o.Error.Type != "overloaded" || !strings.Contains(o.Detail, "the service stopped") || o.CompletedAt.IsZero() {
				t.Errorf("outcome = %+v", o)
			}
		}
	}
	if failed != 1 {
		t.Errorf("outcomes = %+v, want one that failed", outcomes)
	}
}
