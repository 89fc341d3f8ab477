package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/gateway"
)

// invented is an OAuth login that no upstream has given, as the CLI keeps its own.
const invented = `{"claudeAiOauth":{"accessToken":"sk-ant-oat01-invented","refreshToken":"sk-ant-ort01-invented","expiresAt":4102444800000,` +
	`"scopes":["user:inference","user:profile"],"subscriptionType":"max"}}`

// TestARunUsesTheConfiguredLogin where it is: no copy of it, and no link, is in the run's
// home.
func TestARunUsesTheConfiguredLogin(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		upstream := clitest.NewUpstream(t)
		s := newService(t, version, map[string]string{".credentials.json": invented}, func(o *agent.Options) {
			o.Login, o.Meter = true, newMeter(t, upstream.URL(), true)
		})
		h := &heard{}
		o, err := s.Run(t.Context(), spec("key_1", call("Bash", map[string]any{"command": "find ~ -name '*credentials*'"})), h)
		if err != nil || strings.Contains(h.results(), "credentials.json") {
			t.Errorf("%+v, %v\n%s", o, err, h.results())
		}
		seen := upstream.Requests()
		for _, r := range seen {
			if got := r.Header.Get("Authorization") + r.Header.Get("X-Api-Key"); got != "Bearer sk-ant-oat01-invented" {
				t.Errorf("the upstream got %q", got)
			}
		}
		if len(seen) != 2 || o.CostMicroUSD == nil || *o.CostMicroUSD == 0 {
			t.Errorf("%d calls, %+v", len(seen), o)
		}
		if data, err := os.ReadFile(filepath.Join(s.home, ".claude", ".credentials.json")); err != nil || string(data) != invented {
			t.Errorf("the login is %s, %v", data, err)
		}
	})
}

// TestARunKnowsNoCredential of the service's: not its environment, and nothing in its
// home or argument list.
func TestARunKnowsNoCredential(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		look := "env; tr '\\0' '\\n' </proc/$PPID/environ; tr '\\0' '\\n' </proc/$PPID/cmdline; cat ~/.claude/*.json ~/.claude.json"
		want := spec("key_1", call("Bash", map[string]any{"command": look}))
		want.System = "A secret of the request."
		h := &heard{}
		if _, err := s.Run(t.Context(), want, h); err != nil {
			t.Fatal(err)
		}
		if results := h.results(); !strings.Contains(results, "HOME=") || strings.Contains(results, credential) || strings.Contains(results, want.System) {
			t.Errorf("it sees %s", results)
		}
	})
}

// TestALoginsFolderLeadsNowhere: a run with a login can write in the folder that has it.
// What it links there opens nothing to the runs that follow.
func TestALoginsFolderLeadsNowhere(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, map[string]string{".credentials.json": invented, "agents/fine.md": "---\nname: fine\ndescription: d\n---\nx"}, func(o *agent.Options) {
			o.Login, o.Meter = true, newMeter(t, clitest.NewUpstream(t).URL(), true)
		})
		write(t, s.home, map[string]string{"data/keys": "tarragon"})
		claude := filepath.Join(s.home, ".claude")
		plant := "mkdir -p " + claude + "/skills && ln -s " + s.home + "/data " + claude + "/skills/data && ln -s " + s.home + "/data " + claude + "/agents/data"
		for _, command := range []string{plant, "ls ~/.claude/agents; cat " + s.home + "/data/keys; cat ~/.claude/skills/data/keys"} {
			want, h := spec("key_1", call("Bash", map[string]any{"command": command})), &heard{}
			want.Agents, want.Skills = []string{gateway.All}, []string{gateway.All}
			if _, err := s.Run(t.Context(), want, h); err != nil {
				t.Fatal(err)
			}
			if command != plant && (strings.Contains(h.results(), "tarragon") || !strings.Contains(h.results(), "fine.md")) {
				t.Errorf("it reads %s", h.results())
			}
		}
		if _, err := os.Lstat(filepath.Join(claude, "skills", "data")); err != nil {
			t.Errorf("the test shows nothing: %v", err)
		}
	})
}

// TestASkillHoldsNoLogin: a file that a skill names is put into the prompt without a
// question.
func TestASkillHoldsNoLogin(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		upstream := clitest.NewUpstream(t)
		s := newService(t, version, map[string]string{".credentials.json": invented}, func(o *agent.Options) {
			o.Login, o.Meter = true, newMeter(t, upstream.URL(), true)
		})
		want, h := spec("key_1", call("Skill", map[string]any{"skill": "greet"})), &heard{}
		want.Tools, want.Skills, want.Directory = []string{"Skill"}, []string{gateway.All}, t.TempDir()
		login := filepath.Join(s.home, ".claude", ".credentials.json")
		write(t, want.Directory, map[string]string{
			".claude/skills/greet/SKILL.md": "---\nname: greet\ndescription: greets\n---\nhello @" + login + " @" + want.Directory + "/word\n", "word": "chervil",
		})
		if _, err := s.Run(t.Context(), want, h); err != nil {
			t.Fatal(err)
		}
		sent := ""
		for _, body := range upstream.Bodies() {
			sent += string(body)
		}
		if strings.Contains(sent, "ort01-invented") || !strings.Contains(sent, "chervil") {
			t.Errorf("results %s, the login was sent: %t", h.results(), strings.Contains(sent, "ort01-invented"))
		}
	})
}

// TestNoRuleIsAnArgument: rules are texts of requests.
func TestNoRuleIsAnArgument(t *testing.T) {
	forBothVersions(t, func(t *testing.T, version string) {
		s := newService(t, version, nil, nil)
		want, h := spec("key_1", call("Bash", map[string]any{"command": "tr '\\0' '\\n' </proc/$PPID/cmdline"})), &heard{}
		want.Tools = []string{"Bash", "Bash(tarragon:*)"}
		if _, err := s.Run(t.Context(), want, h); err != nil {
			t.Fatal(err)
		}
		if got := h.results(); strings.Contains(got, "tarragon") || !strings.Contains(got, "--strict-mcp-config") {
			t.Errorf("arguments: %s", got)
		}
	})
}
