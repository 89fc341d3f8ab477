package processapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// echo answers every prompt with itself, and one that begins with "fail" not at
// all.
type echo struct{ *protocoltest.Rooms }

func (e *echo) gateway() *gateway.Gateway {
	return gateway.New(gateway.Options{Authenticator: e, Admitter: e, Router: e, Recorder: e, Observer: e})
}

func (e *echo) Route(call *gateway.Call) (gateway.Backend, error) {
	_, err := e.Rooms.Route(call)
	return e, err
}

func (e *echo) Generate(_ context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	conversation, err := call.Request.Conversation()
	if err != nil {
		return gateway.Result{}, err
	}
	prompt := string(conversation.Turns[0].Content)
	if strings.HasPrefix(prompt, `"fail`) {
		return gateway.Result{}, apierror.New(apierror.UpstreamError, "the upstream failed")
	}
	if strings.HasPrefix(prompt, `"panic`) {
		panic(prompt)
	}
	call.Warn("a warning")
	cost := int64(500_000)
	result := gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 3, OutputTokens: 2}}, CostMicroUSD: &cost}
	return result, out.Message(fmt.Appendf(nil, `{"id":"m","model":"m","content":[{"type":"text","text":%s}],"stop_reason":"end_turn"}`, prompt))
}

func TestBatch(t *testing.T) {
	rooms := &echo{&protocoltest.Rooms{}}
	o := options(rooms.Rooms)
	o.Gateway = rooms.gateway()
	url := start(t, o) + "/v1/batch"
	answer := protocoltest.Post(t, url, `{"prompts":["a",{"prompt":"fail","id":"f"},{"prompt":"c\n\"","id":7,"extra":1},{"prompt":"panic"}],"model":"gpt-4","system":"s","max_tokens":9,"use_cli":true,"project_id":"other"}`)
	const usage = `"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5,"cache_read_input_tokens":0,"cache_creation_input_tokens":0},"cost":0.5,"error":null}`
	const failed = `"status":"failed","content":null,"usage":null,"cost":null,"error":`
	want := `{"total":4,"completed":2,"failed":2,"results":[` +
		`{"id":"0","prompt":"a","status":"completed","content":"a",` + usage +
		`,{"id":"f","prompt":"fail",` + failed + `"the upstream failed"}` +
		`,{"id":7,"prompt":"c\n\"","status":"completed","content":"c\n\"",` + usage +
		`,{"id":"3","prompt":"panic",` + failed + `"internal error"}` +
		`],"total_cost":1,"total_tokens":10}`
	if answer.Status != http.StatusOK || answer.Body != want {
		t.Errorf("%d\ngot  %s\nwant %s", answer.Status, answer.Body, want)
	}
	if got, want := answer.Header.Get("X-Claude-Warnings"), "prompts: extra: has no effect here; model: sonnet answers in its place; project_id: the key's project is billed; a warning"; got != want {
		t.Errorf("warnings %q, want %q", got, want)
	}
	if got := answer.Header.Get("X-Claude-Backend"); got != "cli" {
		t.Errorf("backend %q", got)
	}
	ids := map[string]int{}
	for _, e := range rooms.Entries() {
		ids[e.RequestID] = e.Status
		if e.Endpoint != "/v1/batch" || e.Requested != "gpt-4" || e.Caller.ProjectID != protocoltest.ProjectID {
			t.Errorf("entry = %+v", e)
		}
	}
	if want := map[string]int{"req_test-1": 200, "req_test-2": 502, "req_test-3": 200, "req_test-4": 500}; !reflect.DeepEqual(ids, want) {
		t.Errorf("the ledger holds %v, want %v", ids, want)
	}
}

func TestBatchRequest(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"defaults", ``, `{"model":"auto","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":"p"}]}`},
		{"all", `,"model":"claude-strict","system":"s","max_tokens":7,"temperature":0.3`,
			`{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":7,"system":"s","messages":[{"role":"user","content":"p"}]}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(whole)}
			protocoltest.Post(t, start(t, options(rooms))+"/v1/batch", `{"prompts":["p"]`+tt.in+`}`)
			if got := string(rooms.Calls()[0].Request.Body()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestBatchRefusals(t *testing.T) {
	o := options(&protocoltest.Rooms{})
	o.BatchPrompts = 2
	url := start(t, o) + "/v1/batch"
	for _, tt := range []struct{ name, body, contains string }{
		{"none", `{}`, `"detail":"prompts: field required"`},
		{"empty", `{"prompts":[]}`, `"detail":"prompts: must not be empty"`},
		{"an empty one", `{"prompts":["a",""]}`, `"param":"prompts.1"`},
		{"without a prompt", `{"prompts":[{"id":"x"}]}`, `"param":"prompts.0.prompt"`},
		{"an id of another kind", `{"prompts":[{"prompt":"x","id":[]}]}`, `"param":"prompts.0.id"`},
		{"too many", `{"prompts":["a","b","c"]}`, `"detail":"prompts: at most 2 are allowed, there are 3"`},
		{"timeout", `{"prompts":["a"],"timeout":"x"}`, `"param":"timeout"`},
	} {
		if answer := protocoltest.Post(t, url, tt.body); answer.Status != http.StatusBadRequest || !strings.Contains(answer.Body, tt.contains) {
			t.Errorf("%s: %d %s", tt.name, answer.Status, answer.Body)
		}
	}
}

func TestBatchRunsInParallel(t *testing.T) {
	const parallel = 3
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}, began: make(chan *gateway.Call, 100), let: make(chan struct{})}
	o := rooms.options()
	o.BatchParallel = parallel
	url := start(t, o) + "/v1/batch"
	done := make(chan protocoltest.Answer, 1)
	go func() { done <- protocoltest.Post(t, url, `{"prompts":["1","2","3","4","5","6","7","8"]}`) }()
	for range parallel {
		<-rooms.began
	}
	close(rooms.let)
	if answer := <-done; !strings.Contains(answer.Body, `"completed":8`) {
		t.Errorf("%s", answer.Body)
	}
	if most := rooms.most.Load(); most != parallel {
		t.Errorf("%d ran at once, want %d", most, parallel)
	}
}

func TestBatchTimeout(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{Message: []byte(whole)}}
	o := rooms.options()
	o.BatchParallel = 1
	answer := protocoltest.Post(t, start(t, o)+"/v1/batch", `{"prompts":["1","2"],"timeout":0.02}`)
	var got struct {
		Failed  int `json:"failed"`
		Results []struct {
			Error string `json:"error"`
		} `json:"results"`
	}
	if err := json.Unmarshal([]byte(answer.Body), &got); err != nil || got.Failed != 2 {
		t.Fatalf("%s, %v", answer.Body, err)
	}
	if got.Results[0].Error != "the request took longer than allowed" || got.Results[1].Error != "the batch took longer than allowed" {
		t.Errorf("errors = %+v", got.Results)
	}
	if entries := rooms.Entries(); len(entries) != 1 {
		t.Errorf("%d rows, want one: the second prompt wasn't tried", len(entries))
	}
}

// The caller who leaves ends all prompts.
func TestBatchCallerLeaves(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{}, began: make(chan *gateway.Call, 2), rows: make(chan gateway.Entry, 2)}
	url := start(t, rooms.options()) + "/v1/batch"
	ctx, leave := context.WithCancel(t.Context())
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"prompts":["1","2"]}`))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", protocoltest.Key)
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		if response, err := http.DefaultClient.Do(r); err == nil {
			_ = response.Body.Close()
		}
	}()
	<-rooms.began
	<-rooms.began
	leave()
	<-gone
	for range 2 {
		if e := <-rooms.rows; e.Status != apierror.StatusClientClosed {
			t.Errorf("status = %d", e.Status)
		}
	}
}

// A batch that the service's stop cuts says so.
func TestBatchOfAStoppedService(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{}, began: make(chan *gateway.Call, 1)}
	h := processapi.New(rooms.options())
	stopping, stop := context.WithCancelCause(t.Context())
	handler := protocoltest.Handler(h.Register)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithCancelCause(r.Context())
		defer cancel(nil)
		defer context.AfterFunc(stopping, func() { cancel(context.Cause(stopping)) })()
		handler.ServeHTTP(w, r.WithContext(ctx))
	}))
	defer server.Close()
	done := make(chan protocoltest.Answer, 1)
	go func() { done <- protocoltest.Post(t, server.URL+"/v1/batch", `{"prompts":["1"]}`) }()
	<-rooms.began
	stop(apierror.New(apierror.Overloaded, "the service is stopping"))
	if answer := <-done; answer.Status != http.StatusServiceUnavailable || !strings.Contains(answer.Body, `"detail":"the service is stopping"`) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}
