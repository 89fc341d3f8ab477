package anthropicapi_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// recording is an upstream that answers with fixed bytes and keeps what came.
type recording struct {
	server *httptest.Server
	status int
	kind   string // Content-Type
	answer []byte
	header http.Header
	query  string
	body   string
}

func newRecording(t *testing.T) *recording {
	t.Helper()
	r := &recording{status: http.StatusOK}
	r.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		if err != nil {
			t.Error(err)
		}
		r.body, r.header, r.query = string(body), request.Header, request.URL.RawQuery
		w.Header().Set("Content-Type", r.kind)
		w.Header().Set("Request-Id", "req_up")
		w.WriteHeader(r.status)
		_, _ = w.Write(r.answer)
	}))
	t.Cleanup(r.server.Close)
	return r
}

// straight routes every call to the direct backend, as route does: haiku is an
// alias.
type straight struct{ backend *anthropic.Backend }

func (s straight) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = gateway.BackendDirect, call.Request.Model
	if call.Model == "haiku" {
		call.Model = "claude-haiku-5-5"
	}
	return s.backend, nil
}

// throughAll serves the Messages API with the direct backend behind it.
func throughAll(t *testing.T, upstream string) string {
	t.Helper()
	backend, err := anthropic.New(anthropic.Options{BaseURL: upstream, APIKey: "sk-ours", Retries: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(backend.Close)
	rooms := &protocoltest.Rooms{}
	g := gateway.New(gateway.Options{Authenticator: rooms, Admitter: rooms, Router: straight{backend}, Recorder: rooms, Observer: rooms})
	return protocoltest.Server(t, anthropicapi.New(anthropicapi.Options{Gateway: g}).Register).URL
}

// bodies are requests with what the API has, and what it doesn't have yet.
func bodies() map[string]string {
	const user = `"messages":[{"role":"user","content":"hi"}]`
	with := func(members string) string {
		return `{"model":"claude-opus-5-5","max_tokens":4096,` + user + `,` + members + `}`
	}
	return map[string]string{
		"thinking":           with(`"thinking":{"type":"adaptive","display":"summarized"},"output_config":{"effort":"max","task_budget":{"type":"tokens","total":1}}`),
		"thinking blocks":    `{"model":"claude-opus-5-5","max_tokens":1,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"thinking","thinking":"","signature":"EqQB\u002b/=="},{"type":"redacted_thinking","data":"x"},{"type":"text","text":"a"}]},{"role":"user","content":"b"}]}`,
		"cache_control":      `{"model":"claude-opus-5-5","max_tokens":1,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral","ttl":"1h"}}],"messages":[{"role":"user","content":[{"type":"text","text":"q","cache_control":{"type":"ephemeral"}}]}],"cache_control":{"type":"ephemeral"}}`,
		"documents":          `{"model":"claude-opus-5-5","max_tokens":1,"messages":[{"role":"user","content":[{"type":"document","title":"T","context":"c","citations":{"enabled":true},"source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}},{"type":"document","source":{"type":"file","file_id":"file_1"}},{"type":"search_result","source":"s","title":"t","content":[{"type":"text","text":"x"}]},{"type":"container_upload","file_id":"f"}]}]}`,
		"images":             `{"model":"claude-opus-5-5","max_tokens":1,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://example.com/a.png"}}]}]}`,
		"tools":              with(`"tools":[{"name":"t","description":"d","strict":true,"defer_loading":true,"eager_input_streaming":true,"input_schema":{"type":"object","additionalProperties":false},"cache_control":{"type":"ephemeral"}}],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`),
		"tool round":         `{"model":"claude-opus-5-5","max_tokens":1,"messages":[{"role":"user","content":"q"},{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"t","input":{"b":1.50,"a":"\u00e9"}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":[{"type":"text","text":"no"}]}]}]}`,
		"server tools":       with(`"tools":[{"type":"web_search_20260209","name":"web_search","max_uses":3,"allowed_domains":["example.com"]},{"type":"code_execution_20250825","name":"code_execution"},{"type":"web_fetch_20250910","name":"web_fetch"}]`),
		"context_management": with(`"context_management":{"edits":[{"type":"clear_tool_uses_20250919"}]}`),
		"mcp_servers":        with(`"mcp_servers":[{"type":"url","url":"https://example.com/mcp","name":"m","authorization_token":"t"}]`),
		"container":          with(`"container":{"id":"container_1","skills":[{"type":"anthropic","skill_id":"pdf","version":"latest"}]}`),
		"service_tier":       with(`"service_tier":"auto","inference_geo":"eu","speed":"fast"`),
		"metadata":           with(`"metadata":{"user_id":"u"}`),
		"structured output":  with(`"output_config":{"format":{"type":"json_schema","schema":{"type":"object","additionalProperties":false}}},"output_format":{"type":"json_schema","schema":{}}`),
		"sampling":           with(`"temperature":1.0,"top_p":0.990,"top_k":40,"stop_sequences":["\n\nHuman:"]`),
		"unknown members":    with(`"of_the_future":{"deep":[1,2.0,1e3,null,true,"\ud83d\ude00"]}`),
		"odd spacing":        "\t{ \"max_tokens\" : 4096 ,\n\"messages\":[ {\"content\" : \"h\\u00e9 ☃\",\"role\":\"user\"} ]\r\n, \"model\": \"claude-opus-5-5\" }\n",
	}
}

// TestPassThrough proves that on the direct path nobody changes a byte, on the
// way up or down.
func TestPassThrough(t *testing.T) {
	upstream := newRecording(t)
	url := throughAll(t, upstream.server.URL)
	read := func(file string) []byte {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	whole, stream := read("testdata/answer.json"), read("testdata/answer.sse")
	post := func(t *testing.T, body string) {
		t.Helper()
		answer := protocoltest.Post(t, url+"/v1/messages?beta=true", body,
			"anthropic-version", "2023-06-01", "anthropic-beta", "context-management-2025-06-27,of-the-future-2027-01-01", "x-claude-code-session-id", "s")
		if answer.Status != http.StatusOK || answer.Body != string(upstream.answer) {
			t.Errorf("%d, the caller got\n%s\nwant\n%s", answer.Status, answer.Body, upstream.answer)
		}
		if answer.Header.Get("Request-Id") != "req_up" || answer.Header.Get("X-Request-Id") != protocoltest.RequestID {
			t.Errorf("header = %v", answer.Header)
		}
		for name, want := range map[string]string{
			"Anthropic-Version": "2023-06-01", "Anthropic-Beta": "context-management-2025-06-27,of-the-future-2027-01-01",
			"X-Claude-Code-Session-Id": "s", "X-Api-Key": "sk-ours",
		} {
			if got := upstream.header.Get(name); got != want {
				t.Errorf("upstream's %s = %q, want %q", name, got, want)
			}
		}
		if upstream.query != "beta=true" {
			t.Errorf("query = %q", upstream.query)
		}
	}
	for name, body := range bodies() {
		t.Run(name+"/whole", func(t *testing.T) {
			upstream.kind, upstream.answer = "application/json", whole
			post(t, body)
			if upstream.body != body {
				t.Errorf("the upstream got\n%s\nwant\n%s", upstream.body, body)
			}
		})
		t.Run(name+"/stream", func(t *testing.T) {
			upstream.kind, upstream.answer = "text/event-stream; charset=utf-8", stream
			body := strings.Replace(body, "{", `{"stream": true,`, 1)
			post(t, body)
			if upstream.body != body {
				t.Errorf("the upstream got\n%s\nwant\n%s", upstream.body, body)
			}
		})
		t.Run(name+"/alias", func(t *testing.T) {
			// What must differ is all that differs.
			upstream.kind, upstream.answer = "application/json", whole
			body := strings.Replace(body, `"claude-opus-5-5"`, `"haiku"`, 1)
			want := strings.Replace(body, `"haiku"`, `"claude-haiku-5-5"`, 1)
			post(t, strings.Replace(body, "{", `{"use_cli":false,`, 1))
			if upstream.body != want {
				t.Errorf("the upstream got\n%s\nwant\n%s", upstream.body, want)
			}
		})
	}
}

// TestErrorsPassThrough: Claude Code's recovery reads the words of errors.
func TestErrorsPassThrough(t *testing.T) {
	upstream := newRecording(t)
	upstream.kind = "application/json"
	url := throughAll(t, upstream.server.URL)
	for status, answer := range map[int]string{
		400: `{"type":"error","error":{"type":"invalid_request_error","message":"\"thinking.type.disabled\" is not supported for this model."},"request_id":"req_up"}`,
		404: `{"type":"error","error":{"type":"not_found_error","message":"model: x"},"request_id":"req_up" }`,
		413: `{"error":{"message":"too large","type":"request_too_large"},"type":"error"}`,
		429: `{"type":"error","error":{"type":"rate_limit_error","message":"slow down"}}`,
		500: `{"type":"error","error":{"type":"api_error","message":"oops"}}`,
		529: `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`,
	} {
		for _, path := range []string{"/v1/messages", "/v1/messages/count_tokens"} {
			upstream.status, upstream.answer = status, []byte(answer)
			got := protocoltest.Post(t, url+path, plain)
			if got.Status != status || got.Body != answer || got.Header.Get("Request-Id") != "req_up" {
				t.Errorf("%s: %d %s %v, want %d %s", path, got.Status, got.Body, got.Header, status, answer)
			}
		}
	}
}

// TestCountPassesThrough: the count is the upstream's, and what is counted is
// what the caller wrote.
func TestCountPassesThrough(t *testing.T) {
	upstream := newRecording(t)
	upstream.kind, upstream.answer = "application/json", []byte(`{ "input_tokens": 2095 , "context_management":{"original_input_tokens":3}}`)
	url := throughAll(t, upstream.server.URL)
	for name, body := range bodies() {
		got := protocoltest.Post(t, url+"/v1/messages/count_tokens", body)
		if got.Status != http.StatusOK || got.Body != string(upstream.answer) || upstream.body != body {
			t.Errorf("%s: %d %s; the upstream got %s", name, got.Status, got.Body, upstream.body)
		}
	}
}

// An answer that is cut is told as a failure, with all that came before.
func TestBrokenStreamPassesWhatCame(t *testing.T) {
	upstream := newRecording(t)
	whole, err := os.ReadFile("testdata/answer.sse")
	if err != nil {
		t.Fatal(err)
	}
	half := whole[:bytes.Index(whole, []byte("event: of_the_future"))]
	upstream.kind, upstream.answer = "text/event-stream", half
	got := protocoltest.Post(t, throughAll(t, upstream.server.URL)+"/v1/messages", streaming(plain))
	rest, ok := strings.CutPrefix(got.Body, string(half))
	if !ok || !strings.HasPrefix(rest, "event: error\ndata: ") {
		t.Errorf("got %s", got.Body)
	}
}
