package anthropicapi_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(int) { http.DefaultClient.CloseIdleConnections() }))
}

const (
	plain = `{"model":"haiku","max_tokens":10,"messages":[{"role":"user","content":"hi"}]}`
	whole = `{"id":"msg_1","type":"message","role":"assistant","model":"claude-haiku-5-5","content":[{"type":"text","text":"hello"}],"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":2}}`

	start = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-haiku-5-5\",\"content\":[],\"stop_reason\":null,\"usage\":{\"input_tokens\":3,\"output_tokens\":1}}}\n\n" +
		"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"hello\"}}\n\n"
	rest = "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
		"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"stop_sequence\":null},\"usage\":{\"output_tokens\":2}}\n\n" +
		"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
)

var now = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func serve(t testing.TB, rooms *protocoltest.Rooms) string {
	h := anthropicapi.New(anthropicapi.Options{Gateway: rooms.Gateway(), Models: models(), Now: func() time.Time { return now }})
	return protocoltest.Server(t, h.Register).URL
}

func streaming(body string) string { return strings.Replace(body, "{", `{"stream":true,`, 1) }

func TestWholeAnswerPassesUnchanged(t *testing.T) {
	rooms := &protocoltest.Rooms{
		Message: []byte(whole), Warn: []string{"temperature: has no effect"},
		Limits: gateway.Limits{RequestsLimit: 100, RequestsRemaining: 99, RequestsReset: 600 * time.Millisecond, TokensLimit: 5000, TokensRemaining: 4000, TokensReset: 12 * time.Second},
	}
	url := serve(t, rooms)
	answer := protocoltest.Post(t, url+"/v1/messages?beta=true", plain, "anthropic-version", "2023-06-01", "anthropic-beta", "a,b", "x-claude-backend", "cli")
	if answer.Status != http.StatusOK || answer.Body != whole {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	for name, want := range map[string]string{
		"Content-Type": "application/json", "Request-Id": protocoltest.RequestID, "X-Claude-Backend": "cli",
		"X-Claude-Warnings":                      "temperature: has no effect",
		"Anthropic-Ratelimit-Requests-Limit":     "100",
		"Anthropic-Ratelimit-Requests-Remaining": "99",
		"Anthropic-Ratelimit-Requests-Reset":     "2026-03-01T12:00:01Z",
		"Anthropic-Ratelimit-Tokens-Limit":       "5000",
		"Anthropic-Ratelimit-Tokens-Remaining":   "4000",
		"Anthropic-Ratelimit-Tokens-Reset":       "2026-03-01T12:00:12Z",
	} {
		if got := answer.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if got := answer.Header.Get("Server-Timing"); !strings.Contains(got, "total;dur=") {
		t.Errorf("Server-Timing = %q", got)
	}
	call := rooms.Calls()[0]
	if call.Forward.Get("anthropic-version") != "2023-06-01" || call.Forward.Get("anthropic-beta") != "a,b" || len(call.Forward) != 2 {
		t.Errorf("forward = %v", call.Forward)
	}
	if call.Prefer != "cli" || string(call.Request.Body()) != plain {
		t.Errorf("call = %+v", call)
	}
}

func TestStreamPassesUnchanged(t *testing.T) {
	// The upstream's own framing, with a comment and a field that we don't know.
	odd := strings.Replace(start, "event: content_block_start", ": note\nretry: 3\nevent: content_block_start", 1)
	for _, tt := range []struct {
		name           string
		stream, expect string
		framed         bool
	}{
		{"framed by the upstream", odd + rest, odd + rest, true},
		{"framed here", start + rest, start + rest, false},
		{"without message_stop", start, start + "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Stream: []byte(tt.stream), Framed: tt.framed}
			answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", streaming(plain))
			if answer.Status != http.StatusOK || answer.Body != tt.expect {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			if got := answer.Header.Get("Content-Type"); got != "text/event-stream" {
				t.Errorf("Content-Type = %q", got)
			}
			if got := answer.Trailer.Get("Server-Timing"); !strings.Contains(got, "total;dur=") {
				t.Errorf("trailer = %q", got)
			}
		})
	}
}

// The last bytes may only leave behind the ledger's commit.
func TestLastBytesWaitForTheLedger(t *testing.T) {
	for _, body := range []string{plain, streaming(plain)} {
		rooms := &protocoltest.Rooms{Message: []byte(whole), Stream: []byte(start + rest), RecordErr: errors.New("disk full")}
		answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", body)
		if strings.Contains(answer.Body, "message_stop") || strings.Contains(answer.Body, `"hello"}],`) {
			t.Errorf("an answer that wasn't recorded was completed: %s", answer.Body)
		}
		if !strings.Contains(answer.Body, `"type":"api_error"`) || strings.Contains(answer.Body, "disk") {
			t.Errorf("body = %s", answer.Body)
		}
	}
}

func TestErrorInsideStream(t *testing.T) {
	rooms := &protocoltest.Rooms{Stream: []byte(start), Err: apierror.New(apierror.Overloaded, "busy")}
	answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", streaming(plain))
	want := start + "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"},\"request_id\":\"req_test\"}\n\n"
	if answer.Status != http.StatusOK || answer.Body != want {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}

func TestErrorBeforeStreamHasItsStatus(t *testing.T) {
	rooms := &protocoltest.Rooms{Err: apierror.New(apierror.Timeout, "slow")}
	answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", streaming(plain))
	if answer.Status != http.StatusGatewayTimeout || !strings.Contains(answer.Body, `"timeout_error"`) {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
	if got := answer.Header.Get("X-Claude-Backend"); got != "cli" {
		t.Errorf("X-Claude-Backend = %q", got)
	}
}

func TestErrors(t *testing.T) {
	upstream := func(status int, ours bool) *apierror.Error {
		return &apierror.Error{
			Category: apierror.UpstreamError, Message: "the upstream failed",
			Upstream: &apierror.Upstream{Status: status, Body: []byte(`{"upstream":1}`), OurCredential: ours,
				Header: http.Header{"Retry-After": {"7"}, "Request-Id": {"req_up"}}},
		}
	}
	ours := upstream(401, true)
	ours.Category = apierror.AuthError
	tests := []struct {
		name   string
		err    error
		status int
		body   string
		header map[string]string
	}{
		{"any", errors.New("secret"), 500, `{"type":"error","error":{"type":"api_error","message":"internal error"},"request_id":"req_test"}`, nil},
		{"rate limit", &apierror.Error{Category: apierror.RateLimited, Message: "slow down", RetryAfter: 4500 * time.Millisecond}, 429,
			`{"type":"error","error":{"type":"rate_limit_error","message":"slow down"},"request_id":"req_test"}`,
			map[string]string{"Retry-After": "5", "X-Error-Category": "rate_limited", "Anthropic-Ratelimit-Requests-Limit": "2"}},
		{"budget spent", apierror.New(apierror.BudgetExceeded, "spent"), 402,
			`{"type":"error","error":{"type":"billing_error","message":"spent"},"request_id":"req_test"}`,
			map[string]string{"X-Should-Retry": "false"}},
		{"budget held", &apierror.Error{Category: apierror.BudgetExceeded, Message: "held", RetryAfter: time.Second}, 429,
			`{"type":"error","error":{"type":"rate_limit_error","message":"held"},"request_id":"req_test"}`,
			map[string]string{"X-Should-Retry": "", "Retry-After": "1"}},
		{"upstream passes", upstream(529, false), 529, `{"upstream":1}`,
			map[string]string{"Retry-After": "7", "Request-Id": "req_up", "X-Upstream-Status": "529", "X-Error-Category": "upstream_error"}},
		{"our credential", ours, 502, `{"type":"error","error":{"type":"api_error","message":"the upstream failed"},"request_id":"req_test"}`,
			map[string]string{"X-Upstream-Status": "401", "Retry-After": ""}},
		{"model", &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeModelNotFound, Message: "model: x"}, 404,
			`{"type":"error","error":{"type":"not_found_error","message":"model: x"},"request_id":"req_test"}`, nil},
		{"thread", &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeThread, Message: "thread: no"}, 400,
			`{"type":"error","error":{"type":"invalid_request_error","message":"thread: no","details":{"error_code":"thread_unsupported_request","unsupported":["cli_backend"]}},"request_id":"req_test"}`, nil},
		{"permission", apierror.New(apierror.Permission, "no"), 403,
			`{"type":"error","error":{"type":"permission_error","message":"no"},"request_id":"req_test"}`, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Err: tt.err, Limits: gateway.Limits{RequestsLimit: 2}}
			answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", plain)
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
}

func TestBadRequests(t *testing.T) {
	tests := []struct {
		name, key, body string
		status          int
		contains        string
	}{
		{"bad key", "no", plain, 401, `"authentication_error"`},
		{"no JSON", protocoltest.Key, `{`, 400, `"invalid_request_error"`},
		{"no max_tokens", protocoltest.Key, `{"messages":[]}`, 400, `max_tokens: field required`},
		{"no messages", protocoltest.Key, `{"max_tokens":1}`, 400, `messages: field required`},
		{"too large", protocoltest.Key, strings.Repeat(" ", 1<<20+1), 413, `"request_too_large"`},
	}
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	h := anthropicapi.New(anthropicapi.Options{Gateway: rooms.Gateway(), MaxBody: 1 << 20})
	url := protocoltest.Server(t, h.Register).URL
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			answer := protocoltest.Do(t, http.MethodPost, url+"/v1/messages", tt.body, "x-api-key", tt.key)
			if answer.Status != tt.status || !strings.Contains(answer.Body, tt.contains) {
				t.Errorf("%d %s", answer.Status, answer.Body)
			}
		})
	}
	if calls := rooms.Calls(); len(calls) != 0 {
		t.Errorf("%d bad requests reached the backend", len(calls))
	}
}

func TestModelMayBeAbsent(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", `{"max_tokens":1,"messages":[],"use_cli":false}`)
	if answer.Status != http.StatusOK {
		t.Fatalf("%d %s", answer.Status, answer.Body)
	}
	if call := rooms.Calls()[0]; call.Request.Model != "" || call.Prefer != "direct" {
		t.Errorf("model %q, prefer %q", call.Request.Model, call.Prefer)
	}
}

func TestBackendThatAnswersInTheWrongForm(t *testing.T) {
	rooms := &protocoltest.Rooms{} // no message for a plain request
	if answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", plain); answer.Status != http.StatusInternalServerError {
		t.Errorf("%d %s", answer.Status, answer.Body)
	}
}

func TestOfficialSDK(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole), Stream: []byte(start + rest), Framed: true}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := anthropic.NewClient(option.WithBaseURL(serve(t, rooms)), option.WithAPIKey(protocoltest.Key),
		option.WithHTTPClient(&http.Client{Transport: transport}), option.WithMaxRetries(0))
	params := anthropic.MessageNewParams{
		Model: "haiku", MaxTokens: 10, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	}
	answer, err := client.Messages.New(t.Context(), params)
	if err != nil || answer.Content[0].Text != "hello" || answer.Usage.InputTokens != 3 {
		t.Fatalf("%+v, %v", answer, err)
	}

	stream := client.Messages.NewStreaming(t.Context(), params)
	var streamed anthropic.Message
	for stream.Next() {
		if err := streamed.Accumulate(stream.Current()); err != nil {
			t.Fatal(err)
		}
	}
	if stream.Err() != nil || streamed.Content[0].Text != "hello" || streamed.StopReason != "end_turn" {
		t.Errorf("%+v, %v", streamed, stream.Err())
	}

	page, err := client.Models.List(t.Context(), anthropic.ModelListParams{Limit: anthropic.Int(1000)})
	if err != nil || len(page.Data) != 3 || page.Data[0].ID != "claude-haiku-5-5" || page.HasMore {
		t.Errorf("%+v, %v", page, err)
	}

	rooms.Err = apierror.New(apierror.Permission, "not you")
	_, err = client.Messages.New(t.Context(), params)
	var failed *anthropic.Error
	if !errors.As(err, &failed) || failed.StatusCode != http.StatusForbidden || failed.RequestID != protocoltest.RequestID {
		t.Errorf("err = %v", err)
	}
}
