package claudecli_test

import (
	"context"
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/fakeclaude"
	"claude-code-api-service/internal/message"
)

// startFakeAgent starts the scripted CLI as an agent.
func startFakeAgent(t *testing.T, change func(*claudecli.Options), script ...string) *claudecli.Agent {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	options := claudecli.Options{Path: self, Model: testModel, Env: fakeclaude.Env(script...)}
	if change != nil {
		change(&options)
	}
	agent, err := claudecli.StartAgent(options, claudecli.Agentic{Directory: t.TempDir(), Home: t.TempDir(), TempDir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Close)
	if err := agent.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := agent.Bind(t.Context(), claudecli.AgentSettings{Model: testModel}); err != nil {
		t.Fatal(err)
	}
	return agent
}

// TestAQuestionIsWithdrawn: the CLI no longer wants to know whether it may use a tool.
func TestAQuestionIsWithdrawn(t *testing.T) {
	agent := startFakeAgent(t, nil, "ask", "withdraw")
	ctx, cancel := context.WithCancel(t.Context())
	answer, err := agent.Turn(ctx, jsontext.Value(`"[[hang]]"`), claudecli.AgentHandler{
		Permit: func(asked context.Context, _ claudecli.ToolCall) (claudecli.Verdict, error) {
			<-asked.Done()
			if ctx.Err() != nil {
				t.Error("only the turn's end has ended the question")
			}
			cancel()
			return claudecli.Verdict{}, asked.Err()
		},
	})
	if !errors.Is(err, context.Canceled) || len(answer.Denied) != 0 {
		t.Errorf("answer = %+v, %v", answer, err)
	}
}

// TestAnAgentThatDoesntHeed an interrupt is killed.
func TestAnAgentThatDoesntHeed(t *testing.T) {
	agent := startFakeAgent(t, func(o *claudecli.Options) { o.ControlTimeout = 200 * time.Millisecond }, "mute=interrupt")
	ctx, cancel := context.WithCancel(t.Context())
	h := claudecli.AgentHandler{Stream: func(message.Event) error { cancel(); return nil }}
	if _, err := agent.Turn(ctx, jsontext.Value(`"[[hang]]"`), h); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	<-agent.Exited()
	if _, err := agent.Turn(t.Context(), jsontext.Value(`"again"`), h); apierror.From(err) == nil {
		t.Errorf("another turn: %v", err)
	}
	agent.End() // of a process that is gone
}

func TestAgentsFailures(t *testing.T) {
	agent := startFakeAgent(t, nil)
	if answer, err := agent.Turn(t.Context(), jsontext.Value(`"[[garbage]]"`), claudecli.AgentHandler{}); err != nil || !strings.Contains(answer.Text, "garbage") {
		t.Errorf("with garbage between its lines: %+v, %v", answer, err)
	}
	agent = startFakeAgent(t, nil)
	answer, err := agent.Turn(t.Context(), jsontext.Value(`"[[die]]"`), claudecli.AgentHandler{})
	if !errors.Is(err, claudecli.ErrDied) || !strings.Contains(err.Error(), "dying in mid-turn") || answer.Turns != 1 {
		t.Errorf("one that dies: %+v, %v", answer, err)
	}
	for _, wrong := range []claudecli.Agentic{
		{Home: "/a", TempDir: "/b"}, {Directory: "relative", Home: "/a", TempDir: "/b"},
		{Directory: "/a", Home: "/a", TempDir: "/a", Resume: true}, {Directory: "/a", Home: "/a", TempDir: "/a", Tools: []string{"a\x00b"}},
	} {
		if _, err := claudecli.StartAgent(claudecli.Options{Path: "/bin/true"}, wrong); apierror.From(err) == nil {
			t.Errorf("%+v was started", wrong)
		}
	}
}
