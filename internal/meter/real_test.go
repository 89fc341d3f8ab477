package meter_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/meter"
)

// invented is an OAuth login that no upstream has given, in the form in which the CLI
// keeps its own.
const invented = `{"claudeAiOauth":{"accessToken":"sk-ant-oat01-invented","refreshToken":"sk-ant-ort01-invented","expiresAt":4102444800000,` +
	`"scopes":["user:inference","user:profile"],"subscriptionType":"max"}}`

// TestRealCLI: what Env says is all that the CLI needs, with a credential of the
// service's as with a login of its own, which the upstream then sees.
func TestRealCLI(t *testing.T) {
	for _, version := range clitest.Versions {
		for _, login := range []bool{false, true} {
			name := version
			if login {
				name += " with a login"
			}
			t.Run(name, func(t *testing.T) {
				path := clitest.Path(t, version)
				s := start(t, login)
				a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: 1_000_000})
				home := t.TempDir()
				if login {
					if err := os.Mkdir(filepath.Join(home, ".claude"), 0o700); err != nil {
						t.Fatal(err)
					}
					if err := os.WriteFile(filepath.Join(home, ".claude", ".credentials.json"), []byte(invented), 0o600); err != nil {
						t.Fatal(err)
					}
				}
				cli := exec.CommandContext(t.Context(), path, "-p", "--output-format=text", "--tools=", "--model=claude-haiku-5-5")
				cli.Dir, cli.Stdin = t.TempDir(), strings.NewReader("good day [[tokens=7]]")
				cli.Env = append(a.Env(), "PATH=/usr/bin:/bin", "HOME="+home, "DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1")
				if output, err := cli.Output(); err != nil {
					t.Fatalf("%s, %v", output, err)
				}
				a.Close()
				want := map[bool]string{false: credential, true: "Bearer sk-ant-oat01-invented"}[login]
				seen := s.upstream.Requests()
				for _, r := range seen {
					if r.Header.Get("X-Api-Key")+r.Header.Get("Authorization") != want {
						t.Errorf("the upstream got %v", r.Header)
					}
				}
				rows, got := s.rows(t), a.Totals()
				if len(seen) == 0 || len(rows) != len(seen) || got.Calls != len(seen) || got.Usage.OutputTokens < 7 || *got.CostMicroUSD == 0 {
					t.Errorf("%d calls, rows %+v, %+v", len(seen), rows, got)
				}
			})
		}
	}
}

// TestTheCLIAsksOnce where the service has asked the upstream again itself, and waits for
// a rate limit. The run hears why its last call failed.
func TestTheCLIAsksOnce(t *testing.T) {
	tests := []struct {
		name, prompt string
		closed       bool // nobody listens at the upstream's address
		calls        int  // of the CLI; the service asks twice for each
		category     apierror.Category
		wait         time.Duration
		said         string
	}{
		{name: "unreachable", prompt: "hello", closed: true, calls: 1, category: apierror.ConnectionError, said: "the connection to the upstream failed"},
		{name: "overloaded", prompt: "[[error=529 retry-after=0]]", calls: 1, category: apierror.Overloaded, said: "the upstream is overloaded"},
		{name: "failing", prompt: "[[error=500]]", calls: 1, category: apierror.UpstreamError, said: "the upstream answered with status 500"},
		{name: "limited", prompt: "[[error=429 retry-after=1]]", calls: 2, category: apierror.RateLimited, wait: time.Second, said: "the upstream's rate limit is reached"},
	}
	for _, version := range clitest.Versions {
		for _, tt := range tests {
			t.Run(version+" "+tt.name, func(t *testing.T) {
				path := clitest.Path(t, version)
				var again atomic.Int64
				s := startWith(t, false, func(o *anthropic.Options) {
					o.Retries, o.Retried = 1, func() { again.Add(1) }
					if tt.closed {
						o.BaseURL = closedPort(t)
					}
				})
				a := s.open(t, meter.Run{ID: "run_1", Endpoint: "/v1/task", Caller: caller(), MaxCostMicroUSD: 1_000_000})
				cli := exec.CommandContext(t.Context(), path, "-p", "--output-format=text", "--tools=", "--model=claude-haiku-5-5")
				cli.Dir, cli.Stdin = t.TempDir(), strings.NewReader(tt.prompt)
				cli.Env = append(a.Env(), "PATH=/usr/bin:/bin", "HOME="+t.TempDir(), "DISABLE_AUTOUPDATER=1", "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "CLAUDE_CODE_MAX_RETRIES=1")
				if output, err := cli.Output(); err == nil {
					t.Errorf("it answered %s", output)
				}
				got := a.End().Failure
				if got == nil || got.Category != tt.category || got.Message != tt.said || got.RetryAfter < tt.wait {
					t.Errorf("the run hears %v", got)
				}
				rows := s.rows(t)
				for _, row := range rows {
					if row.Category != string(tt.category) {
						t.Errorf("row %+v", row)
					}
				}
				if len(rows) != tt.calls || int(again.Load()) != tt.calls {
					t.Errorf("the CLI asked %d times, the service %d times more; want %d", len(rows), again.Load(), tt.calls)
				}
			})
		}
	}
}

// closedPort is an address at which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	return "http://" + listener.Addr().String()
}
