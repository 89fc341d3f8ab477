package main

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// envelope is an error answer of any family.
type envelope struct {
	Type      string // "error" on /v1/messages
	RequestID string `json:"request_id"`
	Detail    string // /v1/process
	Error     struct {
		Message, Type string
		Param, Code   *string
	}
}

// checkEnvelope says what is wrong with an error answer of an endpoint: its own
// family's envelope, naming the field.
func checkEnvelope(t *testing.T, path string, a *answer, field string) envelope {
	t.Helper()
	if got := a.header.Get("Content-Type"); got != "application/json" {
		t.Errorf("Content-Type %q", got)
	}
	if a.header.Get("X-Request-ID") == "" || a.header.Get("X-Error-Category") == "" {
		t.Errorf("header %v", a.header)
	}
	e := decode[envelope](t, a.body)
	if e.Error.Message == "" || e.Error.Type == "" {
		t.Errorf("envelope %s", a.body)
	}
	switch path {
	case "/v1/messages":
		if e.Type != "error" || e.RequestID == "" || e.Error.Param != nil || e.Detail != "" {
			t.Errorf("not the Messages API's envelope: %s", a.body)
		}
	case "/v1/process":
		if e.Detail != e.Error.Message || e.Type != "" {
			t.Errorf("not the envelope of /v1/process: %s", a.body)
		}
	default:
		if e.Type != "" || e.Detail != "" || !strings.Contains(a.body, `"param":`) || !strings.Contains(a.body, `"code":`) {
			t.Errorf("not the Chat Completions API's envelope: %s", a.body)
		}
	}
	if field != "" && !strings.Contains(e.Error.Message, field) && (e.Error.Param == nil || !strings.Contains(*e.Error.Param, field)) {
		t.Errorf("%q isn't named: %s", field, a.body)
	}
	return e
}

// endpoints are those that generate, with a body for each.
var endpoints = []struct {
	path string
	body func(prompt string, more ...string) string
}{
	{"/v1/chat/completions", chat}, {"/v1/messages", messagesBody}, {"/v1/process", processBody},
}

func testBadInput(t *testing.T, s *stand) {
	for _, endpoint := range endpoints {
		good := endpoint.body("hello")
		for _, backend := range []string{"cli", "direct"} {
			s.idle(t) // the last one may still be being emptied
			before := s.taken(t)
			for _, tt := range []struct {
				name, body, field string
				status            int
				headers           []string
				forwarded         bool // by the direct path of /v1/messages
			}{
				{name: "no JSON", body: `{"model":`, status: 400},
				{name: "no object", body: `[]`, status: 400},
				{name: "nothing", body: ``, status: 400},
				{name: "a name twice", body: strings.Replace(good, "{", `{"model":"haiku","model":"haiku",`, 1), field: "model", status: 400},
				{name: "no messages", body: strings.Replace(good, `"messages"`, `"massages"`, 1), field: "messages", status: 400},
				{name: "messages of a wrong type", body: strings.Replace(good, `"messages":[`, `"messages":"x","other":[`, 1), field: "messages", status: 400},
				{name: "an unknown role", body: strings.Replace(good, `"user"`, `"emperor"`, 1), field: "role", status: 400, forwarded: true},
				{name: "content of a wrong type", body: strings.Replace(good, `"hello"`, `7`, 1), field: "content", status: 400, forwarded: true},
				{name: "use_cli of a wrong type", body: endpoint.body("hello", `"use_cli":"perhaps"`), field: "use_cli", status: 400},
				{name: "an unknown backend", body: good, field: "X-Claude-Backend", status: 400, headers: []string{"X-Claude-Backend", "moon"}},
				{name: "max_tokens below one", body: strings.Replace(endpoint.body("hello", `"max_tokens":-1`), `"max_tokens":1000,`, "", 1), field: "max_tokens", status: 400},
				{name: "a stream of a wrong type", body: endpoint.body("hello", `"stream":"perhaps"`), field: "stream", status: 400},
				{name: "too large", body: endpoint.body(strings.Repeat("x", maxBody)), status: 413},
				{name: "no key", body: good, status: 401, headers: []string{"Authorization", ""}},
				{name: "a malformed key", body: good, status: 401, headers: []string{"Authorization", "Bearer sk-something"}},
				{name: "an unknown key", body: good, status: 401, headers: []string{"Authorization", "", "X-Api-Key", "cc_" + strings.Repeat("0", 40)}},
				{name: "compressed", body: good, status: 400, field: "Content-Encoding", headers: []string{"Content-Encoding", "gzip"}},
				{name: "an unknown model", body: strings.Replace(good, `"haiku"`, `"gpt-9"`, 1), field: "gpt-9", status: 404},
			} {
				if endpoint.path == "/v1/process" && tt.name == "an unknown model" {
					continue // every name stands for a model there
				}
				t.Run(endpoint.path+" "+backend+" "+tt.name, func(t *testing.T) {
					began := time.Now()
					a := s.post(t, endpoint.path, tt.body, append([]string{"X-Claude-Backend", backend}, tt.headers...)...)
					if a.status != tt.status {
						t.Fatalf("status %d, want %d: %.500s", a.status, tt.status, a.body)
					}
					if took := time.Since(began); took > 5*time.Second {
						t.Errorf("refused after %v", took)
					}
					upstreams := tt.forwarded && backend == "direct" && endpoint.path == "/v1/messages"
					if !upstreams {
						checkEnvelope(t, endpoint.path, a, tt.field)
					}
					after := s.taken(t)
					if after != before && !upstreams {
						t.Errorf("before %+v, after %+v", before, after)
					}
					before = after
				})
			}
		}
	}
}

// taken is what a refused request must not change.
type taken struct {
	upstream int64
	workers  float64 // how many requests waited for a worker or had one
	busy     float64
}

func (s *stand) taken(t *testing.T) taken {
	t.Helper()
	values := s.metrics(t, `claude_api_stage_duration_seconds_count{backend="cli",stage="queue"}`,
		`claude_api_cli_workers{state="busy"}`, "claude_api_cli_queue_length")
	return taken{upstream: s.upstream.Stats().Requests["/v1/messages"], workers: values[0], busy: values[1] + values[2]}
}

// testUpstreamFailures asks for errors of the upstream. The simulator's own
// retries count: a directive's times.
func testUpstreamFailures(t *testing.T, s *stand) {
	for _, tt := range []struct {
		backend, directive, category string
		status                       int
		retryAfter                   string
	}{
		{"direct", "error=400", "bad_request", 400, ""},
		{"direct", "error=401", "auth_error", 502, ""},
		{"cli", "error=401", "auth_error", 502, ""},
		{"cli", "error=529", "overloaded", 503, "5"},
		{"cli", "error=500", "upstream_error", 502, ""},
		{"cli", "error=429", "rate_limited", 429, "5"},
	} {
		for _, endpoint := range endpoints {
			t.Run(tt.backend+" "+tt.directive+" "+endpoint.path, func(t *testing.T) {
				id := s.id()
				a := s.post(t, endpoint.path, endpoint.body(s.word("fail")+" [["+tt.directive+"]]"), "X-Claude-Backend", tt.backend, "X-Request-ID", id)
				if a.status != tt.status || a.header.Get("X-Error-Category") != tt.category {
					t.Fatalf("status %d, category %q: %s", a.status, a.header.Get("X-Error-Category"), a.body)
				}
				if want := strings.TrimPrefix(tt.directive, "error="); a.header.Get("X-Upstream-Status") != want {
					t.Errorf("X-Upstream-Status %q, want %s", a.header.Get("X-Upstream-Status"), want)
				}
				if got := a.header.Get("Retry-After"); tt.retryAfter != "" && got == "" {
					t.Error("no Retry-After")
				}
				checkEnvelope(t, endpoint.path, a, "")
				if r := row(t, s.db, id); r.Status != tt.status || r.Category != tt.category || r.Backend != tt.backend {
					t.Errorf("the ledger has %+v", r)
				}
			})
		}
	}
	// The worker that met an error serves on.
	s.idle(t)
	for range 2 {
		prompt := s.word("after")
		if a := s.post(t, "/v1/chat/completions", chat(prompt), "X-Claude-Backend", "cli"); a.status != 200 {
			t.Errorf("after errors: %d %s", a.status, a.body)
		}
		if body := string(s.upstream.one(t, prompt)); strings.Contains(body, "fail-") {
			t.Error("a failed prompt stayed in the context")
		}
	}
	a := s.post(t, "/v1/messages", messagesBody(fmt.Sprintf("%s [[error=529 retry-after=7 times=1]]", s.word("retried"))), "X-Claude-Backend", "direct")
	if a.status != http.StatusOK {
		t.Errorf("what fails once on the direct path: %d %s", a.status, a.body)
	}
}
