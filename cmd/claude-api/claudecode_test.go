package main

import (
	"bytes"
	"cmp"
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/simulator"
)

// claudeCode is the real Claude Code as a user has it: a home and a folder to
// work in, and nothing of the service's own.
type claudeCode struct {
	path, home, folder string
}

func newClaudeCode(t *testing.T) *claudeCode {
	t.Helper()
	return &claudeCode{clitest.Path(t, install.Version), t.TempDir(), t.TempDir()}
}

// session is the same in every run, so that bodies can be compared.
const session = "7b1fae0e-4b0c-4a7e-9f6e-0123456789ab"

// said is what `claude -p --output-format json` prints.
type said struct {
	exit   int
	IsErr  bool   `json:"is_error"`
	Result string `json:"result"`
	Turns  int    `json:"num_turns"`
}

// The variables by which a user gives Claude Code a key; they come as x-api-key
// and as a bearer token.
const (
	byKey   = "ANTHROPIC_API_KEY"
	byToken = "ANTHROPIC_AUTH_TOKEN"
)

// run asks one prompt of the API at url.
func (c *claudeCode) run(t *testing.T, url, variable, key, prompt string, args ...string) said {
	t.Helper()
	args = append([]string{"-p", prompt, "--output-format=json", "--session-id=" + session, "--no-session-persistence"}, args...)
	cmd := exec.CommandContext(within(t), c.path, args...)
	cmd.Dir = c.folder
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + c.home, "LANG=C.UTF-8",
		"ANTHROPIC_BASE_URL=" + url, variable + "=" + key,
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1", "DISABLE_TELEMETRY=1", "DISABLE_ERROR_REPORTING=1",
		"CLAUDE_CODE_MAX_RETRIES=1",
	}
	cmd.WaitDelay = 10 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		t.Fatalf("%v: %s", err, stderr.String())
	}
	if len(out) == 0 {
		t.Fatalf("no output; %v: %s", err, stderr.String())
	}
	answer := decode[said](t, string(out))
	answer.exit = cmd.ProcessState.ExitCode()
	return answer
}

// ids are made anew for every answer: of messages, requests and tool calls.
var ids = regexp.MustCompile(`(msg|req|toolu)_[0-9a-f]{24}`)

// essence is what of a request must not depend on who stands in between.
func essence(r simulator.Request) string {
	var b strings.Builder
	b.WriteString(r.Method + " " + r.Path + "?" + r.Query + "\n")
	for _, name := range []string{"Anthropic-Version", "Anthropic-Beta", "X-Claude-Code-Session-Id"} {
		value := strings.Split(r.Header.Get(name), ",")
		slices.Sort(value) // Claude Code's order of betas varies
		b.WriteString(name + ": " + strings.Join(value, ",") + "\n")
	}
	b.Write(ids.ReplaceAll(r.Body, []byte("$1")))
	return b.String()
}

// TestClaudeCode runs Claude Code as its users do against the service, and
// compares with the same runs against the upstream itself.
func TestClaudeCode(t *testing.T) {
	c := newClaudeCode(t)
	note := filepath.Join(c.folder, "note.txt")
	if err := os.WriteFile(note, []byte("the note says tangerine\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	bare := newUpstream(t)
	s := newStand(t, install.Version)
	c.run(t, bare.url, byKey, "sk-bare", "the first run writes the home's files")

	for _, tt := range []struct {
		name, prompt string
		args         []string
		variable     string // byKey when it is ""
		want         string // in the answer
		turns        int
		fails        bool
	}{
		{name: "plain", prompt: "good day", want: "Echo: good day", turns: 1},
		{name: "bearer token", prompt: "good day", variable: byToken, want: "Echo: good day", turns: 1},
		{name: "haiku", prompt: "good day", args: []string{"--model=haiku"}, want: "Echo: good day", turns: 1},
		{name: "sonnet, thinking", prompt: "[[think]] good day", args: []string{"--model=sonnet", "--effort=high"}, want: "Echo: good day", turns: 1},
		{name: "reads a file", prompt: `[[tool=Read input={"file_path":` + quote(note) + `}]] read it`, args: []string{"--allowedTools=Read"}, want: "tangerine", turns: 2},
		{name: "runs a command", prompt: `[[tool=Bash input={"command":"echo $((6*7)) apples"}]] run it`, args: []string{"--allowedTools=Bash", "--model=haiku"}, want: "Tool result: 42 apples", turns: 2},
		{name: "structured output", prompt: "fill it", args: []string{`--json-schema={"type":"object","properties":{"fruit":{"type":"string"}},"required":["fruit"],"additionalProperties":false}`}, want: "fruit"},
		{name: "an error of the upstream", prompt: "[[error=400]] hi", want: "API Error: 400 Simulated invalid request", fails: true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before, beforeBare, rowsBefore := len(s.upstream.Requests()), len(bare.Requests()), len(rows(t, s.db))
			variable := cmp.Or(tt.variable, byKey)
			want := c.run(t, bare.url, variable, "sk-bare", tt.prompt, tt.args...)
			got := c.run(t, s.url, variable, s.key, tt.prompt, tt.args...)
			if got.Result = ids.ReplaceAllString(got.Result, "$1"); got.IsErr != tt.fails || (got.exit != 0) != tt.fails || !strings.Contains(got.Result, tt.want) {
				t.Errorf("Claude Code says %+v, want %q", got, tt.want)
			}
			if want.Result = ids.ReplaceAllString(want.Result, "$1"); got != want {
				t.Errorf("Claude Code says\n%+v\nwithout the service\n%+v", got, want)
			}
			if tt.turns != 0 && got.Turns != tt.turns {
				t.Errorf("%d turns, want %d", got.Turns, tt.turns)
			}
			sent, bareSent := s.upstream.Requests()[before:], bare.Requests()[beforeBare:]
			if len(sent) != len(bareSent) || len(sent) == 0 {
				t.Fatalf("%d requests, %d without the service", len(sent), len(bareSent))
			}
			for i := range sent {
				if a, b := essence(sent[i]), essence(bareSent[i]); a != b {
					t.Errorf("request %d differs from the one without the service: %s", i, difference(a, b))
				}
				if sent[i].Header.Get("X-Api-Key") != plantedKey || strings.Contains(string(sent[i].Body), s.key) {
					t.Errorf("request %d: header %v", i, sent[i].Header)
				}
			}
			list := rows(t, s.db)[rowsBefore:]
			if len(list) != len(sent) {
				t.Errorf("%d rows in the ledger for %d requests", len(list), len(sent))
			}
			for _, row := range list {
				if row.Backend != "direct" || row.Endpoint != "/v1/messages" || !strings.HasPrefix(row.Routed, "claude-") {
					t.Errorf("row %+v", row)
				}
				if !tt.fails && (row.Usage.OutputTokens == 0 || row.CostMicroUSD == nil || row.Status != http.StatusOK) {
					t.Errorf("row %+v", row)
				}
			}
		})
	}

	t.Run("what Claude Code asks besides", func(t *testing.T) { testGatewayProtocol(t, s) })
}

// testGatewayProtocol asks what Claude Code may ask of a gateway beside messages
// (code.claude.com/docs, llm-gateway-protocol).
func testGatewayProtocol(t *testing.T, s *stand) {
	if a := s.do(t, s.request(within(t), t, http.MethodHead, "/", "", "Authorization", "")); a.status != http.StatusOK {
		t.Errorf("HEAD /: %d", a.status)
	}
	for name, headers := range map[string][]string{
		"bearer": nil, "x-api-key": {"Authorization", "", "X-Api-Key", s.key},
	} {
		began := time.Now()
		a := s.do(t, s.request(within(t), t, http.MethodGet, "/v1/models?limit=1000", "", headers...))
		if took := time.Since(began); a.status != http.StatusOK || took > 3*time.Second {
			t.Errorf("%s: models: %d after %v", name, a.status, took)
		}
		list := decode[struct {
			Data []struct {
				ID          string
				DisplayName string `json:"display_name"`
			}
			HasMore bool `json:"has_more"`
		}](t, a.body)
		shown := 0
		for _, m := range list.Data {
			if strings.HasPrefix(m.ID, "claude") && m.DisplayName != "" {
				shown++
			}
		}
		if shown < 10 || list.HasMore {
			t.Errorf("%s: %d models that Claude Code shows: %s", name, shown, a.body)
		}
	}
	a := s.post(t, "/v1/messages/count_tokens?beta=true", `{"model":"claude-opus-5-5","messages":[{"role":"user","content":"12345678"}]}`,
		"anthropic-version", "2023-06-01", "anthropic-beta", "token-counting-2024-11-01")
	if a.status != http.StatusOK || a.body != `{"input_tokens":2}` || a.header.Get("X-Claude-Backend") != "direct" {
		t.Errorf("count_tokens: %d %s %v", a.status, a.body, a.header)
	}
	a = s.post(t, "/v1/messages/count_tokens", `{"model":"haiku","messages":[{"role":"user","content":"12345678"}]}`, "X-Claude-Backend", "cli")
	if a.status != http.StatusOK || !strings.Contains(a.body, `{"input_tokens":`) || a.header.Get("X-Claude-Warnings") != "count_tokens is an estimate on the CLI backend" {
		t.Errorf("count_tokens on the CLI path: %d %s %v", a.status, a.body, a.header)
	}
	for _, path := range []string{"/v1/messages/batches", "/v1/files"} {
		a := s.post(t, path, `{}`, "anthropic-version", "2023-06-01")
		if a.status != http.StatusNotFound || !strings.Contains(a.body, `"type":"not_found_error"`) || !strings.Contains(a.body, `"type":"error"`) {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
}

// difference shows where two texts part.
func difference(a, b string) string {
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	part := func(s string) string { return s[max(0, i-100):min(len(s), i+200)] }
	return "…" + part(a) + "… instead of …" + part(b) + "…"
}
