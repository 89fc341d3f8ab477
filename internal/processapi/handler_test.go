package processapi_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
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
	"claude-code-api-service/internal/route"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

const (
	plain = `{"provider":"openai","model_name":"gpt-4","messages":[{"role":"user","content":"hi"}]}`
	whole = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-sonnet-5-5","content":[{"type":"text","text":"hel\"lo"}],"stop_reason":"max_tokens","usage":{"input_tokens":3,"output_tokens":2}}`
)

// options are those of a handler in front of the rooms.
func options(rooms *protocoltest.Rooms) processapi.Options {
	return processapi.Options{
		Gateway: rooms.Gateway(), Callers: callers{}, Usage: &reports{}, Recommend: route.Recommend, MaxBody: 1 << 20,
		Rules: func(model string) message.Rules { return modelRules[model] },
	}
}

// modelRules are those of some models that refuse something.
var modelRules = map[string]message.Rules{
	"claude-strict": {
		NoSampling: true, NoForcedTools: true, ThinksByDefault: true, Thinking: []string{"adaptive", "disabled"},
		Efforts: []string{"low", "high"}, MaxOutputTokens: 4_000,
	},
	"claude-old": {Thinking: []string{"enabled", "disabled"}, Efforts: []string{}, NoStructuredOutputs: true},
}

func start(t testing.TB, o processapi.Options) (url string) {
	t.Helper()
	url, _ = startDesk(t, o)
	return url
}

// startDesk starts a handler with the jobs of its own.
func startDesk(t testing.TB, o processapi.Options) (url string, d *desk) {
	t.Helper()
	if o.Jobs == nil {
		d = &desk{t: t, path: filepath.Join(t.TempDir(), "tasks.db")}
		o.Jobs = d
	}
	h := processapi.New(o)
	if d != nil {
		d.handler, d.options = h, o
	}
	url = protocoltest.Server(t, h.Register).URL
	t.Cleanup(func() {
		if err := h.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return url, d
}

func serve(t testing.TB, rooms *protocoltest.Rooms) (url string) {
	return start(t, options(rooms)) + "/v1/process"
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
		{"our own model, with blocks", `{"provider":"anthropic","model_name":"haiku","content":"hi","memory":{"a":1},"project_id":"other","additional_params":{"best_of":2,"stream":false},"extra":1,"allowed_tools":["x"],"user_message":"u"}`,
			&protocoltest.Rooms{Message: []byte(`{"id":"m","model":"m","content":[{"type":"thinking","thinking":"hm"}, {"type":"text","text":"a"}],"stop_reason":"end_turn"}`), Result: result},
			`{"content":"a","content_blocks":[{"type":"thinking","thinking":"hm"}, {"type":"text","text":"a"}],"model":"haiku","provider":"anthropic","metadata":{"actual_model":"m",` + usage +
				`,"cost_usd":1.5,"processing_time":T,"finish_reason":"stop","warnings":["memory: has no effect here","additional_params.best_of: has no effect here","extra: has no effect here","content: isn't used beside user_message","project_id: the key's project is billed"]}}`},
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
		{"clamped", `"temperature":1.9,"content":"hi","use_cli":false`, `{"model":"sonnet","max_tokens":1000,"messages":[{"role":"user","content":"hi"}]}`, "direct"},
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
		{"functions", `"content":"x","tools":[{"type":"function","function":{"name":"w","description":"d","parameters":{"type":"object"},"strict":true}},{"type":"function","function":{"name":"n","strict":true}}],"tool_choice":"required","parallel_tool_calls":false`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"tools":[{"name":"w","description":"d","input_schema":{"type":"object","properties":{},"additionalProperties":false},"strict":true},{"name":"n","input_schema":{"type":"object","properties":{},"additionalProperties":false},"strict":true}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"tools of the Messages API", `"content":"x","tools":[{"name":"w","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"w"}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"tools":[{"name":"w","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}},{"type":"web_search_20250305","name":"web_search"}],"tool_choice":{"type":"tool","name":"w"},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"a named function", `"content":"x","tools":[{"type":"function","function":{"name":"w"}}],"tool_choice":{"type":"function","function":{"name":"w"}}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"tools":[{"name":"w","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"tool","name":"w"},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"tool blocks continue", `"messages":[{"role":"user","content":"w"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"w","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"sun"}]}]`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":"w"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"w","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"sun"}]}]}`, ""},
		{"output_schema", `"content":"x","output_schema":{"type":"object","properties":{"a":{"type":"integer"}}}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"integer"}},"additionalProperties":false}}},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"response_format", `"content":"x","response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"string"}}}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"output_config":{"format":{"type":"json_schema","schema":{"type":"string"}}},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"further parameters", `"content":"x","additional_params":{"top_p":0.5,"top_k":3,"stop":"a","stop_sequences":["b"," "],"user":"u"}`,
			`{"model":"sonnet","max_tokens":1000,"top_p":0.5,"top_k":3,"stop_sequences":["a","b"],"metadata":{"user_id":"u"},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"thinking", `"content":"x","max_tokens":1500,"additional_params":{"thinking":{"type":"enabled","budget_tokens":2000}}`,
			`{"model":"sonnet","thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":3500,"messages":[{"role":"user","content":"x"}]}`, ""},
		{"effort", `"content":"x","additional_params":{"reasoning_effort":"low"}`,
			`{"model":"sonnet","thinking":{"type":"adaptive"},"max_tokens":3048,"output_config":{"effort":"low"},"messages":[{"role":"user","content":"x"}]}`, ""},
		{"media behind a text", `"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"}],"system_message":"s","media_content":[{"type":"image_url","image_url":{"url":"data:image/jpg;base64,AA"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA"}},{"type":"image/png","data":"BB"},{"mime_type":"application/pdf","url":"https://x/a"}]`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"system":"s","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":[{"type":"text","text":"c"},{"type":"image","source":{"type":"base64","media_type":"image/jpeg","data":"AA"}},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"AA"}},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"BB"}},{"type":"document","source":{"type":"url","url":"https://x/a"}}]}]}`, ""},
		{"one medium behind parts", `"content":[{"type":"text","text":"a"}],"media_content":{"media_type":"IMAGE/GIF","data":"data:image/gif;base64,CC"}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/gif","data":"CC"}}]}]}`, ""},
		{"a PDF", `"content":"a","media_content":{"media_type":"application/pdf","data":"JVBERi0="}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}]}]}`, ""},
		{"an image by URL", `"content":"a","media_content":{"type":"image","url":"https:\/\/x\/a"}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"image","source":{"type":"url","url":"https://x/a"}}]}]}`, ""},
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
		{"stream and async", head + `"content":"x","async_processing":true,"stream":true}`, 400, `"param":"async_processing"`},
		{"forced tool without tools", head + `"content":"x","tool_choice":"required"}`, 400, `"param":"tool_choice"`},
		{"unknown choice", head + `"content":"x","tool_choice":"x"}`, 400, `"param":"tool_choice"`},
		{"choice without a name", head + `"content":"x","tool_choice":{"type":"tool"}}`, 400, `"param":"tool_choice.name"`},
		{"tool without a name", head + `"content":"x","tools":[{"type":"function","function":{}}]}`, 400, `"param":"tools.0.function.name"`},
		{"tool without a schema", head + `"content":"x","tools":[{"name":"n"}]}`, 400, `"param":"tools.0.input_schema"`},
		{"schema", head + `"content":"x","output_schema":[]}`, 400, `"param":"output_schema"`},
		{"another format", head + `"content":"x","response_format":{"type":"grammar"}}`, 400, `"param":"response_format.type"`},
		{"format without a schema", head + `"content":"x","response_format":{"type":"json_schema"}}`, 400, `"param":"response_format.json_schema.schema"`},
		{"a schema too deep", head + `"content":"x","output_schema":` + strings.Repeat(`{"items":`, 80) + `{}` + strings.Repeat(`}`, 80) + `}`, 400, `"param":"output_schema"`},
		{"thinking without a type", head + `"content":"x","additional_params":{"thinking":{}}}`, 400, `"param":"additional_params.thinking.type"`},
		{"effort", head + `"content":"x","additional_params":{"reasoning_effort":"huge"}}`, 400, `"param":"additional_params.reasoning_effort"`},
		{"top_p", head + `"content":"x","additional_params":{"top_p":2}}`, 400, `"param":"additional_params.top_p"`},
		{"timeout", head + `"content":"x","timeout":-1}`, 400, `"param":"timeout"`},
		{"params", head + `"content":"x","additional_params":[]}`, 400, `"param":"additional_params"`},
		{"media of another type", head + `"content":"x","media_content":[{"type":"audio/mp3","data":"AA"}]}`, 400, `"param":"media_content.0.media_type"`},
		{"media without data", head + `"content":"x","media_content":{"media_type":"image/png"}}`, 400, `"param":"media_content.data"`},
		{"media by http", head + `"content":"x","media_content":[{"url":"http://x/a.png"}]}`, 400, `"param":"media_content.0.url"`},
		{"media of another type by URL", head + `"content":"x","media_content":[{"url":"https://x/a","mime_type":"text/html"}]}`, 400, `"param":"media_content.0.media_type"`},
		{"media in a data URL", head + `"content":"x","media_content":[{"image_url":{"url":"data:image/tiff;base64,AA"}}]}`, 400, `"param":"media_content.0.url"`},
		{"block of another type", head + `"content":"x","media_content":[{"type":"video","source":{"type":"base64","media_type":"image/png","data":"AA"}}]}`, 400, `"param":"media_content.0.type"`},
		{"block with another media type", head + `"content":"x","media_content":[{"type":"image","source":{"type":"base64","media_type":"image/tiff","data":"AA"}}]}`, 400, `"param":"media_content.0.source.media_type"`},
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

// What a model refuses is left out, and named where the caller asked for it.
func TestModelRules(t *testing.T) {
	tests := []struct {
		name, model, in, want string
		warnings              string
	}{
		{"nothing asked", "claude-strict", `"content":"x"`, `{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":1000,"messages":[{"role":"user","content":"x"}]}`, ""},
		{
			"sampling", "claude-strict", `"content":"x","temperature":0.5,"additional_params":{"top_p":0.5,"top_k":4}`,
			`{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":1000,"messages":[{"role":"user","content":"x"}]}`,
			"temperature: the model doesn't take it; additional_params.top_p: the model doesn't take it; additional_params.top_k: the model doesn't take it",
		},
		{
			"forced tools", "claude-strict", `"content":"x","tools":[{"name":"w","input_schema":{}}],"tool_choice":"any"`,
			`{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":1000,"tools":[{"name":"w","input_schema":{}}],"tool_choice":{"type":"auto"},"messages":[{"role":"user","content":"x"}]}`,
			"tool_choice: the model can't be made to call a tool; it was set to auto",
		},
		{
			"a long answer", "claude-strict", `"content":"x","max_tokens":5000`,
			`{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":4000,"messages":[{"role":"user","content":"x"}]}`,
			"max_tokens: the model writes at most 4000 tokens",
		},
		{
			"an effort between", "claude-strict", `"content":"x","additional_params":{"reasoning_effort":"medium"}`,
			`{"model":"claude-strict","thinking":{"type":"adaptive"},"max_tokens":4000,"output_config":{"effort":"low"},"messages":[{"role":"user","content":"x"}]}`,
			"additional_params.reasoning_effort: the model doesn't know medium; it was set to low",
		},
		{
			"thinking of another type", "claude-strict", `"content":"x","additional_params":{"thinking":{"type":"enabled","budget_tokens":1024}}`,
			`{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":1000,"messages":[{"role":"user","content":"x"}]}`,
			"additional_params.thinking: the model doesn't take the type enabled",
		},
		{
			"temperature beside thinking", "claude-old", `"content":"x","temperature":0.2,"additional_params":{"reasoning_effort":"low"}`,
			`{"model":"claude-old","thinking":{"type":"enabled","budget_tokens":2048},"max_tokens":3048,"messages":[{"role":"user","content":"x"}]}`,
			"temperature: can't be set beside reasoning",
		},
		{
			"strict tools", "claude-strict", `"content":"x","tools":[{"type":"function","function":{"name":"w","strict":true,"parameters":{"type":"integer","minimum":1}}}]`,
			`{"model":"claude-strict","thinking":{"type":"disabled"},"max_tokens":1000,"tools":[{"name":"w","input_schema":{"type":"integer","description":"{minimum: 1}"},"strict":true}],"messages":[{"role":"user","content":"x"}]}`,
			"tools.0.function.parameters: can't be enforced and stand in descriptions: minimum",
		},
		{
			"strict tools for an old model", "claude-old", `"content":"x","tools":[{"type":"function","function":{"name":"w","strict":true}}]`,
			`{"model":"claude-old","max_tokens":1000,"temperature":0.7,"tools":[{"name":"w","input_schema":{"type":"object","properties":{}}}],"messages":[{"role":"user","content":"x"}]}`,
			"tools.0.function.parameters: the model can't be held to a strict schema",
		},
		{
			"a schema for an old model", "claude-old", `"content":"x","system_message":"s","output_schema":{"type":"object"}`,
			`{"model":"claude-old","max_tokens":1000,"temperature":0.7,"system":"s\n\nAnswer with one valid JSON object and nothing else: no text before or behind it, and no Markdown code fence around it. It must be valid under this JSON schema:\n{\"type\":\"object\"}","messages":[{"role":"user","content":"x"}]}`,
			"output_schema: the model can't be held to a schema; it was asked to keep to it",
		},
		{
			"JSON mode", "sonnet", `"content":"x","response_format":{"type":"json_object"}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"system":"Answer with one valid JSON object and nothing else: no text before or behind it, and no Markdown code fence around it.","messages":[{"role":"user","content":"x"}]}`, "",
		},
		{
			"two formats", "sonnet", `"content":"x","response_format":{"type":"json_object"},"output_schema":{"type":"string"}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"output_config":{"format":{"type":"json_schema","schema":{"type":"string"}}},"messages":[{"role":"user","content":"x"}]}`,
			"response_format: isn't used beside output_schema",
		},
		{
			"a schema's keywords", "sonnet", `"content":"x","output_schema":{"type":"integer","minimum":1}`,
			`{"model":"sonnet","max_tokens":1000,"temperature":0.7,"output_config":{"format":{"type":"json_schema","schema":{"type":"integer","description":"{minimum: 1}"}}},"messages":[{"role":"user","content":"x"}]}`,
			"output_schema: can't be enforced and stand in descriptions: minimum",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(whole)}
			answer := protocoltest.Post(t, serve(t, rooms), `{"provider":"p","model_name":"`+tt.model+`",`+tt.in+`}`)
			if answer.Status != http.StatusOK {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			if got := string(rooms.Calls()[0].Request.Body()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if got := answer.Header.Get("X-Claude-Warnings"); got != tt.warnings {
				t.Errorf("warnings %q, want %q", got, tt.warnings)
			}
		})
	}
}

// The ledger holds the name that the caller asked for.
func TestTheLedgerHoldsTheNameAsAsked(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	protocoltest.Post(t, serve(t, rooms), plain)
	if entries := rooms.Entries(); len(entries) != 1 || entries[0].Requested != "gpt-4" {
		t.Errorf("entries = %+v", entries)
	}
}

func TestManyWarnings(t *testing.T) {
	members := ""
	for i := range 100 {
		members += fmt.Sprintf(`,"x%d":1`, i)
	}
	answer := protocoltest.Post(t, serve(t, &protocoltest.Rooms{Message: []byte(whole)}), `{"provider":"p","model_name":"m","content":"x"`+members+`}`)
	if !strings.Contains(answer.Body, `"x31: has no effect here","and more"]`) {
		t.Errorf("%s", answer.Body)
	}
}

func TestTimeout(t *testing.T) {
	rooms := &waiting{Rooms: &protocoltest.Rooms{}}
	answer := protocoltest.Post(t, start(t, rooms.options())+"/v1/process", `{"provider":"p","model_name":"m","content":"x","additional_params":{"timeout":0.02}}`)
	if answer.Status != http.StatusGatewayTimeout || !strings.Contains(answer.Body, `"type":"timeout"`) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}

// What auto chooses is known only when the request is routed: to claude-haiku-5-5
// here, which takes a temperature, where what auto may choose doesn't.
func TestTheRequestFitsTheModelThatIsChosen(t *testing.T) {
	const want = `{"model":"auto","max_tokens":1000,"temperature":0.5,"messages":[{"role":"user","content":"x"}]}`
	for _, tt := range []struct{ name, path, body string }{
		{"process", "/v1/process", `{"provider":"p","model_name":"auto","content":"x","temperature":0.5,"extra":1}`},
		{"async", "/v1/process", `{"provider":"p","model_name":"auto","content":"x","temperature":0.5,"extra":1,"async_processing":true}`},
		{"batch", "/v1/batch", `{"prompts":["x"],"temperature":0.5,"extra":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(whole), Warn: []string{"another"}}
			o := options(rooms)
			o.Rules = func(model string) message.Rules { return message.Rules{NoSampling: model == "auto"} }
			url := start(t, o)
			answer := protocoltest.Post(t, url+tt.path, tt.body)
			if location := answer.Header.Get("Location"); location != "" {
				settled(t, url+location)
			} else if got := answer.Header.Get("X-Claude-Warnings"); got != "extra: has no effect here; another" {
				t.Errorf("warnings = %q", got)
			}
			if got := string(rooms.Calls()[0].Request.Body()); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// A code fence around JSON is taken off.
func TestFence(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte("{\"id\":\"m\",\"model\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"```json\\n{}\\n```\"}],\"stop_reason\":\"end_turn\"}")}
	answer := protocoltest.Post(t, serve(t, rooms), `{"provider":"p","model_name":"m","content":"x","response_format":{"type":"json_object"}}`)
	if !strings.HasPrefix(answer.Body, `{"content":"{}",`) {
		t.Errorf("%s", answer.Body)
	}
	if answer = protocoltest.Post(t, serve(t, rooms), plain); !strings.HasPrefix(answer.Body, "{\"content\":\"```json\\n") {
		t.Errorf("one that nobody asked for: %s", answer.Body)
	}
}
