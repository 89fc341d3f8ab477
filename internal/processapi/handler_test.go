package processapi_test

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

const (
	plain = `{"provider":"openai","model_name":"gpt-4","messages":[{"role":"user","content":"hi"}]}`
	whole = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[{"type":"text","text":"hel\"lo"}],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":2}}`
)

func serve(t testing.TB, rooms *protocoltest.Rooms) (url string) {
	h := processapi.New(processapi.Options{Gateway: rooms.Gateway(), MaxBody: 1 << 20})
	return protocoltest.Server(t, h.Register).URL + "/v1/process"
}

// measured is what differs between runs.
var measured = regexp.MustCompile(`"processing_time":\d+\.\d{6}`)

func TestAnswer(t *testing.T) {
	cost := int64(1_500_000)
	result := gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 3, OutputTokens: 2, CacheReadInputTokens: 4}}, CostMicroUSD: &cost}
	const usage = `"usage":{"input_tokens":3,"output_tokens":2,"total_tokens":5,"cache_read_input_tokens":4,"cache_creation_input_tokens":0}`
	tests := []struct {
		name, body string
		rooms      *protocoltest.Rooms
		want       string
	}{
		{"mapped, on the CLI", plain, &protocoltest.Rooms{Message: []byte(whole), Result: result, Warn: []string{"temperature: x"}},
			`{"content":"hel\"lo","model":"gpt-4","provider":"openai","metadata":{"actual_model":"claude-sonnet-5-5",` + usage +
				`,"cost_usd":1.5,"processing_time":T,"finish_reason":"length","mapped_from":"openai:gpt-4 → claudecode:sonnet","warnings":["temperature: x"]}}`},
		{"mapped, direct", plain, &protocoltest.Rooms{Message: []byte(whole), Backend: "direct"},
			`{"content":"hel\"lo","model":"gpt-4","provider":"openai","metadata":{"actual_model":"claude-sonnet-5-5",` +
				`"usage":{"input_tokens":0,"output_tokens":0,"total_tokens":0,"cache_read_input_tokens":0,"cache_creation_input_tokens":0},` +
				`"cost_usd":null,"processing_time":T,"finish_reason":"length","mapped_from":"openai:gpt-4 → anthropic:sonnet"}}`},
		{"our own model, with blocks", `{"provider":"anthropic","model_name":"haiku","content":"hi","memory":{"a":1},"project_id":"other","additional_params":{"best_of":2,"stream":false}}`,
			&protocoltest.Rooms{Message: []byte(`{"id":"m","model":"m","content":[{"type":"thinking","thinking":"hm"}, {"type":"text","text":"a"}],"stop_reason":"end_turn"}`), Result: result},
			`{"content":"a","content_blocks":[{"type":"thinking","thinking":"hm"}, {"type":"text","text":"a"}],"model":"haiku","provider":"anthropic","metadata":{"actual_model":"m",` + usage +
				`,"cost_usd":1.5,"processing_time":T,"finish_reason":"stop","warnings":["memory: has no effect here","additional_params.best_of: has no effect here","project_id: the key's project is billed"]}}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := protocoltest.Post(t, serve(t, tt.rooms), tt.body)
			got := measured.ReplaceAllString(answer.Body, `"processing_time":T`)
			if answer.Status != http.StatusOK || got != tt.want {
				t.Errorf("%d\ngot  %s\nwant %s", answer.Status, got, tt.want)
			}
			if strings.Contains(answer.Body, `"processing_time":0.000000`) {
				t.Error("the time wasn't measured")
			}
			if answer.Header.Get("X-Claude-Backend") == "" || !strings.Contains(answer.Header.Get("Server-Timing"), "total;") {
				t.Errorf("header = %v", answer.Header)
			}
		})
	}
}

func TestRequest(t *testing.T) {
	const head = `{"provider":"p","model_name":"sonnet",`
	tests := []struct{ name, in, want, prefer string }{
		{"defaults", `"messages":[{"role":"user","content":"hi"}]`, `{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":"hi"}]}`, ""},
		{"limits", `"max_tokens":5,"temperature":0,"content":"hi","use_cli":true`, `{"model":"sonnet","max_tokens":5,"temperature":0,"messages":[{"role":"user","content":"hi"}]}`, "cli"},
		{"clamped", `"temperature":1.9,"content":"hi","use_cli":false`, `{"model":"sonnet","max_tokens":1000,"temperature":1,"messages":[{"role":"user","content":"hi"}]}`, "direct"},
		{"system_message and user_message", `"system_message":"s","user_message":"u"`, `{"model":"sonnet","max_tokens":1000,"temperature":0.7,"system":"s","messages":[{"role":"user","content":"u"}]}`, ""},
		{"content parts", `"content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA"}}]}]}`, ""},
		{"messages win, systems join", `"content":"c","user_message":"u","system_message":"s1","messages":[{"role":"system","content":"s2"},{"role":"user","content":"m"}]`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"system":"s1\n\ns2","messages":[{"role":"user","content":"m"}]}`, ""},
		{"system among messages, user beside them", `"user_message":"u","system_message":"s1","messages":[{"role":"system","content":"s2"}]`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"system":"s1\n\ns2","messages":[{"role":"user","content":"u"}]}`, ""},
		{"nulls", `"content":"c","messages":null,"user_message":null,"system_message":null,"max_tokens":null,"temperature":null,"tools":null,"additional_params":null,"async_processing":false,"memory":null`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":"c"}]}`, ""},
		{"tool history", `"messages":[{"role":"user","content":"w"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"sun"}]`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":"w"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"w","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"sun"}]}]}`, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(whole)}
			answer := protocoltest.Post(t, serve(t, rooms), head+tt.in+"}")
			if answer.Status != http.StatusOK {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			call := rooms.Calls()[0]
			if got := string(call.Request.Body()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if call.Prefer != tt.prefer {
				t.Errorf("prefer = %q, want %q", call.Prefer, tt.prefer)
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	const head = `{"provider":"p","model_name":"m",`
	tests := []struct {
		name, body string
		status     int
		contains   string
	}{
		{"no JSON", `{`, 400, `{"detail":"the request body isn't valid JSON`},
		{"no provider", `{"model_name":"m","content":"x"}`, 400, `{"detail":"provider: field required","error":{"message":"provider: field required","type":"bad_request","param":"provider","code":"bad_request"}}`},
		{"no model", `{"provider":"p","content":"x"}`, 400, `"param":"model_name"`},
		{"no messages", head + `"messages":[]}`, 400, `{"detail":"No messages provided"`},
		{"empty content", head + `"content":""}`, 400, `{"detail":"No messages provided"`},
		{"unknown role", head + `"messages":[{"role":"x","content":"x"}]}`, 400, `"param":"messages.0.role"`},
		{"temperature", head + `"content":"x","temperature":3}`, 400, `"param":"temperature"`},
		{"stream", head + `"content":"x","additional_params":{"stream":true}}`, 501, `"code":"not_implemented"`},
		{"stream at the top", head + `"content":"x","stream":true}`, 501, `{"detail":"streaming isn't available on this endpoint"`},
		{"async", head + `"content":"x","async_processing":true}`, 501, `"param":"async_processing"`},
		{"tools", head + `"content":"x","tools":[{"name":"x"}]}`, 501, `"param":"tools"`},
		{"output_schema", head + `"content":"x","output_schema":{"type":"object"}}`, 501, `"param":"output_schema"`},
		{"too large", strings.Repeat(" ", 1<<20+1), 413, `"code":"request_too_large"`},
	}
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	url := serve(t, rooms)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := protocoltest.Post(t, url, tt.body)
			if answer.Status != tt.status || !strings.Contains(answer.Body, tt.contains) {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		})
	}
	if answer := protocoltest.Do(t, http.MethodPost, url, plain); answer.Status != 401 || !strings.Contains(answer.Body, `{"detail":"invalid API key"`) {
		t.Errorf("without a key: %d %s", answer.Status, answer.Body)
	}
	if calls := rooms.Calls(); len(calls) != 0 {
		t.Errorf("%d bad requests reached the backend", len(calls))
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		status int
		body   string
	}{
		{"any", errors.New("secret"), 500, `{"detail":"internal error","error":{"message":"internal error","type":"internal","param":null,"code":"internal"}}`},
		{"spent", apierror.New(apierror.BudgetExceeded, "spent"), 403, `{"detail":"spent","error":{"message":"spent","type":"budget_exceeded","param":null,"code":"budget_exceeded"}}`},
		{"held", &apierror.Error{Category: apierror.BudgetExceeded, Message: "held", RetryAfter: time.Second}, 429, `{"detail":"held","error":{"message":"held","type":"budget_exceeded","param":null,"code":"budget_exceeded"}}`},
		{"cli", apierror.New(apierror.CLIError, "the CLI died"), 502, `{"detail":"the CLI died","error":{"message":"the CLI died","type":"cli_error","param":null,"code":"cli_error"}}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			answer := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Err: tt.err}), plain)
			if answer.Status != tt.status || answer.Body != tt.body {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		})
	}
}
