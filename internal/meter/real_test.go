package meter_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

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
