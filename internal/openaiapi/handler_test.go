package openaiapi_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/shared"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openaiapi"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

const (
	plain = `{"model":"haiku","messages":[{"role":"system","content":"be brief"},{"role":"user","content":"hi"}]}`
	whole = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{"type":"text","text":"hel\"lo"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}`
)

var now = time.Unix(1_767_323_045, 0)

func handler(rooms *protocoltest.Rooms) *openaiapi.Handler {
	return openaiapi.New(openaiapi.Options{Gateway: rooms.Gateway(), MaxBody: 1 << 20, Now: func() time.Time { return now }})
}

func serve(t testing.TB, rooms *protocoltest.Rooms) (url string) {
	return protocoltest.Server(t, handler(rooms).Register).URL + "/v1/chat/completions"
}

func TestWholeAnswer(t *testing.T) {
	cost := int64(1_234)
	usage := message.Usage{InputTokens: 3, OutputTokens: 2, CacheReadInputTokens: 5, CacheCreationInputTokens: 7}
	tests := []struct {
		name, body string
		cost       *int64
		want       string
	}{
		{"text", whole, &cost, `{"id":"chatcmpl-1","object":"chat.completion","created":1767323045,"model":"claude-haiku-5-5","system_fingerprint":null,` +
			`"choices":[{"index":0,"message":{"role":"assistant","content":"hel\"lo","refusal":null},"logprobs":null,"finish_reason":"stop"}],` +
			`"usage":{"prompt_tokens":15,"completion_tokens":2,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":5},"input_tokens":3,"output_tokens":2},` +
			`"content":"hel\"lo","cost":0.001234,"project_id":"acme"}`},
		{"thinking and tools", `{"id":"msg_1","model":"m","stop_reason":"tool_use","content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t1","name":"w","input":{"a":"b"}},{"type":"tool_use","id":"t2","name":"n","input":{}}]}`, nil,
			`{"id":"chatcmpl-1","object":"chat.completion","created":1767323045,"model":"m","system_fingerprint":null,` +
				`"choices":[{"index":0,"message":{"role":"assistant","content":null,"refusal":null,"reasoning_content":"hm",` +
				`"tool_calls":[{"id":"t1","type":"function","function":{"name":"w","arguments":"{\"a\":\"b\"}"}},{"id":"t2","type":"function","function":{"name":"n","arguments":"{}"}}]},"logprobs":null,"finish_reason":"tool_calls"}],` +
				`"usage":{"prompt_tokens":15,"completion_tokens":2,"total_tokens":17,"prompt_tokens_details":{"cached_tokens":5},"input_tokens":3,"output_tokens":2},` +
				`"content":"","cost":null,"project_id":"acme"}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{
				Message: []byte(tt.body), Result: gateway.Result{Summary: message.Summary{Usage: usage}, CostMicroUSD: tt.cost},
				Limits: gateway.Limits{RequestsLimit: 100, RequestsRemaining: 40, RequestsReset: 359_200 * time.Millisecond, TokensLimit: 900, TokensRemaining: 8, TokensReset: 59 * time.Second},
				Header: http.Header{"Request-Id": {"req_up"}},
			}
			answer := protocoltest.Post(t, serve(t, rooms), plain)
			if answer.Status != http.StatusOK || answer.Body != tt.want {
				t.Fatalf("%d\ngot  %s\nwant %s", answer.Status, answer.Body, tt.want)
			}
			for name, want := range map[string]string{
				"Content-Type": "application/json", "X-Request-Id": protocoltest.RequestID, "X-Claude-Backend": "cli", "Request-Id": "req_up",
				"X-Ratelimit-Limit-Requests": "100", "X-Ratelimit-Remaining-Requests": "40", "X-Ratelimit-Reset-Requests": "6m0s",
				"X-Ratelimit-Limit-Tokens": "900", "X-Ratelimit-Remaining-Tokens": "8", "X-Ratelimit-Reset-Tokens": "59s",
			} {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestErrors(t *testing.T) {
	tests := []struct {
		name   string
		err    error
		status int
		body   string
		header map[string]string
	}{
		{"any", errors.New("secret"), 500, `{"error":{"message":"internal error","type":"server_error","param":null,"code":"internal"}}`, nil},
		{"model", &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeModelNotFound, Param: "model", Message: "model: gpt-9"}, 404,
			`{"error":{"message":"model: gpt-9","type":"invalid_request_error","param":"model","code":"model_not_found"}}`, nil},
		{"rate limit", &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: time.Second}, 429,
			`{"error":{"message":"slow down","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
			map[string]string{"Retry-After": "1", "X-Ratelimit-Limit-Requests": "2", "X-Ratelimit-Reset-Requests": "1s"}},
		{"budget spent", apierror.New(apierror.BudgetExceeded, "spent"), 429,
			`{"error":{"message":"spent","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, map[string]string{"X-Should-Retry": "false"}},
		{"budget held", &apierror.Error{Category: apierror.BudgetExceeded, Message: "held", RetryAfter: time.Second}, 429,
			`{"error":{"message":"held","type":"requests","param":null,"code":"rate_limit_exceeded"}}`, map[string]string{"Retry-After": "1"}},
		{"upstream", &apierror.Error{Category: apierror.BadRequest, Message: "prompt is too long", Upstream: &apierror.Upstream{Status: 400, Body: []byte(`{"no":1}`)}}, 400,
			`{"error":{"message":"prompt is too long","type":"invalid_request_error","param":null,"code":null}}`, map[string]string{"X-Upstream-Status": "400"}},
		{"our credential", &apierror.Error{Category: apierror.AuthError, Message: "refused", Upstream: &apierror.Upstream{Status: 401, OurCredential: true}}, 502,
			`{"error":{"message":"refused","type":"server_error","param":null,"code":"upstream_error"}}`, nil},
		{"permission", apierror.New(apierror.Permission, "no"), 403, `{"error":{"message":"no","type":"permission_error","param":null,"code":"permission_denied"}}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Err: tt.err, Limits: gateway.Limits{RequestsLimit: 2, RequestsReset: time.Second}}
			answer := protocoltest.Post(t, serve(t, rooms), plain)
			if answer.Status != tt.status || answer.Body != tt.body {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
			for name, want := range tt.header {
				if got := answer.Header.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
	answer := protocoltest.Do(t, http.MethodPost, serve(t, &protocoltest.Rooms{}), plain)
	if want := `{"error":{"message":"invalid API key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`; answer.Status != 401 || answer.Body != want {
		t.Errorf("without a key: %d %s", answer.Status, answer.Body)
	}
	answer = protocoltest.Post(t, serve(t, &protocoltest.Rooms{}), strings.Repeat(" ", 1<<20+1))
	if answer.Status != 413 || !strings.Contains(answer.Body, `"code":"request_too_large"`) {
		t.Errorf("too large: %d %s", answer.Status, answer.Body)
	}
	answer = protocoltest.Post(t, serve(t, &protocoltest.Rooms{Message: []byte(`{"content":7}`)}), plain)
	if answer.Status != 502 {
		t.Errorf("an unreadable answer: %d %s", answer.Status, answer.Body)
	}
}

func TestWholeAnswerInJSONMode(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"fenced", "```json\\n{\\\"a\\\": \\\"\\u00e4\\\"}\\n```", `{\"a\": \"ä\"}`},
		{"plain", `{\"a\":1}`, `{\"a\":1}`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(`{"id":"msg_1","model":"m","content":[{"type":"text","text":"` + tt.text + `"}]}`)}
			answer := protocoltest.Post(t, serve(t, rooms), `{"response_format":{"type":"json_object"},`+plain[1:])
			if !strings.Contains(answer.Body, `"role":"assistant","content":"`+tt.want+`"`) || !strings.Contains(answer.Body, `,"content":"`+tt.want+`","cost"`) {
				t.Errorf("body = %s", answer.Body)
			}
			if got := string(rooms.Calls()[0].Request.Body()); !strings.Contains(got, `"system":"be brief\n\nAnswer with one valid JSON object`) {
				t.Errorf("request = %s", got)
			}
		})
	}
}

func TestRefusalAndUsageDetails(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(`{"id":"msg_1","model":"m","stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"not that"},"content":[],` +
		`"usage":{"service_tier":"standard","output_tokens_details":{"thinking_tokens":7}}}`)}
	answer := protocoltest.Post(t, serve(t, rooms), plain)
	for _, want := range []string{`"service_tier":"default"`, `"refusal":"not that"`, `"finish_reason":"content_filter"`, `"completion_tokens_details":{"reasoning_tokens":7}`} {
		if !strings.Contains(answer.Body, want) {
			t.Errorf("no %s in %s", want, answer.Body)
		}
	}
}

// The rules are those of the model as asked.
func TestRules(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	var asked []string
	h := openaiapi.New(openaiapi.Options{Gateway: rooms.Gateway(), Rules: func(model string) message.Rules {
		asked = append(asked, model)
		return message.Rules{NoSampling: model == "opus"}
	}})
	url := protocoltest.Server(t, h.Register).URL + "/v1/chat/completions"
	for _, model := range []string{`"opus"`, `"h\u0061iku"`, `null`} {
		protocoltest.Post(t, url, `{"model":`+model+`,"temperature":0.5,"messages":[{"role":"user","content":"hi"}]}`)
	}
	// What is chosen by the service is asked for again under its id.
	if got := strings.Join(asked, ","); got != "opus,haiku,,claude-haiku-5-5" {
		t.Errorf("asked for %q", got)
	}
	for i, call := range rooms.Calls() {
		if strings.Contains(string(call.Request.Body()), "temperature") != (i > 0) {
			t.Errorf("call %d: %s", i, call.Request.Body())
		}
	}
}

// Where the service chooses the model, the request is written for the one that
// it chose.
func TestChosenModel(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole), Warn: []string{"the backend's own"}}
	h := openaiapi.New(openaiapi.Options{Gateway: rooms.Gateway(), Rules: func(model string) message.Rules {
		if model == "claude-haiku-5-5" {
			return message.Rules{Thinking: []string{"adaptive", "disabled"}, ThinksByDefault: true}
		}
		return message.Rules{Thinking: []string{"adaptive"}, ThinksByDefault: true, NoSampling: true, NoForcedTools: true}
	}})
	url := protocoltest.Server(t, h.Register).URL + "/v1/chat/completions"
	answer := protocoltest.Post(t, url, `{"model":"auto","temperature":0.5,"seed":1,"project_id":"other","tool_choice":"required","response_format":{"type":"json_object"},`+
		`"tools":[{"type":"function","function":{"name":"w","strict":true,"parameters":{"type":"object","properties":{"a":{"minimum":1}}}}}],"messages":[{"role":"system","content":"S"},{"role":"user","content":"hi"}]}`)
	if want := "seed: has no effect here; tools.0.function.parameters: can't be enforced and stand in descriptions: minimum; project_id: the key's project is billed; the backend's own"; answer.Header.Get("X-Claude-Warnings") != want {
		t.Errorf("warnings = %q", answer.Header.Get("X-Claude-Warnings"))
	}
	const want = `{"model":"auto","thinking":{"type":"disabled"},"max_tokens":4096,"temperature":0.5,` +
		`"tools":[{"name":"w","input_schema":{"type":"object","properties":{"a":{"description":"{minimum: 1}"}},"additionalProperties":false},"strict":true}],"tool_choice":{"type":"any"},` +
		`"system":"S\n\nAnswer with one valid JSON object and nothing else: no text before or behind it, and no Markdown code fence around it.","messages":[{"role":"user","content":"hi"}]}`
	if got := string(rooms.Calls()[0].Request.Body()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

// A strict service judges a request by what the chosen model takes, not by what
// every model would.
func TestAStrictServiceJudgesForTheChosenModel(t *testing.T) {
	const chosen = "claude-haiku-5-5"
	for name, refused := range map[string]bool{"any": false, chosen: true} {
		rooms := &protocoltest.Rooms{Message: []byte(whole)}
		g := gateway.New(gateway.Options{Authenticator: rooms, Admitter: rooms, Router: rooms, Recorder: rooms, Observer: rooms, Strict: true})
		h := openaiapi.New(openaiapi.Options{Gateway: g, Rules: func(model string) message.Rules {
			return message.Rules{NoSampling: (model == chosen) == (name == chosen)}
		}})
		url := protocoltest.Server(t, h.Register).URL + "/v1/chat/completions"
		answer := protocoltest.Post(t, url, `{"temperature":0.5,"messages":[{"role":"user","content":"hi"}]}`)
		if (answer.Status == 400) != refused || len(rooms.Calls()) == 0 != refused {
			t.Errorf("%s has no sampling: %d %s", name, answer.Status, answer.Body)
		}
	}
}

func TestCall(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole), Warn: []string{"temperature: has no effect"}}
	answer := protocoltest.Post(t, serve(t, rooms),
		`{"use_cli":false,"project_id":"other","seed":7,"temperature":1.5,"messages":[{"role":"user","content":"hi"}]}`)
	call := rooms.Calls()[0]
	if call.Prefer != "direct" || call.Endpoint != "/v1/chat/completions" || call.Request.Model != "" {
		t.Errorf("call = %+v", call)
	}
	want := "seed: has no effect here; temperature: is at most 1 here, and was set to 1; project_id: the key's project is billed; temperature: has no effect"
	if got := answer.Header.Get("X-Claude-Warnings"); got != want {
		t.Errorf("warnings = %q", got)
	}
	if !strings.Contains(answer.Body, `"project_id":"acme"`) {
		t.Errorf("body = %s", answer.Body)
	}
}

func client(t *testing.T, rooms *protocoltest.Rooms) openai.Client {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return openai.NewClient(option.WithBaseURL(strings.TrimSuffix(serve(t, rooms), "chat/completions")),
		option.WithAPIKey(protocoltest.Key), option.WithHTTPClient(&http.Client{Transport: transport}), option.WithMaxRetries(0))
}

// The less common parameters, as the official SDK writes them.
func TestOfficialSDKParameters(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	c := client(t, rooms)
	function := openai.FunctionDefinitionParam{Name: "weather", Strict: openai.Bool(true), Parameters: openai.FunctionParameters{
		"type": "object", "properties": map[string]any{}, "additionalProperties": false,
	}}
	var raw *http.Response
	answer, err := c.Chat.Completions.New(t.Context(), openai.ChatCompletionNewParams{
		Model:           "sonnet",
		ReasoningEffort: openai.ReasoningEffortLow,
		ServiceTier:     openai.ChatCompletionNewParamsServiceTierAuto,
		Seed:            openai.Int(7),
		Messages: []openai.ChatCompletionMessageParamUnion{
			openai.DeveloperMessage("be brief"),
			openai.UserMessage([]openai.ChatCompletionContentPartUnionParam{
				openai.TextContentPart("what is it?"),
				openai.ImageContentPart(openai.ChatCompletionContentPartImageImageURLParam{URL: "https://x.test/a.png"}),
				openai.FileContentPart(openai.ChatCompletionContentPartFileFileParam{FileData: openai.String("data:application/pdf;base64,JVBERi0x"), Filename: openai.String("a.pdf")}),
			}),
		},
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(function)},
		ToolChoice: openai.ChatCompletionToolChoiceOptionUnionParam{OfAllowedTools: &openai.ChatCompletionAllowedToolChoiceParam{
			AllowedTools: openai.ChatCompletionAllowedToolsParam{
				Mode: openai.ChatCompletionAllowedToolsModeAuto, Tools: []map[string]any{{"type": "function", "function": map[string]any{"name": "weather"}}},
			},
		}},
		ResponseFormat: openai.ChatCompletionNewParamsResponseFormatUnion{OfJSONSchema: &shared.ResponseFormatJSONSchemaParam{
			JSONSchema: shared.ResponseFormatJSONSchemaJSONSchemaParam{Name: "answer", Strict: openai.Bool(true), Schema: map[string]any{"type": "object"}},
		}},
	}, option.WithResponseInto(&raw))
	if err != nil {
		t.Fatal(err)
	}
	if answer.Choices[0].Message.Content != `hel"lo` {
		t.Errorf("answer = %+v", answer)
	}
	if got := raw.Header.Get("X-Claude-Warnings"); got != "seed: has no effect here" {
		t.Errorf("warnings = %q", got)
	}
	const want = `{"model":"sonnet","thinking":{"type":"adaptive"},"max_tokens":6144,` +
		`"tools":[{"name":"weather","input_schema":{"properties":{},"type":"object","additionalProperties":false},"strict":true}],"tool_choice":{"type":"auto"},` +
		`"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"object","properties":{},"additionalProperties":false}}},` +
		`"system":"be brief","messages":[{"role":"user","content":[{"type":"text","text":"what is it?"},{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}},` +
		`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"},"title":"a.pdf"}]}]}`
	if got := string(rooms.Calls()[0].Request.Body()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestOfficialSDK(t *testing.T) {
	tools := golden(t, "tools.sse")
	result := summary(t, tools)
	rooms := &protocoltest.Rooms{Message: []byte(whole), Stream: tools, Result: result}
	client := client(t, rooms)
	params := openai.ChatCompletionNewParams{
		Model:    "haiku",
		Messages: []openai.ChatCompletionMessageParamUnion{openai.SystemMessage("be brief"), openai.UserMessage("hi")},
		Tools: []openai.ChatCompletionToolUnionParam{openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{
			Name: "weather", Parameters: openai.FunctionParameters{"type": "object"},
		})},
	}
	answer, err := client.Chat.Completions.New(t.Context(), params)
	if err != nil || answer.Choices[0].Message.Content != `hel"lo` || answer.Choices[0].FinishReason != "stop" || answer.Usage.PromptTokens != 12 {
		t.Fatalf("%+v, %v", answer, err)
	}

	params.StreamOptions.IncludeUsage = openai.Bool(true)
	stream := client.Chat.Completions.NewStreaming(t.Context(), params)
	var streamed openai.ChatCompletionAccumulator
	for stream.Next() {
		if !streamed.AddChunk(stream.Current()) {
			t.Errorf("chunk doesn't fit: %s", stream.Current().RawJSON())
		}
	}
	if stream.Err() != nil {
		t.Fatal(stream.Err())
	}
	choice := streamed.Choices[0]
	if choice.Message.Content != "I will look." || choice.FinishReason != "tool_calls" || streamed.Usage.TotalTokens != 21 {
		t.Errorf("%+v", streamed)
	}
	var arguments []string
	for _, call := range choice.Message.ToolCalls {
		arguments = append(arguments, call.Function.Name+call.Function.Arguments)
	}
	if got := strings.Join(arguments, " "); got != `weather{"city": "Paris"} now{} add{"a":1,"b":"x"}` {
		t.Errorf("tool calls = %s", got)
	}

	rooms.Err = &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeModelNotFound, Param: "model", Message: "model: x"}
	_, err = client.Chat.Completions.New(t.Context(), params)
	var failed *openai.Error
	if !errors.As(err, &failed) || failed.StatusCode != http.StatusNotFound || failed.Code != "model_not_found" || failed.Param != "model" {
		t.Errorf("err = %v", err)
	}
	stream = client.Chat.Completions.NewStreaming(t.Context(), params)
	for stream.Next() {
	}
	if stream.Err() == nil {
		t.Error("the SDK didn't see the error inside the stream")
	}
}

// TestSessionID: the session that is asked is the call's, and what has answered says so.
func TestSessionID(t *testing.T) {
	message := `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{}}`
	stream := "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"m\",\"usage\":{}}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	for _, asked := range []string{"false", "true"} {
		rooms := &protocoltest.Rooms{Message: []byte(message), Stream: []byte(stream)}
		url := serve(t, rooms)
		answer := protocoltest.Post(t, url, `{"session_id":"sess_1","stream":`+asked+`,"messages":[{"role":"user","content":"hi"}]}`)
		if answer.Status != http.StatusOK || !strings.Contains(answer.Body, `"session_id":"sess_1"`) {
			t.Errorf("stream %s: %d %s", asked, answer.Status, answer.Body)
		}
		call := rooms.Calls()[0]
		if call.Work == nil || call.Work.Session != "sess_1" || call.Work.Tools != nil || !call.Metered || len(call.Defaults) != 1 {
			t.Errorf("stream %s: the call asks for %+v; metered: %t, defaults %q", asked, call.Work, call.Metered, call.Defaults)
		}
		if answer := protocoltest.Post(t, url, `{"session_id":"sess_1","allowed_tools":["Read"],"messages":[{"role":"user","content":"hi"}]}`); answer.Status != http.StatusBadRequest || !strings.Contains(answer.Body, `"param":"session_id"`) {
			t.Errorf("with tools: %d %s", answer.Status, answer.Body)
		}
	}
}
