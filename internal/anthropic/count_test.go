package anthropic

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
)

func TestCountTokens(t *testing.T) {
	upstream, _ := simulate(t)
	b := newBackend(t, Options{BaseURL: upstream.URL(), PromptCaching: true, Price: price})
	const body = `{"model":"claude-haiku-5-5","system":"Be  brief.","messages":[{"role":"user","content":"how long is this"}]}`
	call := newCall(t, body, "claude-haiku-5-5")
	call.CountOnly, call.Query = true, "beta=true"
	call.Forward = http.Header{"Anthropic-Beta": {"token-counting-2024-11-01"}}
	out := &recorder{}
	result, err := b.Generate(t.Context(), call, out)
	if err != nil {
		t.Fatal(err)
	}
	if result.Summary != (message.Summary{}) || result.CostMicroUSD == nil || *result.CostMicroUSD != 0 {
		t.Errorf("a count has a result: %+v", result)
	}
	if string(out.message) != `{"input_tokens":7}` {
		t.Errorf("answer = %s", out.message)
	}
	got := upstream.Requests()[0]
	if got.Path != "/v1/messages/count_tokens" || got.Query != "beta=true" || string(got.Body) != body {
		t.Errorf("upstream got %s?%s %s", got.Path, got.Query, got.Body)
	}
	if got.Header.Get("Anthropic-Beta") == "" || got.Header.Get("X-Api-Key") != "sk-test" {
		t.Errorf("header = %v", got.Header)
	}
}

func TestCountIsRetriedAndFailsAsMessagesDo(t *testing.T) {
	upstream, b := simulate(t)
	count := func(words string) (*recorder, error) {
		call := newCall(t, prompt("true", words), "claude-haiku-5-5") // a count is never a stream
		call.CountOnly = true
		out := &recorder{}
		_, err := b.Generate(t.Context(), call, out)
		return out, err
	}
	if out, err := count("[[error=529 times=1 retry-after=0]] hi"); err != nil || out.messages != 1 {
		t.Errorf("%d messages, %v", out.messages, err)
	}
	if n := upstream.Stats().Requests["/v1/messages/count_tokens"]; n != 2 {
		t.Errorf("%d requests, want 2", n)
	}
	_, err := count("[[error=400]] hi")
	var e *apierror.Error
	if !errors.As(err, &e) || e.Upstream == nil || e.Upstream.Status != http.StatusBadRequest || len(e.Upstream.Body) == 0 {
		t.Errorf("err = %v", err)
	}
}

// TestACountThatBreaksOffIsNone has the upstream end a count in the middle, as if
// it were whole: no half of one may reach the caller.
func TestACountThatBreaksOffIsNone(t *testing.T) {
	for _, body := range []string{`{"input_t`, "", "<html>"} {
		upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, body) }))
		b := newBackend(t, Options{BaseURL: upstream.URL, Retries: -1})
		call := newCall(t, prompt("false", "hi"), "claude-haiku-5-5")
		call.CountOnly = true
		out := &recorder{}
		_, err := b.Generate(t.Context(), call, out)
		var e *apierror.Error
		if !errors.As(err, &e) || e.Category != apierror.UpstreamError || out.messages != 0 {
			t.Errorf("%q: %d messages, %v", body, out.messages, err)
		}
		upstream.Close()
	}
}

func TestQueryIsSentOn(t *testing.T) {
	upstream, b := simulate(t)
	call := newCall(t, prompt("false", "hi"), "claude-haiku-5-5")
	call.Query = "beta=true&x=%20"
	if _, err := b.Generate(t.Context(), call, &recorder{}); err != nil {
		t.Fatal(err)
	}
	if got := upstream.Requests()[0]; got.Path != "/v1/messages" || got.Query != call.Query {
		t.Errorf("upstream got %s?%s", got.Path, got.Query)
	}
}
