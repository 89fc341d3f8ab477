package anthropic

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

func TestUpstreamErrors(t *testing.T) {
	safe := header("retry-after", "30", "request-id", "req_up", "x-should-retry", "false",
		"anthropic-ratelimit-requests-limit", "50", "content-type", "application/json")
	all := safe.Clone()
	all.Set("Set-Cookie", "secret")
	all.Set("Server", "cloudflare")
	tests := []struct {
		status   int
		category apierror.Category
		code     apierror.Code
		answer   int // our status
		ours     bool
		words    bool // the upstream's words are shown
		after    time.Duration
	}{
		{status: 301, category: apierror.UpstreamError, answer: 502},
		{status: 400, category: apierror.BadRequest, answer: 400, words: true},
		{status: 401, category: apierror.AuthError, answer: 502, ours: true},
		{status: 402, category: apierror.UpstreamError, answer: 502},
		{status: 403, category: apierror.AuthError, answer: 502, ours: true},
		{status: 404, category: apierror.BadRequest, code: apierror.CodeModelNotFound, answer: 404, words: true},
		{status: 408, category: apierror.Timeout, answer: 504, after: 30 * time.Second},
		{status: 409, category: apierror.UpstreamError, answer: 502, after: 30 * time.Second},
		{status: 413, category: apierror.BadRequest, code: apierror.CodeTooLarge, answer: 413, words: true},
		{status: 422, category: apierror.BadRequest, answer: 400, words: true},
		{status: 429, category: apierror.RateLimited, answer: 429, after: 30 * time.Second},
		{status: 500, category: apierror.UpstreamError, answer: 502, after: 30 * time.Second},
		{status: 503, category: apierror.UpstreamError, answer: 502, after: 30 * time.Second},
		{status: 529, category: apierror.Overloaded, answer: 503, after: 30 * time.Second},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.status), func(t *testing.T) {
			body := errorJSON("some_error")
			b := newBackend(t, Options{Transport: &script{replies: []reply{{status: tt.status, header: all, body: body}}}})
			call, out := newCall(t, plainBody, "m"), &recorder{}
			result, err := b.Generate(t.Context(), call, out)
			var e *apierror.Error
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.Category != tt.category || e.Code != tt.code || e.Status() != tt.answer || e.RetryAfter != tt.after {
				t.Errorf("%s %s %d, retry after %v", e.Category, e.Code, e.Status(), e.RetryAfter)
			}
			if e.Upstream.Status != tt.status || string(e.Upstream.Body) != body || e.Upstream.OurCredential != tt.ours {
				t.Errorf("upstream %+v", e.Upstream)
			}
			if fmt.Sprint(e.Upstream.Header) != fmt.Sprint(safe) {
				t.Errorf("header %v, want %v", e.Upstream.Header, safe)
			}
			if strings.Contains(e.Message, "words of the upstream") != tt.words {
				t.Errorf("message %q", e.Message)
			}
			if result != (gateway.Result{}) || out.messages != 0 {
				t.Errorf("result %+v", result)
			}
			if call.UpstreamHeader.Get("Request-Id") != "req_up" {
				t.Errorf("header %v", call.UpstreamHeader)
			}
		})
	}
}

func TestUnusableAnswers(t *testing.T) {
	start := answer[:300]
	tests := []struct {
		name, body string
		reply      reply
		message    string
		seen       bool // the result holds what was seen
	}{
		{name: "not JSON", body: plainBody, reply: reply{body: "<html>"}, message: "can't be read"},
		{name: "too long by its length", body: plainBody, reply: reply{body: "{}", length: maxAnswer + 1}, message: "too large"},
		{name: "too long", body: plainBody, reply: reply{body: strings.Repeat(" ", maxAnswer+1)}, message: "too large"},
		{name: "shorter than its length", body: plainBody, reply: reply{body: "{}", length: 3}, message: "connection to the upstream failed"},
		{name: "stream without end", body: streamBody, reply: reply{body: start + "\n\n"}, message: "broke off", seen: true},
		{name: "stream ends in an event", body: streamBody, reply: reply{body: start + "\n\nevent: x"}, message: "broke off", seen: true},
		{name: "stream of something else", body: streamBody, reply: reply{body: plainAnswer}, message: "broke off"},
		{name: "event not JSON", body: streamBody, reply: reply{body: "event: message_start\ndata: {\n\n"}, message: "can't be read"},
		{name: "event too large", body: streamBody, reply: reply{body: "data: " + strings.Repeat("x", maxEvent)}, message: "too large"},
		{
			name: "error event", body: streamBody, message: "overloaded", seen: true,
			reply: reply{body: start + "\n\nevent: error\ndata: " + errorJSON("overloaded_error") + "\n\n"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b := newBackend(t, Options{Transport: &script{replies: []reply{tt.reply}}, Retries: -1, Price: price})
			result, err := b.Generate(t.Context(), newCall(t, tt.body, "m"), &recorder{})
			var e *apierror.Error
			if !errors.As(err, &e) || !strings.Contains(e.Message, tt.message) {
				t.Errorf("error %v, want %q", err, tt.message)
			}
			if seen := result.Usage.InputTokens == 10 && result.CostMicroUSD != nil; seen != tt.seen {
				t.Errorf("result %+v", result)
			}
		})
	}
}

func TestCallerCannotBeWrittenTo(t *testing.T) {
	gone := errors.New("broken pipe")
	b := newBackend(t, Options{Transport: &script{replies: []reply{{body: answer}}}})
	out := &recorder{onEvent: func(message.Event) error { return gone }}
	_, err := b.Generate(t.Context(), newCall(t, streamBody, "m"), out)
	if !errors.Is(err, gone) || len(out.types) != 1 {
		t.Errorf("error %v after %d events", err, len(out.types))
	}
}

func TestEventsWithoutNames(t *testing.T) {
	nameless := strings.ReplaceAll(strings.ReplaceAll(answer, "event: message_start\n", ""), "event: message_stop\n", "")
	b := newBackend(t, Options{Transport: &script{replies: []reply{{body: nameless}}}})
	out := &recorder{}
	result, err := b.Generate(t.Context(), newCall(t, streamBody, "m"), out)
	if err != nil {
		t.Fatal(err)
	}
	if result.Summary != wantSummary() || out.types[0] != message.EventMessageStart || out.raw.String() != nameless {
		t.Errorf("%+v %v", result, out.types)
	}
}

func FuzzRetryAfter(f *testing.F) {
	f.Add("3", "")
	f.Add("Sat, 01 Jan 2000 00:00:04 GMT", "x")
	f.Add("NaN", "1e300")
	f.Fuzz(func(t *testing.T, after, ms string) {
		d, ok := retryAfter(http.Header{"Retry-After": {after}, "Retry-After-Ms": {ms}})
		if d < 0 || !ok && d != 0 {
			t.Errorf("retryAfter(%q, %q) = %v, %v", after, ms, d, ok)
		}
	})
}

// TestBrokenOffAnswersAreCounted: the upstream tells how many tokens an answer has at
// its end, so whoever leaves before that must not have it for nothing.
func TestBrokenOffAnswersAreCounted(t *testing.T) {
	begun, _, _ := strings.Cut(answer, "event: content_block_delta")
	delta := "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"" +
		strings.Repeat("word ", 7) + "\"}}\n\n"
	_, end, _ := strings.Cut(answer, "event:novel")
	for name, test := range map[string]struct {
		body   string
		lowest int64 // call.MaxTokens
		want   int64
	}{
		"in the middle":               {body: begun + delta + delta, want: 20},
		"at what was reserved":        {body: begun + delta + delta, lowest: 12, want: 12},
		"before anything":             {body: begun, want: 1},
		"behind the upstream's count": {body: begun + delta + delta + "event:novel" + strings.TrimSuffix(end, "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"), want: 7},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t, Options{Price: price, Transport: &script{replies: []reply{{body: test.body}}}})
			call := newCall(t, strings.Replace(streamBody, `"max_tokens":9`, `"max_tokens":4096`, 1), "claude-a")
			call.MaxTokens = test.lowest
			result, err := b.Generate(t.Context(), call, &recorder{})
			if err == nil || result.Usage.OutputTokens != test.want || result.CostMicroUSD == nil || *result.CostMicroUSD != 10+5*test.want {
				t.Errorf("%+v, %v, want %d tokens", result, err, test.want)
			}
		})
	}
}
