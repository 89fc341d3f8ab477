package anthropic

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/simulator"
)

func simulate(t *testing.T) (*simulator.Simulator, *Backend) {
	t.Helper()
	upstream := simulator.New(simulator.Options{KeepBodies: 8})
	url, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	return upstream, newBackend(t, Options{BaseURL: url})
}

func prompt(stream, words string) string {
	return `{"model":"claude-haiku-5-5","max_tokens":100,"stream":` + stream + `,"messages":[{"role":"user","content":"` + words + `"}]}`
}

func TestAgainstSimulator(t *testing.T) {
	upstream, b := simulate(t)
	for _, stream := range []string{"true", "false"} {
		out := &recorder{}
		result, err := b.Generate(t.Context(), newCall(t, prompt(stream, "good day"), "claude-haiku-5-5"), out)
		if err != nil {
			t.Fatal(err)
		}
		if got := out.raw.String() + string(out.message); !strings.Contains(got, "Echo") {
			t.Errorf("stream %s: %s", stream, got)
		}
		if result.Model != "claude-haiku-5-5" || result.StopReason != message.StopEndTurn ||
			result.Usage.InputTokens == 0 || result.Usage.OutputTokens == 0 {
			t.Errorf("stream %s: %+v", stream, result)
		}
	}
	for _, r := range upstream.Requests() {
		if !bytes.Contains(r.Body, []byte("good day")) || r.Header.Get("X-Api-Key") != "sk-test" {
			t.Errorf("upstream got %s %v", r.Body, r.Header)
		}
	}
}

func TestFaultsOfSimulator(t *testing.T) {
	tests := []struct {
		name, words string
		requests    int64
		category    apierror.Category // "" for success
		partial     bool
	}{
		{name: "overloaded twice", words: "[[error=529 times=2 retry-after=0]] hi", requests: 3},
		{name: "bad request", words: "[[error=400]] hi", requests: 1, category: apierror.BadRequest},
		{name: "error in the stream", words: "[[tokens=9 error-after=3]] hi", requests: 1, category: apierror.Overloaded, partial: true},
		{name: "connection cut in the stream", words: "[[tokens=9 cut-after=3]] hi", requests: 1, category: apierror.UpstreamError, partial: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			upstream, b := simulate(t)
			result, err := b.Generate(t.Context(), newCall(t, prompt("true", tt.words), "claude-haiku-5-5"), &recorder{})
			e := apierror.From(err)
			if (e == nil) != (tt.category == "") || e != nil && e.Category != tt.category {
				t.Errorf("error %v, want %q", err, tt.category)
			}
			if n := upstream.Stats().Requests["/v1/messages"]; n != tt.requests {
				t.Errorf("%d requests, want %d", n, tt.requests)
			}
			if (result.Usage.InputTokens > 0) != (tt.partial || tt.category == "") {
				t.Errorf("result %+v", result)
			}
		})
	}
}

func TestSimulatorSeesCallerLeave(t *testing.T) {
	upstream, b := simulate(t)
	ctx, leave := context.WithCancel(t.Context())
	out := &recorder{onFlush: leave}
	if _, err := b.Generate(ctx, newCall(t, prompt("true", "[[tokens=9 hang-after=2]] hi"), "claude-haiku-5-5"), out); err == nil {
		t.Error("no error")
	}
	if err := upstream.Wait(t.Context(), func(s simulator.Stats) bool { return s.Cancelled == 1 && s.InFlight == 0 }); err != nil {
		t.Error(err)
	}
}

// The caller must get what the API sent: the same request, once bare and once
// through the backend.
func TestSameBytesAsBareClient(t *testing.T) {
	_, b := simulate(t)
	for _, stream := range []string{"true", "false"} {
		body := prompt(stream, "[[text=same words]] hi")
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, b.url.String(), strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header = b.header
		resp, err := b.transport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		bare, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%v, status %d: %s", err, resp.StatusCode, bare)
		}
		out := &recorder{}
		if _, err := b.Generate(t.Context(), newCall(t, body, "claude-haiku-5-5"), out); err != nil {
			t.Fatal(err)
		}
		if got := out.raw.String() + string(out.message); stripIDs(got) != stripIDs(string(bare)) {
			t.Errorf("got  %s\nwant %s", got, bare)
		}
	}
}

func stripIDs(s string) string {
	before, rest, ok := strings.Cut(s, `"msg_`)
	if !ok {
		return s
	}
	_, after, _ := strings.Cut(rest, `"`)
	return before + after
}
