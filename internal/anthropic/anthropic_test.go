package anthropic

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// recorder is an EventWriter that keeps what it is given.
type recorder struct {
	raw      bytes.Buffer // the Raw bytes of all events
	types    []string
	flushed  []int // how many events each flush sent along
	message  []byte
	onEvent  func(message.Event) error
	onFlush  func()
	messages int
}

func (r *recorder) Event(e message.Event) error {
	r.raw.Write(e.Raw)
	r.types = append(r.types, e.Type)
	if r.onEvent != nil {
		return r.onEvent(e)
	}
	return nil
}

func (r *recorder) Flush() error {
	r.flushed = append(r.flushed, len(r.types))
	if r.onFlush != nil {
		r.onFlush()
	}
	return nil
}

func (r *recorder) Message(body []byte) error {
	r.message = bytes.Clone(body)
	r.messages++
	return nil
}

func (r *recorder) End(gateway.Result) error { return nil }

func newCall(t testing.TB, body, model string) *gateway.Call {
	t.Helper()
	request, err := message.ParseRequest([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return &gateway.Call{RequestID: "req_test", Request: request, Model: model, Clock: latency.Start()}
}

func newBackend(t testing.TB, o Options) *Backend {
	t.Helper()
	if o.APIKey == "" && o.AuthToken == "" {
		o.APIKey = "sk-test"
	}
	b, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	return b
}

// serve starts an upstream and gives its address.
func serve(t testing.TB, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

const (
	plainBody  = `{"model":"claude-a", "max_tokens": 9,"messages":[{"role":"user","content":"h\u00e9"}],"unknown":{"x":[1.0]}}`
	streamBody = `{"model":"claude-a","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
)

// answer is a stream with all that must survive: a comment, a ping, odd spaces,
// an unknown event, carriage returns.
const answer = ": hello\n\n" +
	"event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\",\"model\":\"claude-b\",\"usage\":{\"input_tokens\":10,\"cache_read_input_tokens\":3,\"output_tokens\":1}}}\n\n" +
	"event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n" +
	"event: ping\ndata: {\"type\": \"ping\"}\n\n" +
	"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"h\\u00e9 ☃\"}}      \n\n" +
	"event:novel\r\ndata:{ \"type\" : \"novel\" }\r\n\r\n" +
	"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n" +
	"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"},\"usage\":{\"output_tokens\":7}}\n\n" +
	"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

const plainAnswer = `{"id":"msg_1", "type":"message","role":"assistant","model":"claude-b","content":[{"type":"text","text":"h\u00e9"}],"stop_reason":"end_turn","usage":{"input_tokens":10,"cache_read_input_tokens":3,"output_tokens":7}}` + "\n"

func wantSummary() message.Summary {
	return message.Summary{
		ID: "msg_1", Model: "claude-b", StopReason: "end_turn",
		Usage: message.Usage{InputTokens: 10, OutputTokens: 7, CacheReadInputTokens: 3},
	}
}

func price(model string, _ time.Time, u message.Usage) (int64, bool) {
	return u.InputTokens + 5*u.OutputTokens, model == "claude-b"
}

func checkResult(t *testing.T, call *gateway.Call, got gateway.Result) {
	t.Helper()
	if got.Summary != wantSummary() {
		t.Errorf("summary %+v, want %+v", got.Summary, wantSummary())
	}
	if got.CostMicroUSD == nil || *got.CostMicroUSD != 45 {
		t.Errorf("cost %v, want 45", got.CostMicroUSD)
	}
	if id := call.UpstreamHeader.Get("request-id"); id != "req_up" {
		t.Errorf("request-id %q", id)
	}
	if len(call.UpstreamHeader) != 1 {
		t.Errorf("upstream header %v, want request-id alone", call.UpstreamHeader)
	}
	if _, known := call.Clock.Took(latency.FirstByte); !known {
		t.Error("first byte not marked")
	}
}

func TestStreamBytesUnchanged(t *testing.T) {
	events := strings.SplitAfter(answer, "\n\n")
	bytewise := strings.Split(answer, "")
	for name, chunks := range map[string][]string{
		"at once": {answer}, "event by event": events, "byte by byte": bytewise,
		"in the middle": {answer[:200], answer[200:201], answer[201:]},
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got, _ = io.ReadAll(r.Body)
				w.Header().Set("Content-Type", "text/event-stream")
				w.Header().Set("Request-Id", "req_up")
				w.Header().Set("Anthropic-Ratelimit-Requests-Limit", "50")
				for _, chunk := range chunks {
					_, _ = io.WriteString(w, chunk)
					w.(http.Flusher).Flush()
				}
			})
			b := newBackend(t, Options{BaseURL: url, Price: price})
			call, out := newCall(t, streamBody, "claude-a"), &recorder{}
			result, err := b.Generate(t.Context(), call, out)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != streamBody {
				t.Errorf("upstream got %s", got)
			}
			if out.raw.String() != answer {
				t.Errorf("caller got %q\nwant %q", out.raw.String(), answer)
			}
			checkResult(t, call, result)
			if last := out.flushed[len(out.flushed)-1]; last != len(out.types) {
				t.Errorf("last flush after event %d of %d", last, len(out.types))
			}
		})
	}
}

func TestPlainBytesUnchanged(t *testing.T) {
	for name, chunks := range map[string][]string{
		"with length": {plainAnswer},
		"chunked":     strings.Split(plainAnswer, ""),
	} {
		t.Run(name, func(t *testing.T) {
			var got []byte
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				got, _ = io.ReadAll(r.Body)
				w.Header().Set("Request-Id", "req_up")
				for _, chunk := range chunks {
					_, _ = io.WriteString(w, chunk)
					if len(chunks) > 1 {
						w.(http.Flusher).Flush()
					}
				}
			})
			var at time.Time
			b := newBackend(t, Options{BaseURL: url, Price: func(model string, moment time.Time, u message.Usage) (int64, bool) {
				at = moment
				return price(model, moment, u)
			}})
			call, out := newCall(t, plainBody, "claude-a"), &recorder{}
			result, err := b.Generate(t.Context(), call, out)
			if err != nil {
				t.Fatal(err)
			}
			if at.IsZero() || !at.Equal(call.Clock.StartTime()) {
				t.Errorf("priced at %v, the request came at %v", at, call.Clock.StartTime())
			}
			if string(got) != plainBody {
				t.Errorf("upstream got %s", got)
			}
			if string(out.message) != plainAnswer || out.messages != 1 {
				t.Errorf("caller got %d messages, %q", out.messages, out.message)
			}
			checkResult(t, call, result)
		})
	}
}

func TestRequest(t *testing.T) {
	large := strings.Repeat("x", 1<<20)
	tests := []struct {
		name    string
		options Options
		forward http.Header
		body    string
		model   string
		want    string // the body
		header  map[string]string
	}{
		{
			name: "API key", options: Options{APIKey: "sk-1", AuthToken: "tok"}, body: plainBody, model: "claude-a", want: plainBody,
			header: map[string]string{
				"X-Api-Key": "sk-1", "Authorization": "", "Anthropic-Version": "2023-06-01",
				"Content-Type": "application/json", "Accept-Encoding": "",
			},
		},
		{
			name: "auth token", options: Options{AuthToken: "tok"}, body: plainBody, model: "claude-a", want: plainBody,
			header: map[string]string{"X-Api-Key": "", "Authorization": "Bearer tok"},
		},
		{
			name: "forwarded header", options: Options{APIKey: "sk-1", Version: "2024-01-01"}, body: plainBody, model: "claude-a", want: plainBody,
			forward: http.Header{
				"anthropic-version": {"2025-05-05"}, "Anthropic-Beta": {"a,b", "c"},
				"X-Api-Key": {"cc_callers"}, "Authorization": {"Bearer cc_callers"},
			},
			header: map[string]string{
				"Anthropic-Version": "2025-05-05", "Anthropic-Beta": "a,b|c", "X-Api-Key": "sk-1", "Authorization": "",
			},
		},
		{
			name: "other model, use_cli left out", body: `{"use_cli":false,"model":"haiku","messages":[]}`, model: "claude-h",
			want: `{"model":"claude-h","messages":[]}`,
		},
		{
			name: "large body, other model", body: `{"model":"haiku","messages":["` + large + `"]}`, model: "claude-h",
			want: `{"model":"claude-h","messages":["` + large + `"]}`,
		},
		{
			name: "prompt caching", options: Options{PromptCaching: true}, body: `{"model":"m","messages":[],"system":"s"}`, model: "m",
			want: `{"cache_control":{"type":"ephemeral"},"model":"m","messages":[],"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var body []byte
			var got *http.Request
			tt.options.BaseURL = serve(t, func(w http.ResponseWriter, r *http.Request) {
				got = r
				body, _ = io.ReadAll(r.Body)
				_, _ = io.WriteString(w, plainAnswer)
			}) + "/prefix/"
			b := newBackend(t, tt.options)
			call := newCall(t, tt.body, tt.model)
			call.Forward = tt.forward
			if _, err := b.Generate(t.Context(), call, &recorder{}); err != nil {
				t.Fatal(err)
			}
			if got.Method != http.MethodPost || got.URL.Path != "/prefix/v1/messages" {
				t.Errorf("%s %s", got.Method, got.URL.Path)
			}
			if string(body) != tt.want || got.ContentLength != int64(len(tt.want)) {
				t.Errorf("body of %d bytes %.500s\nwant %.500s", got.ContentLength, body, tt.want)
			}
			for name, want := range tt.header {
				if value := strings.Join(got.Header.Values(name), "|"); value != want {
					t.Errorf("%s: %q, want %q", name, value, want)
				}
			}
		})
	}
}

func TestNewRefuses(t *testing.T) {
	for name, o := range map[string]Options{
		"no credential": {},
		"no scheme":     {APIKey: "k", BaseURL: "api.example.com"},
		"other scheme":  {APIKey: "k", BaseURL: "ftp://api.example.com"},
		"no URL":        {APIKey: "k", BaseURL: "http://%"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := New(o); err == nil {
				t.Error("accepted")
			}
		})
	}
	if _, err := New(Options{APIKey: "k"}); err != nil {
		t.Errorf("the defaults: %v", err)
	}
}

func TestFlushAtEveryPause(t *testing.T) {
	flushed := make(chan struct{}, 16)
	parts := strings.SplitAfter(answer, "\n\n")
	url := serve(t, func(w http.ResponseWriter, r *http.Request) {
		// Two events (and a comment, which nobody waits for) in one write, then
		// nothing until they have reached the caller: a backend that waits for
		// more never ends.
		for _, part := range []string{strings.Join(parts[:3], "") + ": more\n\n", strings.Join(parts[3:6], "")} {
			_, _ = io.WriteString(w, part)
			w.(http.Flusher).Flush()
			select {
			case <-flushed:
			case <-r.Context().Done():
			}
		}
		_, _ = io.WriteString(w, strings.Join(parts[6:], ""))
	})
	b := newBackend(t, Options{BaseURL: url})
	out := &recorder{onFlush: func() { flushed <- struct{}{} }}
	if _, err := b.Generate(t.Context(), newCall(t, streamBody, "claude-a"), out); err != nil {
		t.Fatal(err)
	}
	if len(out.types) != 8 {
		t.Errorf("events %v", out.types)
	}
}

func TestCallerLeaves(t *testing.T) {
	for name, body := range map[string]string{"stream": streamBody, "plain": plainBody} {
		t.Run(name, func(t *testing.T) {
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			cancelled := make(chan struct{})
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body)
				if strings.HasPrefix(name, "stream") {
					_, _ = io.WriteString(w, answer[:300])
					w.(http.Flusher).Flush()
				} else {
					leave()
				}
				<-r.Context().Done()
				close(cancelled)
			})
			b := newBackend(t, Options{BaseURL: url})
			out := &recorder{onFlush: leave}
			result, err := b.Generate(ctx, newCall(t, body, "claude-a"), out)
			if err == nil || err != ctx.Err() { //nolint:errorlint // exactly the context's
				t.Errorf("error %v, want %v", err, ctx.Err())
			}
			if name == "stream" && result.Usage.InputTokens != 10 {
				t.Errorf("partial result %+v", result)
			}
			<-cancelled
		})
	}
}
