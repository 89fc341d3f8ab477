package main

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/sqlite"
)

// stand is a service with both backends, the upstream of both, and the
// service's ledger.
type stand struct {
	*service
	upstream *upstream
	db       *sqlite.DB
	count    atomic.Int64
}

func newStand(t *testing.T, version string, further ...string) *stand {
	t.Helper()
	cli := clitest.Path(t, version)
	up := newUpstream(t)
	s := &stand{service: serve(t, up.url, cli, further...), upstream: up}
	s.ready(t)
	s.idle(t)
	s.db = s.ledger(t)
	return s
}

// idle waits until both workers are there and free.
func (s *stand) idle(t *testing.T) {
	t.Helper()
	eventually(t, patience, "two workers are idle", func() bool {
		return s.metric(t, `claude_api_cli_workers{state="idle"}`) == 2
	})
}

// id gives a request id that nobody used before.
func (s *stand) id() string { return fmt.Sprintf("e2e.%d", s.count.Add(1)) }

// word gives a text that nobody used before, to find in a body.
func (s *stand) word(text string) string { return fmt.Sprintf("%s-%d", text, s.count.Add(1)) }

// maxBody is the limit on bodies of TestRealCLI's service.
const maxBody = 64 << 10

// TestRealCLI runs one service on the real CLI through everything that needs
// only one.
func TestRealCLI(t *testing.T) {
	s := newStand(t, install.Version, fmt.Sprintf("--max-body-bytes=%d", maxBody),
		"--circuit-breaker-threshold=0", "--sdk-max-retries=1", "FOO_SECRET="+plantedSecret, "CLAUDECODE=1", "CLAUDE_API_MODEL_MAP=house=haiku")
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *stand)
	}{
		{"health", testHealth},
		{"answers", testAnswers},
		{"default backend", testDefaultBackend},
		{"request ids", testRequestIDs},
		{"warnings", testWarnings},
		{"models", testModels},
		{"history", testHistory},
		{"images", testImages},
		{"thinking", testThinking},
		{"max tokens", testMaxTokens},
		{"OpenAI SDK", testOpenAISDK},
		{"Responses", testResponses},
		{"Anthropic SDK", testAnthropicSDK},
		{"process and its family", testProcess},
		{"Idempotency-Key", testOnce},
		{"WebSocket", testStream},
		{"WebSocket, the pool is busy", testStreamQueue},
		{"bad input", testBadInput},
		{"upstream failures", testUpstreamFailures},
		{"the caller leaves a stream", testLeaveStream},
		{"the caller leaves before the first token", testLeaveEarly},
		{"the caller leaves the queue", testLeaveQueue},
		{"the queue is full", testQueueFull},
		{"workers are killed", testKilledWorkers},
		{"metrics", testMetrics},
		{"secrets", testSecrets}, // last: it reads what all the others left behind
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, s) })
	}
}

func testHealth(t *testing.T, s *stand) {
	health := decode[struct {
		Status   string
		Version  string
		Uptime   float64 `json:"uptime_seconds"`
		Services map[string]struct{ Status, Detail string }
	}](t, s.get(t, "/health").body)
	if health.Status != "ok" || health.Version == "" || health.Uptime <= 0 {
		t.Errorf("health: %+v", health)
	}
	for _, name := range []string{"cli", "direct", "database"} {
		if health.Services[name].Status != "ok" {
			t.Errorf("%s: %+v", name, health.Services[name])
		}
	}
	if detail := health.Services["cli"].Detail; !strings.Contains(detail, "emptied by rewind_conversation") {
		t.Errorf("the CLI's mode: %s", detail)
	}
	if root := s.get(t, "/"); root.status != 200 || !strings.Contains(root.body, "/v1/chat/completions") {
		t.Errorf("GET /: %d %s", root.status, root.body)
	}
}

// TestOlderCLI runs the older version, which can do less.
func TestOlderCLI(t *testing.T) {
	s := newStand(t, install.OlderVersion)
	t.Run("health", func(t *testing.T) {
		health := s.get(t, "/health").body
		if !strings.Contains(health, "emptied by /clear (") || !strings.Contains(health, "rewind") {
			t.Errorf("health doesn't say that /clear is used, and why: %s", health)
		}
		if !strings.Contains(s.stderr.String(), "emptied by /clear (") {
			t.Error("nor does the log")
		}
	})
	t.Run("answers", func(t *testing.T) { testAnswersOn(t, s, "cli") })
	t.Run("history", func(t *testing.T) { testHistoryOn(t, s, "cli") })
}
