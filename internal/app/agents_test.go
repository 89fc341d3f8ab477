package app

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

// deaf is a Handler that hears nothing and allows nothing.
type deaf struct{}

func (deaf) Event(agent.Event) error { return nil }
func (deaf) Permit(context.Context, agent.PermitRequest) (agent.Decision, error) {
	return agent.Decision{}, nil
}

// TestAgents wires a run to the home's agents, by the names that they give themselves,
// and tells of it.
func TestAgents(t *testing.T) {
	home := t.TempDir()
	agents := filepath.Join(home, ".claude", "agents")
	if err := os.MkdirAll(agents, 0o700); err != nil {
		t.Fatal(err)
	}
	for file, text := range map[string]string{
		"one.md": "---\nname: reviewer\ndescription: Reads with care.\n---\nRead.\n", "reviewer.md": "---\nname: other\ndescription: Reads in haste.\n---\nRead.\n",
	} {
		if err := os.WriteFile(filepath.Join(agents, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a, upstream, _ := working(t, install.Version, func(c *config.Config) { c.ClaudeHome, c.TaskSpares = home, 0 })
	all := []string{gateway.All}
	o, err := a.agents.Run(t.Context(), agent.Spec{
		ID: "run_1", Caller: &gateway.Caller{KeyID: "key_1", ProjectID: "alpha", Permissions: gateway.Permissions{AllowedTools: all, AllowedAgents: all}},
		Endpoint: "/v1/task", Model: "claude-haiku-5-5", Prompt: jsontext.Value(`"hello"`), Tools: all, Agents: []string{"reviewer"},
	}, deaf{})
	if err != nil || o.Text != "Echo: hello" {
		t.Fatalf("%+v, %v", o, err)
	}
	bodies := upstream.Bodies()
	if body := string(bodies[len(bodies)-1]); !strings.Contains(body, "Reads with care.") || strings.Contains(body, "Reads in haste.") {
		t.Error("the model is told of other agents than it may use")
	}
	if _, body := ask(t, a, "GET", "/health", "", ""); !strings.Contains(body, `"agents":{"status":"ok","detail":"0 running, 0 idle, 0 spare, 0 starting, 0 queued"}`) {
		t.Errorf("health: %s", body)
	}
	if _, body := ask(t, a, "GET", "/metrics", "", ""); !strings.Contains(body, `claude_api_agents{state="running"} 0`) || !strings.Contains(body, "claude_api_agents_queue_length 0") {
		t.Errorf("metrics: %s", body)
	}
}
