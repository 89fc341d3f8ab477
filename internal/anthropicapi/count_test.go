package anthropicapi_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/anthropics/anthropic-sdk-go/option"

	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestCountTokens(t *testing.T) {
	for _, test := range []struct {
		name, key, body string
		status          int
		want            string // of the answer
	}{
		{"without max_tokens", protocoltest.Key, `{"model":"haiku","messages":[{"role":"user","content":"hi"}]}`, 200, `{"input_tokens":7}`},
		{"with max_tokens", protocoltest.Key, plain, 200, `{"input_tokens":7}`},
		{"never a stream", protocoltest.Key, streaming(plain), 200, `{"input_tokens":7}`},
		{"no messages", protocoltest.Key, `{"model":"haiku"}`, 400, `messages: field required`},
		{"bad key", "no", plain, 401, `"authentication_error"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			rooms := &protocoltest.Rooms{Message: []byte(`{"input_tokens":7}`)}
			answer := protocoltest.Do(t, http.MethodPost, serve(t, rooms)+"/v1/messages/count_tokens?beta=true", test.body, "x-api-key", test.key)
			if answer.Status != test.status || !strings.Contains(answer.Body, test.want) {
				t.Fatalf("%d %s", answer.Status, answer.Body)
			}
			calls := rooms.Calls()
			if test.status != http.StatusOK {
				if len(calls) != 0 {
					t.Error("a bad request reached the backend")
				}
				return
			}
			if call := calls[0]; !call.CountOnly || call.Endpoint != "/v1/messages/count_tokens" || call.Query != "beta=true" || string(call.Request.Body()) != test.body {
				t.Errorf("call = %+v", call)
			}
			if rows := rooms.Entries(); len(rows) != 1 || rows[0].Result.CostMicroUSD != nil {
				t.Errorf("rows = %+v", rows)
			}
		})
	}
}

func TestCountTokensBySDK(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(`{"input_tokens":7}`)}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	client := anthropic.NewClient(option.WithBaseURL(serve(t, rooms)), option.WithAPIKey(protocoltest.Key),
		option.WithHTTPClient(&http.Client{Transport: transport}), option.WithMaxRetries(0))
	count, err := client.Messages.CountTokens(t.Context(), anthropic.MessageCountTokensParams{
		Model: "haiku", Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("hi"))},
	})
	if err != nil || count.InputTokens != 7 {
		t.Errorf("%+v, %v", count, err)
	}
}

// TestForward checks which headers may reach the upstream. The list is open: new
// ones come with new clients.
func TestForward(t *testing.T) {
	rooms := &protocoltest.Rooms{Message: []byte(whole)}
	protocoltest.Post(t, serve(t, rooms)+"/v1/messages", plain,
		"anthropic-version", "2023-06-01", "anthropic-beta", "a,b", "anthropic-workspace-id", "w", "anthropic-novel", "n",
		"x-claude-code-session-id", "s", "x-claude-code-agent-id", "a",
		"authorization", "Bearer x", "cookie", "c", "x-simulator", "hang", "x-claude-backend", "cli", "x-stainless-lang", "go")
	got := rooms.Calls()[0].Forward
	want := map[string]string{
		"Anthropic-Version": "2023-06-01", "Anthropic-Beta": "a,b", "Anthropic-Workspace-Id": "w", "Anthropic-Novel": "n",
		"X-Claude-Code-Session-Id": "s", "X-Claude-Code-Agent-Id": "a",
	}
	for name, value := range want {
		if got.Get(name) != value {
			t.Errorf("%s = %q, want %q", name, got.Get(name), value)
		}
	}
	if len(got) != len(want) {
		t.Errorf("forward = %v", got)
	}
}
