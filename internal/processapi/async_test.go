package processapi_test

import (
	"context"
	"errors"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
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

// full is a desk that takes nothing.
type full struct{ *desk }

func (full) Submit(context.Context, job.Job) (job.Job, error) {
	return job.Job{}, errors.New("disk full")
}

// What refuses a request before anything is spent has its own status.
func TestAsyncIsRefused(t *testing.T) {
	for _, tt := range []struct {
		name   string
		rooms  *protocoltest.Rooms
		full   bool
		status int
	}{
		{"by the limits", &protocoltest.Rooms{AdmitErr: &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: time.Second}}, false, 429},
		{"by the store", &protocoltest.Rooms{}, true, 500},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options(tt.rooms)
			if tt.full {
				o.Jobs = full{&desk{t: t, path: filepath.Join(t.TempDir(), "tasks.db")}}
			}
			answer := protocoltest.Post(t, start(t, o)+"/v1/process", later)
			if answer.Status != tt.status || answer.Header.Get("Location") != "" {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
			if len(tt.rooms.Calls()) != 0 || len(tt.rooms.Entries()) != 0 {
				t.Error("it ran all the same")
			}
		})
	}
}

func TestAsyncIsTheKeysOwn(t *testing.T) {
	url, d := startDesk(t, options(&protocoltest.Rooms{}))
	for _, j := range []job.Job{
		{ID: "proc_1", Kind: job.KindProcess, KeyID: "other", Request: jsontext.Value(`{}`)},
		{ID: "batch_1", Kind: job.KindBatch, KeyID: "k1", Request: jsontext.Value(`{}`)},
	} {
		if _, err := d.Submit(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"/v1/process/proc_1", "/v1/process/proc_2", "/v1/process/..%2fx", "/v1/process/batch_1", "/v1/batch/proc_1"} {
		answer := protocoltest.Do(t, http.MethodGet, url+path, "", "X-Api-Key", protocoltest.Key)
		if answer.Status != http.StatusNotFound || !strings.Contains(answer.Body, `"code":"not_found"`) {
			t.Errorf("%s: %d %s", path, answer.Status, answer.Body)
		}
	}
	if answer := protocoltest.Do(t, http.MethodGet, url+"/v1/process/proc_1", ""); answer.Status != http.StatusUnauthorized {
		t.Errorf("without a key: %d", answer.Status)
	}
}

// TestAsyncOfARevokedKey: nobody's request is served.
func TestAsyncOfARevokedKey(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	o := options(rooms)
	o.Callers = callers{apierror.New(apierror.AuthError, "invalid API key")}
	url := start(t, o)
	if got := settled(t, url+accepted(t, url).StatusURL); got.Status != "failed" || got.Error.Type != "auth_error" || len(rooms.Calls()) != 0 {
		t.Errorf("outcome = %+v, %d calls", got, len(rooms.Calls()))
	}
}

// limits refuses the first calls that a request makes when it runs.
type limits struct {
	*protocoltest.Rooms
	refuse atomic.Int64 // so many, after the first of all
}

func (l *limits) options() processapi.Options {
	o := options(l.Rooms)
	o.Gateway = gateway.New(gateway.Options{Authenticator: l, Admitter: l, Router: l, Recorder: l, Observer: l})
	return o
}

func (l *limits) Reserve(ctx context.Context, call *gateway.Call) error {
	if n := l.refuse.Add(-1); n >= 0 {
		return &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: time.Millisecond}
	}
	return l.Rooms.Reserve(ctx, call)
}

// TestLimitsAreWaitedFor: what was accepted isn't refused later, and has one row.
func TestLimitsAreWaitedFor(t *testing.T) {
	rooms := &limits{Rooms: &protocoltest.Rooms{Message: []byte(whole)}}
	url := start(t, rooms.options())
	for _, tt := range []struct{ path, body string }{{"/v1/process", later}, {"/v1/batch", laterBatch}} {
		before := len(rooms.Entries())
		rooms.refuse.Store(0)
		if tt.path == "/v1/batch" {
			rooms.refuse.Store(1)
		}
		answer := protocoltest.Post(t, url+tt.path, tt.body)
		if got := settled(t, url+parse(t, answer.Body).StatusURL); got.Status != "completed" {
			t.Errorf("outcome = %+v", got)
		}
		if n := len(rooms.Entries()) - before; tt.path == "/v1/process" && n != 1 || tt.path == "/v1/batch" && n != 3 {
			t.Errorf("%s: %d rows", tt.path, n)
		}
	}
}

// TestAsyncGoesOn after the service stopped in the middle, with a new one.
func TestAsyncGoesOn(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 1), let: make(chan struct{}, 1)}
	url, d := startDesk(t, rooms.options())
	o := accepted(t, url)
	<-rooms.began
	cut(t, d)
	if got := get(t, url+o.StatusURL); got.Status != "running" {
		t.Errorf("between two services: %+v", got)
	}
	<-rooms.began
	rooms.let <- struct{}{}
	if got := settled(t, url+o.StatusURL); got.Status != "completed" || got.Response == nil {
		t.Errorf("outcome = %+v", got)
	}
	if entries := rooms.Entries(); len(entries) != 2 || entries[0].Status != 503 || entries[1].Status != 200 {
		t.Errorf("entries = %+v", entries)
	}
}

// handing has the engine take no more jobs, and doesn't wait for those that run.
func handing(t *testing.T, d *desk) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.engine.Hand(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Hand = %v", err)
	}
}

// cut stops the service without waiting, and makes another one on the same jobs.
func cut(t *testing.T, d *desk) {
	t.Helper()
	former := d.handler
	handing(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := former.Stop(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Stop = %v", err)
	}
	if err := d.engine.Hand(t.Context()); err != nil {
		t.Error(err)
	}
	d.close()
	d.handler = processapi.New(d.options)
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

// TestAFailureDuringAStopIsAnEnd: what fails by itself while others wait for it isn't
// done, and charged, again by the next service.
func TestAFailureDuringAStopIsAnEnd(t *testing.T) {
	failing := &apierror.Error{Category: apierror.CLIError, Message: "the model is gone"}
	rooms := &waiting{Rooms: &protocoltest.Rooms{Err: failing}, began: make(chan *gateway.Call, 1), let: make(chan struct{})}
	url, d := startDesk(t, rooms.options())
	o := accepted(t, url)
	<-rooms.began
	handing(t, d)
	close(rooms.let)
	if err := errors.Join(d.handler.Stop(t.Context()), d.engine.Hand(t.Context())); err != nil {
		t.Error(err)
	}
	if got := get(t, url+o.StatusURL); got.Status != "failed" || len(rooms.Entries()) != 1 {
		t.Errorf("outcome = %+v, %d rows", got, len(rooms.Entries()))
	}
}

// TestStopWaits for what runs.
func TestStopWaits(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 1), let: make(chan struct{})}
	url, d := startDesk(t, rooms.options())
	o := accepted(t, url)
	<-rooms.began
	stopped := make(chan error, 1)
	handed := make(chan error, 1)
	go func() { handed <- d.engine.Hand(t.Context()) }()
	go func() { stopped <- d.handler.Stop(t.Context()) }()
	select {
	case err := <-stopped:
		t.Fatalf("it didn't wait: %v", err)
	default:
	}
	close(rooms.let)
	if err := errors.Join(<-stopped, <-handed, d.handler.Stop(t.Context())); err != nil {
		t.Error(err)
	}
	if got := get(t, url+o.StatusURL); got.Status != "completed" || len(rooms.Entries()) != 1 {
		t.Errorf("outcome = %+v, %d rows", got, len(rooms.Entries()))
	}
}

const laterBatch = `{"prompts":["a","b",{"prompt":"c","id":"x"}],"async_processing":true}`

func TestAsyncBatch(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 3), let: make(chan struct{})}
	o := rooms.options()
	o.BatchParallel = 1
	url, d := startDesk(t, o)
	answer := protocoltest.Post(t, url+"/v1/batch", laterBatch)
	accepted := parse(t, answer.Body)
	if answer.Status != http.StatusAccepted || accepted.Status != "running" || accepted.StatusURL != "/v1/batch/"+accepted.ID || answer.Header.Get("Location") != accepted.StatusURL {
		t.Fatalf("%d %s %v", answer.Status, answer.Body, answer.Header)
	}
	<-rooms.began
	rooms.let <- struct{}{}
	<-rooms.began // the second
	so := get(t, url+accepted.StatusURL)
	if want := `{"total":3,"completed":1,"failed":0,"results":[{"id":"0","prompt":"a",`; so.Status != "running" || !strings.HasPrefix(string(so.Response), want) {
		t.Errorf("so far: %+v", so)
	}
	cut(t, d)
	get(t, url+accepted.StatusURL) // another one goes on
	<-rooms.began
	close(rooms.let)
	all := settled(t, url+accepted.StatusURL)
	if want := `{"total":3,"completed":3,"failed":0,"results":[{"id":"0","prompt":"a",`; all.Status != "completed" || !strings.HasPrefix(string(all.Response), want) || !strings.Contains(string(all.Response), `{"id":"x","prompt":"c","status":"completed"`) {
		t.Errorf("all: %+v", all)
	}
	if entries := rooms.Entries(); len(entries) != 4 || entries[1].Status != 503 {
		t.Errorf("%d rows, want one for each prompt, and that which was cut off: %+v", len(entries), entries)
	}
}

// TestABatchNotesWhatIsDone also where nothing more of it ends for long: a death then must not
// have it asked again.
func TestABatchNotesWhatIsDone(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 3), let: make(chan struct{})}
	o := rooms.options()
	o.BatchParallel = 3
	url, _ := startDesk(t, o)
	status := url + parse(t, protocoltest.Post(t, url+"/v1/batch", laterBatch).Body).StatusURL
	for range 3 {
		<-rooms.began
	}
	rooms.let <- struct{}{}
	rooms.let <- struct{}{} // within the time in which not each is noted
	for deadline := time.Now().Add(20 * time.Second); !strings.HasPrefix(string(get(t, status).Response), `{"total":3,"completed":2,`); {
		if time.Now().After(deadline) {
			t.Errorf("so far: %+v", get(t, status))
			break
		}
	}
	close(rooms.let)
	if all := settled(t, status); all.Status != "completed" {
		t.Errorf("all: %+v", all)
	}
}
