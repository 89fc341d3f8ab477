package main

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// ofModel is a body of an endpoint for a model.
func ofModel(body, model string) string {
	return strings.NewReplacer(`"model":"haiku"`, `"model":"`+model+`"`, `"model_name":"gpt-4"`, `"model_name":"`+model+`"`).Replace(body)
}

// TestBreakers lets the upstream refuse one family of models: its breaker opens, the
// other families go on, and it closes when the upstream is back.
func TestBreakers(t *testing.T) {
	for _, backend := range []string{"direct", "cli"} {
		t.Run(backend, func(t *testing.T) {
			cli := "off"
			if backend == "cli" {
				cli = clitest.Path(t, install.Version)
			}
			f := newFaulty(t)
			s := serve(t, f.server.URL, cli, "--sdk-max-retries=0", "--circuit-breaker-threshold=3", "--circuit-breaker-recovery-seconds=2")
			s.ready(t)
			gauge := fmt.Sprintf(`claude_api_breaker_state{backend=%q,family="opus"}`, backend)
			ask := func(model string) *answer {
				return s.post(t, "/v1/chat/completions", ofModel(chat("storm"), model), "X-Claude-Backend", backend)
			}
			f.fail("opus", 529)
			for range 3 {
				if a := ask("opus"); a.status != 503 || a.header.Get("X-Upstream-Status") != "529" {
					t.Fatalf("%d %v %s", a.status, a.header, a.body)
				}
			}
			before := f.calls("storm")
			for _, endpoint := range endpoints {
				a := s.post(t, endpoint.path, ofModel(endpoint.body("storm"), "opus"), "X-Claude-Backend", backend)
				wait, _ := strconv.Atoi(a.header.Get("Retry-After"))
				if a.status != 503 || a.header.Get("X-Error-Category") != "overloaded" || a.header.Get("X-Upstream-Status") != "" || wait < 1 || wait > 2 {
					t.Errorf("%s while it is open: %d %v", endpoint.path, a.status, a.header)
				}
				checkEnvelope(t, endpoint.path, a, "opus")
			}
			if n := f.calls("storm") - before; n != 0 {
				t.Errorf("%d requests reached the upstream", n)
			}
			if a := ask("haiku"); a.status != 200 {
				t.Errorf("another family: %d %s", a.status, a.body)
			}
			if v := s.metric(t, gauge); v != 2 {
				t.Errorf("the gauge is %v", v)
			}
			health := decode[struct {
				Status   string
				Services map[string]struct{ Status, Detail string }
			}](t, s.get(t, "/health").body)
			if on := health.Services[backend]; health.Status != "degraded" || on.Status != "degraded" || !strings.Contains(on.Detail, "opus fails") {
				t.Errorf("health: %+v", health)
			}
			f.fail("opus", 0)
			eventually(t, patience, "the breaker closes", func() bool { return ask("opus").status == 200 })
			if v := s.metric(t, gauge); v != 0 {
				t.Errorf("the gauge is %v", v)
			}
			log := s.stderr.String()
			for _, to := range []string{"to=open", "to=half-open", "to=closed"} {
				if !strings.Contains(log, to) {
					t.Errorf("the log doesn't tell of %s", to)
				}
			}
		})
	}
}

// TestRetriesOfBothPaths counts what reaches an upstream that refuses twice.
func TestRetriesOfBothPaths(t *testing.T) {
	f := newFaulty(t)
	s := serve(t, f.server.URL, clitest.Path(t, install.Version), "--sdk-max-retries=2")
	s.ready(t)
	for _, backend := range []string{"direct", "cli"} {
		for i, tt := range []struct {
			fault  string
			status int
			calls  int
		}{
			{"[[error=529 times=2]]", 200, 3},
			{"[[error=500]]", 502, 3},
			{"fault:reset", 502, 3},
			{"[[error=401]]", 502, 1},
			{"fault:half", 200, 1}, // it had begun
		} {
			mark := fmt.Sprintf("mark-%s-%d", backend, i)
			a := s.post(t, "/v1/messages", messagesBody(mark+" "+tt.fault, `"stream":true`), "X-Claude-Backend", backend)
			if tt.fault == "[[error=500]]" && backend == "direct" {
				tt.status = 500 // the upstream's own
			}
			if n := f.calls(mark); a.status != tt.status || n != tt.calls {
				t.Errorf("%s %s: %d after %d attempts, want %d after %d: %s", backend, tt.fault, a.status, n, tt.status, tt.calls, a.body)
			}
		}
		if n := s.metric(t, fmt.Sprintf(`claude_api_upstream_retries_total{backend=%q}`, backend)); n != 6 {
			t.Errorf("%s: %v retries are counted", backend, n)
		}
	}
}

// TestFallbacks has each family served by another backend or model than was asked
// for, whole and as a stream.
func TestFallbacks(t *testing.T) {
	cli := clitest.Path(t, install.Version)
	for _, tt := range []struct {
		name, fallback, byDefault string
		model, header             string
		backend, routed           string
		down                      string // what the upstream refuses
		deadCLI                   bool
		metric                    string
	}{
		{
			name: "the CLI's", fallback: "--fallback=cli:direct", byDefault: "true", model: "haiku", deadCLI: true, header: "direct", backend: "direct",
			routed: "claude-haiku-5-5", metric: `claude_api_fallbacks_total{from="cli",kind="backend",to="direct"}`,
		},
		{
			name: "the direct path's", fallback: "--fallback=direct:cli", byDefault: "false", model: "haiku", down: "claude-code-api-service", header: "cli",
			backend: "cli", routed: "claude-haiku-5-5", metric: `claude_api_fallbacks_total{from="direct",kind="backend",to="cli"}`,
		},
		{
			name: "a model's on the direct path", fallback: "--fallback=opus:sonnet,sonnet:haiku", byDefault: "false", model: "opus", header: "model=claude-sonnet-5-5",
			backend: "direct", routed: "claude-sonnet-5-5", down: "opus", metric: `claude_api_fallbacks_total{from="claude-opus-5-5",kind="model",to="claude-sonnet-5-5"}`,
		},
		{
			name: "a model's on the CLI", fallback: "--fallback=opus:sonnet,sonnet:haiku", byDefault: "true", model: "opus", header: "model=claude-sonnet-5-5",
			backend: "cli", routed: "claude-sonnet-5-5", down: "opus", metric: `claude_api_fallbacks_total{from="claude-opus-5-5",kind="model",to="claude-sonnet-5-5"}`,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFaulty(t)
			path := cli
			if tt.deadCLI {
				path = "/nonexistent/claude"
			}
			s := serve(t, f.server.URL, path, tt.fallback, "--default-use-cli="+tt.byDefault, "--sdk-max-retries=0", "--circuit-breaker-threshold=0")
			db := s.ledger(t)
			if !tt.deadCLI {
				s.ready(t)
			}
			if tt.down != "" {
				f.fail(tt.down, 529)
			}
			n := 0.0
			for _, endpoint := range endpoints {
				for _, stream := range []bool{false, true} {
					if stream && endpoint.path == "/v1/process" {
						continue
					}
					n++
					id := fmt.Sprintf("fallback.%v", n)
					body := ofModel(endpoint.body("hello "+id, fmt.Sprintf(`"stream":%t`, stream)), tt.model)
					a := s.post(t, endpoint.path, body, "X-Request-ID", id)
					if a.status != 200 || !strings.Contains(a.body, "Echo") {
						t.Fatalf("%s: %d %s", endpoint.path, a.status, a.body)
					}
					if got := a.header.Get("X-Claude-Fallback"); got != tt.header || a.header.Get("X-Claude-Backend") != tt.backend || !strings.Contains(a.header.Get("X-Claude-Warnings"), "fallback: ") {
						t.Errorf("%s: header %v", endpoint.path, a.header)
					}
					if endpoint.path == "/v1/process" && !strings.Contains(a.body, "fallback: ") {
						t.Errorf("metadata.warnings: %s", a.body)
					}
					r := row(t, db, id)
					if r.Backend != tt.backend || r.Routed != tt.routed || r.Status != 200 || r.Usage.OutputTokens == 0 {
						t.Errorf("%s: the ledger has %+v", endpoint.path, r)
					}
				}
			}
			if got := len(rows(t, db)); float64(got) != n {
				t.Errorf("%d rows for %v requests", got, n)
			}
			// Nothing is answered in their place where the caller insists.
			before := s.metric(t, tt.metric)
			if tt.model == "haiku" {
				chosen := map[string]string{"direct": "cli", "cli": "direct"}[tt.backend]
				if a := s.post(t, "/v1/chat/completions", chat("x"), "X-Claude-Backend", chosen); a.status == 200 || a.header.Get("X-Claude-Fallback") != "" {
					t.Errorf("one that insists: %d %v", a.status, a.header)
				}
			} else if a := s.post(t, "/v1/messages", ofModel(messagesBody("x"), "claude-opus-5-5")); a.status == 200 || a.header.Get("X-Claude-Fallback") != "" {
				t.Errorf("one that names its model: %d %v", a.status, a.header)
			}
			if got := s.metric(t, tt.metric); before != n || got != n {
				t.Errorf("%v fallbacks are counted, then %v, want %v", before, got, n)
			}
		})
	}
}

// TestAnOpenBreakerLeavesTheOtherBackend: with a default of none, requests go where
// they are served.
func TestAnOpenBreakerLeavesTheOtherBackend(t *testing.T) {
	f := newFaulty(t)
	s := serve(t, f.server.URL, clitest.Path(t, install.Version), "--sdk-max-retries=0", "--circuit-breaker-threshold=2")
	s.ready(t)
	f.fail("haiku", 529)
	for range 2 {
		s.post(t, "/v1/chat/completions", chat("storm"), "X-Claude-Backend", "cli")
	}
	f.fail("haiku", 0)
	if a := s.post(t, "/v1/chat/completions", chat("hello")); a.status != 200 || a.header.Get("X-Claude-Backend") != "direct" {
		t.Errorf("%d %v", a.status, a.header)
	}
	if a := s.post(t, "/v1/chat/completions", ofModel(chat("hello"), "sonnet")); a.status != 200 || a.header.Get("X-Claude-Backend") != "cli" {
		t.Errorf("another family: %d %v", a.status, a.header)
	}
}
