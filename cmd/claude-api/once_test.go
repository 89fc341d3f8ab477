package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"

	"claude-code-api-service/internal/simulator"
)

// TestKillThenAskAgain kills the service in the middle of load: whatever a caller
// had read to its end is given again, byte for byte, and the upstream isn't asked
// again. What was cut off is served anew.
func TestKillThenAskAgain(t *testing.T) {
	const callers, enough = 8, 120
	up := newUpstream(t)
	s := serve(t, up.url, "off")
	type request struct{ name, body string }
	var answered, cut sync.Map // request → what was read
	var count atomic.Int64
	reached := make(chan struct{})
	var tasks sync.WaitGroup
	for i := range callers {
		tasks.Go(func() {
			for j := 0; ; j++ {
				r := request{fmt.Sprintf("load-%d-%d", i, j), chat(fmt.Sprintf("load-%d-%d.", i, j))}
				if j%2 == 0 {
					r.body = chat(fmt.Sprintf("load-%d-%d. [[tokens=5]]", i, j), `"stream":true`)
				}
				response, err := s.client.Do(s.request(t.Context(), t, http.MethodPost, "/v1/chat/completions", r.body, "Idempotency-Key", r.name))
				if err != nil {
					return // the service is gone
				}
				got, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil {
					cut.Store(r, string(got))
					return
				}
				answered.Store(r, string(got))
				if count.Add(1) == enough {
					close(reached)
				}
			}
		})
	}
	select {
	case <-reached:
	case <-within(t).Done():
		t.Fatalf("only %d answers", count.Load())
	}
	s.signal(t, syscall.SIGKILL)
	tasks.Wait()
	s.exit(t)

	again := serveOn(t, s.data, up.url, "off")
	again.key = s.key
	for key, want := range answered.Range {
		r := key.(request)
		a := again.post(t, "/v1/chat/completions", r.body, "Idempotency-Key", r.name)
		if a.status != 200 || a.body != want || a.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s: %d %q, want %q", r.name, a.status, a.body, want)
		}
		up.one(t, r.name+".")
	}
	for key, begun := range cut.Range {
		r := key.(request)
		if a := again.post(t, "/v1/chat/completions", r.body, "Idempotency-Key", r.name); a.status != 200 || !strings.Contains(a.body, "[DONE]") {
			t.Errorf("%s, of which %q was read: %d %q", r.name, begun, a.status, a.body)
		}
	}
	t.Logf("%d whole answers", count.Load())
}

// testOnce asks for an answer twice, and for one whose caller left.
func testOnce(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		for _, endpoint := range endpoints[:2] {
			t.Run(backend+endpoint.path, func(t *testing.T) {
				prompt := s.word("once")
				body := endpoint.body(prompt)
				first := s.post(t, endpoint.path, body, "X-Claude-Backend", backend, "Idempotency-Key", prompt)
				again := s.post(t, endpoint.path, body, "X-Claude-Backend", backend, "Idempotency-Key", prompt)
				if first.status != 200 || again.body != first.body || again.header.Get("Idempotent-Replayed") != "true" || again.header.Get("X-Claude-Backend") != backend {
					t.Errorf("%d %q, then %d %q", first.status, first.body, again.status, again.body)
				}
				s.upstream.one(t, prompt)

				before := s.upstream.Stats().Cancelled
				prompt = s.word("left")
				body = endpoint.body(prompt+" [[tokens=60 interval=10ms]]", `"stream":true`)
				lines, leave := s.open(t, endpoint.path, body, "X-Claude-Backend", backend, "Idempotency-Key", prompt)
				until(t, lines, "data:")
				leave()
				s.upstream.await(t, "the answer's end", func(stats simulator.Stats) bool { return stats.InFlight == 0 })
				var a *answer
				eventually(t, patience, "the answer is kept", func() bool {
					a = s.post(t, endpoint.path, body, "X-Claude-Backend", backend, "Idempotency-Key", prompt)
					return a.status != http.StatusConflict
				})
				if a.status != 200 || a.header.Get("Idempotent-Replayed") != "true" || strings.Count(a.body, "data:") < 60 || s.upstream.Stats().Cancelled != before {
					t.Errorf("whose caller left: %d %.300q", a.status, a.body)
				}
				s.upstream.one(t, prompt)
			})
		}
	}
}

// losing is a connection that loses every first answer after the service has sent
// it.
type losing struct {
	next  http.RoundTripper
	lost  atomic.Int64
	again atomic.Int64 // answers that were given again
}

func (l *losing) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := l.next.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	if response.Header.Get("Idempotent-Replayed") == "true" {
		l.again.Add(1)
		return response, nil
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
	l.lost.Add(1)
	return nil, errors.New("the connection is lost")
}

// TestSDKsAskAgain: an official SDK that loses an answer asks again by itself, and
// gets what was paid for.
func TestSDKsAskAgain(t *testing.T) {
	up := newUpstream(t)
	s := serve(t, up.url, "off")
	for _, tt := range []struct {
		name string
		ask  func(ctx context.Context, client *http.Client, prompt string) (string, error)
	}{
		{"openai", func(ctx context.Context, client *http.Client, prompt string) (string, error) {
			c := openai.NewClient(openaioption.WithBaseURL(s.url+"/v1"), openaioption.WithAPIKey(s.key), openaioption.WithHTTPClient(client))
			got, err := c.Chat.Completions.New(ctx, openai.ChatCompletionNewParams{
				Model: "haiku", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
			}, openaioption.WithHeader("Idempotency-Key", prompt))
			if err != nil {
				return "", err
			}
			return got.Choices[0].Message.Content, nil
		}},
		{"openai-stream", func(ctx context.Context, client *http.Client, prompt string) (string, error) {
			c := openai.NewClient(openaioption.WithBaseURL(s.url+"/v1"), openaioption.WithAPIKey(s.key), openaioption.WithHTTPClient(client))
			stream := c.Chat.Completions.NewStreaming(ctx, openai.ChatCompletionNewParams{
				Model: "haiku", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage(prompt)},
			}, openaioption.WithHeader("Idempotency-Key", prompt))
			defer func() { _ = stream.Close() }()
			var sum openai.ChatCompletionAccumulator
			for stream.Next() {
				sum.AddChunk(stream.Current())
			}
			if stream.Err() != nil {
				return "", stream.Err()
			}
			return sum.Choices[0].Message.Content, nil
		}},
		{"anthropic", func(ctx context.Context, client *http.Client, prompt string) (string, error) {
			c := anthropic.NewClient(anthropicoption.WithBaseURL(s.url), anthropicoption.WithAPIKey(s.key), anthropicoption.WithHTTPClient(client))
			got, err := c.Messages.New(ctx, anthropic.MessageNewParams{
				Model: "haiku", MaxTokens: 500, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
			}, anthropicoption.WithHeader("Idempotency-Key", prompt))
			if err != nil {
				return "", err
			}
			return got.Content[0].Text, nil
		}},
		{"anthropic-stream", func(ctx context.Context, client *http.Client, prompt string) (string, error) {
			c := anthropic.NewClient(anthropicoption.WithBaseURL(s.url), anthropicoption.WithAPIKey(s.key), anthropicoption.WithHTTPClient(client))
			stream := c.Messages.NewStreaming(ctx, anthropic.MessageNewParams{
				Model: "haiku", MaxTokens: 500, Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(prompt))},
			}, anthropicoption.WithHeader("Idempotency-Key", prompt))
			defer func() { _ = stream.Close() }()
			var sum anthropic.Message
			for stream.Next() {
				if err := sum.Accumulate(stream.Current()); err != nil {
					return "", err
				}
			}
			if stream.Err() != nil {
				return "", stream.Err()
			}
			return sum.Content[0].Text, nil
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			wire := &losing{next: s.client.Transport}
			prompt := "lost-" + tt.name
			text, err := tt.ask(within(t), &http.Client{Transport: wire}, prompt)
			if err != nil || text != "Echo: "+prompt || wire.lost.Load() != 1 || wire.again.Load() != 1 {
				t.Errorf("%q, %v; lost %d answers, got %d again", text, err, wire.lost.Load(), wire.again.Load())
			}
			if n := len(up.messages(prompt + `"`)); n != 1 {
				t.Errorf("the upstream was asked %d times", n)
			}
		})
	}
	if got := len(rows(t, s.ledger(t))); got != 4 {
		t.Errorf("%d rows in the ledger, want 4", got)
	}
}
