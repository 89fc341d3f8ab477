package main

import (
	"fmt"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// failureCase is a way in which an upstream fails, and what callers read of it, but for
// the direct path of /v1/messages, which passes the upstream's own answer on.
type failureCase struct {
	fault    string
	category string
	status   int
	upstream string // X-Upstream-Status
	wait     string // Retry-After
	cliWait  string // the same on the CLI path, which isn't told
	midway   bool   // a stream has begun by then
	slow     bool   // it lasts: one family is enough
	unclear  bool   // whether a stream has begun: what was sent may be lost by a reset
}

var failureCases = []failureCase{
	{fault: "[[error=400]]", category: "bad_request", status: 400, upstream: "400"},
	{fault: "[[error=401]]", category: "auth_error", status: 502, upstream: "401"},
	{fault: "[[error=403]]", category: "auth_error", status: 502, upstream: "403"},
	{fault: "[[error=404]]", category: "bad_request", status: 404, upstream: "404"},
	{fault: "[[error=408]]", category: "timeout", status: 504, upstream: "408"},
	{fault: "[[error=409]]", category: "upstream_error", status: 502, upstream: "409"},
	{fault: "[[error=413]]", category: "bad_request", status: 413, upstream: "413"},
	{fault: "[[error=422]]", category: "bad_request", status: 400, upstream: "422"},
	{fault: "[[error=429]]", category: "rate_limited", status: 429, upstream: "429", wait: "5", cliWait: "5"},
	{fault: "[[error=429 retry-after=7]]", category: "rate_limited", status: 429, upstream: "429", wait: "7", cliWait: "5"},
	{fault: "[[error=500]]", category: "upstream_error", status: 502, upstream: "500"},
	{fault: "[[error=502]]", category: "upstream_error", status: 502, upstream: "502"},
	{fault: "[[error=503]]", category: "upstream_error", status: 502, upstream: "503"},
	{fault: "[[error=503 retry-after=9]]", category: "upstream_error", status: 502, upstream: "503", wait: "9"},
	{fault: "[[error=504]]", category: "upstream_error", status: 502, upstream: "504"},
	{fault: "[[error=529]]", category: "overloaded", status: 503, upstream: "529", wait: "5", cliWait: "5"},
	{fault: "fault:error-event", category: "overloaded", status: 503, upstream: "529", wait: "5", cliWait: "5"},
	{fault: "fault:reset", category: "connection_error", status: 502},
	{fault: "fault:garbage", category: "upstream_error", status: 502},
	{fault: "fault:empty", category: "upstream_error", status: 502},
	{fault: "fault:half", category: "upstream_error", status: 502, midway: true},
	{fault: "fault:half-reset", category: "connection_error", status: 502, unclear: true},
	{fault: "[[error-after=2]]", category: "upstream_error", status: 502, midway: true},
	{fault: "[[hang]]", category: "timeout", status: 504, slow: true},
	{fault: "[[hang-after=2]]", category: "timeout", status: 504, midway: true, slow: true},
	{fault: "down", category: "connection_error", status: 502}, // last
}

// TestUpstreamFailuresAreToldApart breaks the upstream in every way, on both backends
// and in the families of all three envelopes. Nothing is repeated, so that each request
// is one attempt.
func TestUpstreamFailuresAreToldApart(t *testing.T) {
	for _, backend := range []string{"direct", "cli"} {
		t.Run(backend, func(t *testing.T) {
			cli := "off"
			if backend == "cli" {
				cli = clitest.Path(t, install.Version)
			}
			f := newFaulty(t)
			s := serve(t, f.server.URL, cli, "--sdk-max-retries=0", "--circuit-breaker-threshold=0", "--sdk-timeout-seconds=5")
			s.ready(t)
			for i, c := range failureCases {
				if c.fault == "down" {
					f.server.CloseClientConnections()
					f.server.Close()
				}
				for j, endpoint := range endpoints {
					if c.slow && j > 0 {
						continue
					}
					for _, stream := range []bool{false, true} {
						// An answer in one piece may take ten minutes on the direct path.
						if c.slow && backend == "direct" && !stream || endpoint.path == "/v1/process" && stream {
							continue
						}
						t.Run(fmt.Sprintf("%s %s %t", c.fault, endpoint.path, stream), func(t *testing.T) {
							mark := fmt.Sprintf("mark-%d-%d-%t", i, j, stream)
							a := s.post(t, endpoint.path, endpoint.body(mark+" "+c.fault, fmt.Sprintf(`"stream":%t`, stream)), "X-Claude-Backend", backend)
							checkFailure(t, c, backend, endpoint.path, stream, a)
							// The CLI asks again by itself where the request is at fault, but never
							// where the upstream is.
							if n := f.calls(mark); c.status == 503 || c.status == 429 || c.upstream == "500" {
								if n != 1 {
									t.Errorf("%d attempts", n)
								}
							}
						})
					}
				}
			}
		})
	}
}

// checkFailure holds an answer against what is expected.
func checkFailure(t *testing.T, c failureCase, backend, path string, stream bool, a *answer) {
	t.Helper()
	direct := backend == "direct"
	// The simulator's own error event reaches the direct path as what it is; one in a
	// plain answer makes no sense.
	switch {
	case direct && c.fault == "[[error-after=2]]":
		c.category, c.status, c.upstream, c.wait, c.midway = "overloaded", 503, "529", "5", stream
	case direct && !stream && c.fault == "fault:error-event":
		c.category, c.status, c.upstream, c.wait = "upstream_error", 502, "", ""
	}
	if stream && (c.midway || c.unclear && a.status == 200) {
		if a.status != 200 || !strings.Contains(a.body, "error") || strings.Contains(a.body, "[DONE]") || strings.Contains(a.body, "message_stop") {
			t.Errorf("a stream that breaks off: %d %s", a.status, a.body)
		}
		return
	}
	status := c.status
	if direct && path == "/v1/messages" && c.upstream != "" && c.category != "auth_error" {
		_, _ = fmt.Sscan(c.upstream, &status) // as the upstream has it
	}
	wait := c.wait
	if !direct {
		wait = c.cliWait
	}
	got := [...]string{a.header.Get("X-Error-Category"), a.header.Get("X-Upstream-Status"), a.header.Get("Retry-After"), a.header.Get("X-Should-Retry")}
	want := [...]string{c.category, c.upstream, wait, ""}
	if a.status != status || got != want {
		t.Errorf("%d %q, want %d %q: %s", a.status, got, status, want, a.body)
	}
	if direct && path == "/v1/messages" && status != c.status {
		return // the upstream's own envelope
	}
	if path != "/v1/messages" || !direct || c.upstream == "" {
		checkEnvelope(t, path, a, "")
	}
}
