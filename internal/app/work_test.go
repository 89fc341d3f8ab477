package app

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/simulator"
	"claude-code-api-service/internal/usage"
)

// working is a service whose chats may have the CLI's tools, with the real CLI of a
// version, and a folder with a file in it that they may work in.
func working(t *testing.T, version string, change func(c *config.Config)) (a *App, upstream *simulator.Simulator, folder string) {
	t.Helper()
	c := settings(t)
	upstream, folder = clitest.NewUpstream(t), t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "facts"), []byte("the word is marmalade\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.ClaudePath, c.Anthropic.BaseURL, c.WorkingRoots = clitest.Path(t, version), upstream.URL(), []string{filepath.Dir(folder)}
	c.MaxTasks = 2
	if change != nil {
		change(c)
	}
	a, _ = serving(t, c)
	return a, upstream, folder
}

// reads has the model read the file of working.
func reads(folder string) string {
	input := `{\"file_path\":\"` + filepath.Join(folder, "facts") + `\"}`
	return `[[tool=Read input=` + input + `]] [[then]] [[text=It is marmalade]]`
}

// TestChatWithTools reads a file, on both endpoints, streamed and not; and what the
// answers say that they used is what the ledger has, in the rows of the calls that the
// upstream got.
func TestChatWithTools(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			a, upstream, folder := working(t, version, nil)
			key, _, err := a.Keys().Create(t.Context(), apikey.Create{
				ProjectID: "alpha", Profile: apikey.ProfileEnterprise, RequestsPerMinute: new(6), ConcurrentRequests: 1,
				Budgets: []budget.Limit{{Period: budget.Day, Unit: budget.USD, Hard: 50_000_000}},
			})
			if err != nil {
				t.Fatal(err)
			}
			work := `"allowed_tools":["Read"],"working_directory":` + strconv.Quote(folder)
			messages := `"messages":[{"role":"user","content":"my name is Quill"},{"role":"assistant","content":"noted"},{"role":"user","content":"` + reads(folder) + `"}]`
			var output, cost int64
			for _, body := range []struct{ path, body string }{
				{"/v1/chat/completions", `{"model":"haiku",` + work + `,` + messages + `}`},
				{"/v1/chat/completions", `{"model":"haiku","stream":true,"stream_options":{"include_usage":true},` + work + `,` + messages + `}`},
				{"/v1/process", `{"provider":"x","model_name":"haiku",` + work + `,` + messages + `}`},
			} {
				status, answer := ask(t, a, "POST", body.path, key, body.body)
				if status != http.StatusOK || !strings.Contains(answer, " marmalade") || strings.Contains(answer, "warnings") {
					t.Fatalf("%s: %d %s", body.path, status, answer)
				}
				var told struct {
					Cost     *float64       `json:"cost"`
					Usage    map[string]any `json:"usage"`
					Metadata struct {
						Cost  *float64       `json:"cost_usd"`
						Usage map[string]any `json:"usage"`
					} `json:"metadata"`
				}
				for _, line := range strings.Split(answer, "\n") {
					if line = strings.TrimPrefix(line, "data: "); strings.Contains(line, `"usage":{`) {
						if err := json.Unmarshal([]byte(line), &told); err != nil {
							t.Fatal(err)
						}
					}
				}
				for _, usage := range []map[string]any{told.Usage, told.Metadata.Usage} {
					for _, name := range []string{"output_tokens", "completion_tokens"} {
						if n, ok := usage[name].(float64); ok {
							output += int64(n)
							break
						}
					}
				}
				for _, c := range []*float64{told.Cost, told.Metadata.Cost} {
					if c != nil {
						cost += int64(*c*1e6 + 0.5)
					}
				}
			}
			for profile, body := range map[string]string{
				apikey.ProfileFree: `"allowed_tools":["Bash"]`, "none": `"allowed_tools":["Read"]`,
			} {
				if profile == "none" {
					if err := a.Keys().SetProfile(t.Context(), apikey.Profile{Name: "none"}); err != nil {
						t.Fatal(err)
					}
				}
				poor, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "poor", Profile: profile})
				if err != nil {
					t.Fatal(err)
				}
				if status, answer := ask(t, a, "POST", "/v1/chat/completions", poor, `{"model":"haiku",`+body+`,`+messages+`}`); status != http.StatusForbidden {
					t.Errorf("%s: %d %s", profile, status, answer)
				}
			}
			_, report := ask(t, a, "GET", "/v1/usage?period=day", key, "")
			calls := upstream.Stats().Requests["/v1/messages"]
			var inner, outer usage.Row
			var rows, requests int64
			for _, row := range ledger(t, a) {
				sum := &outer
				if strings.Contains(row.RequestID, ".") {
					sum = &inner
					rows++
				} else {
					requests++
				}
				if row.Endpoint == "/v1/messages" || row.Status != http.StatusOK || row.CostMicroUSD == nil {
					t.Fatalf("row %+v", row)
				}
				sum.Usage.OutputTokens += row.Usage.OutputTokens
				if sum.CostMicroUSD == nil {
					sum.CostMicroUSD = new(int64)
				}
				*sum.CostMicroUSD += *row.CostMicroUSD
			}
			if requests != 3 || rows != calls || rows < 6 || outer.Usage.OutputTokens != 0 || *outer.CostMicroUSD != 0 {
				t.Errorf("%d requests with %+v, %d calls of %d at the upstream", requests, outer, rows, calls)
			}
			// A streamed chat doesn't say its cost.
			if output != inner.Usage.OutputTokens || cost == 0 || cost >= *inner.CostMicroUSD {
				t.Errorf("the answers say %d tokens and %d, the ledger %d and %d", output, cost, inner.Usage.OutputTokens, *inner.CostMicroUSD)
			}
			var told struct {
				Requests int64   `json:"requests"`
				Cost     float64 `json:"total_cost"`
			}
			if err := json.Unmarshal([]byte(report), &told); err != nil || told.Requests != 3 || int64(told.Cost*1e6+0.5) != *inner.CostMicroUSD {
				t.Errorf("the report %s, %v", report, err)
			}
		})
	}
}

// TestChatWithToolsUnderALogin: without a credential the CLI's own login is what the
// upstream sees, and what is asked with it is charged all the same.
func TestChatWithToolsUnderALogin(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			home := t.TempDir()
			if err := os.Mkdir(filepath.Join(home, ".claude"), 0o700); err != nil {
				t.Fatal(err)
			}
			const login = `{"claudeAiOauth":{"accessToken":"sk-ant-oat01-invented","refreshToken":"sk-ant-ort01-invented","expiresAt":4102444800000,` +
				`"scopes":["user:inference","user:profile"],"subscriptionType":"max"}}`
			if err := os.WriteFile(filepath.Join(home, ".claude", ".credentials.json"), []byte(login), 0o600); err != nil {
				t.Fatal(err)
			}
			a, upstream, folder := working(t, version, func(c *config.Config) { c.Anthropic.APIKey, c.ClaudeHome = "", home })
			key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "alpha", Profile: apikey.ProfileEnterprise})
			if err != nil {
				t.Fatal(err)
			}
			status, answer := ask(t, a, "POST", "/v1/chat/completions", key, `{"model":"haiku","allowed_tools":["Read"],"working_directory":`+strconv.Quote(folder)+
				`,"messages":[{"role":"user","content":"`+reads(folder)+`"}]}`)
			if status != http.StatusOK || !strings.Contains(answer, "It is marmalade") {
				t.Fatalf("%d %s", status, answer)
			}
			for _, r := range upstream.Requests() {
				if r.Method == http.MethodPost && (r.Header.Get("Authorization") != "Bearer sk-ant-oat01-invented" || r.Header.Get("X-Api-Key")+r.Header.Get("X-Claude-Run") != "") {
					t.Errorf("the upstream got %v", r.Header)
				}
			}
			var cost int64
			for _, row := range ledger(t, a) {
				cost += *row.CostMicroUSD
			}
			if cost == 0 {
				t.Error("nothing is charged")
			}
			if left, err := os.ReadFile(filepath.Join(home, ".claude", ".credentials.json")); err != nil || string(left) != login {
				t.Errorf("the login has become %s, %v", left, err)
			}
		})
	}
}

// TestARunUsesTheCredentialOfTheDay: one that is rotated, and not the service's other
// key, which is nowhere in what the CLI has.
func TestARunUsesTheCredentialOfTheDay(t *testing.T) {
	a, upstream, folder := working(t, clitest.Versions[0], nil)
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "alpha", Profile: apikey.ProfileEnterprise})
	if err != nil {
		t.Fatal(err)
	}
	chat := `{"model":"haiku","allowed_tools":["Bash"],"working_directory":` + strconv.Quote(folder) +
		`,"messages":[{"role":"user","content":"[[tool=Bash input={\"command\":\"env; cat /proc/$PPID/environ\"}]] [[then]] [[text=done]]"}]}`
	for _, want := range []config.Secret{"sk-planted", "sk-rotated"} {
		c := *a.config
		c.Anthropic.APIKey = want
		if err := a.Reload(t.Context(), &c); err != nil {
			t.Fatal(err)
		}
		upstream.Reset()
		if status, answer := ask(t, a, "POST", "/v1/chat/completions", key, chat); status != http.StatusOK || !strings.Contains(answer, "done") {
			t.Fatalf("%d %s", status, answer)
		}
		seen := upstream.Requests()
		for _, r := range seen {
			if r.Header.Get("X-Api-Key") != string(want) {
				t.Errorf("the upstream got %s", r.Header.Get("X-Api-Key"))
			}
			if strings.Contains(string(r.Body), "sk-planted") || strings.Contains(string(r.Body), "sk-rotated") {
				t.Errorf("the model was shown the service's credential: %s", r.Body)
			}
		}
		if len(seen) < 2 || !strings.Contains(string(seen[len(seen)-1].Body), "ANTHROPIC_BASE_URL") {
			t.Errorf("the environment wasn't read: %d calls", len(seen))
		}
	}
}
