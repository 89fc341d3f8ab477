package claudecli_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/simulator"
)

// agentTest is a real CLI with tools, in folders of its own.
type agentTest struct {
	version  string
	upstream *simulator.Simulator
	options  claudecli.Options
	agentic  claudecli.Agentic
}

// forBothVersions runs a test with both pinned versions.
func forBothVersions(t *testing.T, test func(t *testing.T, a *agentTest)) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) { test(t, newAgentTest(t, version)) })
	}
}

func newAgentTest(t testing.TB, version string) *agentTest {
	t.Helper()
	a := &agentTest{version: version, upstream: clitest.NewUpstream(t)}
	a.options = claudecli.Options{Path: clitest.Path(t, version), Model: testModel, BaseURL: a.upstream.URL(), APIKey: "sk-simulator"}
	root := t.TempDir()
	folder := func(name string) string {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(path, 0o700); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a.agentic = claudecli.Agentic{
		Tools: []string{"Bash", "Read", "Write"}, Directory: folder("work"), Home: folder("home"), TempDir: folder("tmp"),
		Session: newSession(t),
	}
	return a
}

func (a *agentTest) write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// start starts the process and binds it.
func (a *agentTest) start(t testing.TB, system string) *claudecli.Agent {
	t.Helper()
	agent, err := claudecli.StartAgent(a.options, a.agentic)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(agent.Close)
	if err := agent.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := agent.Bind(t.Context(), claudecli.AgentSettings{Model: testModel, System: system}); err != nil {
		t.Fatal(err)
	}
	return agent
}

// heard is a handler that allows everything and keeps what it hears.
type heard struct {
	claudecli.AgentHandler
	events []claudecli.AgentEvent
	judged []claudecli.ToolCall
}

func listen() *heard {
	h := &heard{}
	h.Event = func(e claudecli.AgentEvent) error { h.events = append(h.events, e); return nil }
	h.Judge = func(_ context.Context, call claudecli.ToolCall) claudecli.Verdict {
		h.judged = append(h.judged, call)
		return claudecli.Verdict{Decision: claudecli.Allow}
	}
	return h
}

// results are the contents of the tool results that were heard.
func (h *heard) results() string {
	var all []string
	for _, e := range h.events {
		if e.Type == claudecli.AgentToolResult {
			all = append(all, string(e.Content))
		}
	}
	return strings.Join(all, "\n")
}

// newSession is a session's id of its own.
func newSession(t testing.TB) string {
	t.Helper()
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// quote makes a prompt of a text.
func quote(t testing.TB, text string) jsontext.Value {
	t.Helper()
	quoted, err := json.Marshal(text)
	if err != nil {
		t.Fatal(err)
	}
	return quoted
}

func TestAgentWorksWithATool(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "Speak plainly.")
		h := listen()
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"echo made > file; cat file"}]]`), h.AgentHandler)
		if err != nil {
			t.Fatal(err)
		}
		if answer.Turns != 2 || answer.Text != "Tool result: made" || answer.Session != a.agentic.Session || answer.Spent == nil || answer.Spent.CostMicroUSD == 0 {
			t.Errorf("answer = %+v (spent %+v)", answer, answer.Spent)
		}
		if text, err := os.ReadFile(filepath.Join(a.agentic.Directory, "file")); err != nil || string(text) != "made\n" {
			t.Errorf("the file holds %q, %v", text, err)
		}
		if len(h.judged) != 1 || h.judged[0].Name != "Bash" || !strings.Contains(h.results(), "made") {
			t.Errorf("judged = %+v, events = %+v", h.judged, h.events)
		}
	})
}

// TestAgentThinksAndChangesItsModel between turns, without a call of the upstream for it.
func TestAgentThinksAndChangesItsModel(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		for i, model := range []string{testModel, "claude-sonnet-5-5"} {
			if err := agent.Bind(t.Context(), claudecli.AgentSettings{Model: model}); err != nil {
				t.Fatal(err)
			}
			h := listen()
			var streamed []string
			h.Stream = func(e message.Event) error { streamed = append(streamed, e.Type); return nil }
			answer, err := agent.Turn(t.Context(), quote(t, "[[think text=an answer]] why"), h.AgentHandler)
			if err != nil || answer.Model != model || answer.Text != "an answer" || answer.Turns != 1 {
				t.Errorf("answer = %+v, %v", answer, err)
			}
			if posts := len(a.upstream.Bodies()); posts != i+1 {
				t.Errorf("the upstream was asked %d times for turn %d", posts, i+1)
			}
			var deltas, whole string
			for _, e := range h.events {
				switch e.Type {
				case claudecli.AgentThinkingDelta:
					deltas += e.Text
				case claudecli.AgentThinking:
					whole += e.Text
				}
			}
			if !strings.HasPrefix(whole, "Thinking about: ") || deltas != whole {
				t.Errorf("it thinks %q, in pieces %q", whole, deltas)
			}
			if len(streamed) < 8 || streamed[0] != message.EventMessageStart || streamed[len(streamed)-1] != message.EventMessageStop {
				t.Errorf("streamed %q", streamed)
			}
		}
		if err := agent.Bind(t.Context(), claudecli.AgentSettings{Model: testModel, System: "another"}); err == nil {
			t.Error("another system prompt was taken")
		}
	})
}

// TestAgentWaitsForALimit as its upstream says, and goes on.
func TestAgentWaitsForALimit(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		h := listen()
		began := time.Now()
		answer, err := agent.Turn(t.Context(), quote(t, "[[error=429 retry-after=1 times=1]] hello"), h.AgentHandler)
		if err != nil || answer.Text != "Echo: hello" || time.Since(began) < time.Second {
			t.Errorf("answer = %+v, %v", answer, err)
		}
		if !slices.ContainsFunc(h.events, func(e claudecli.AgentEvent) bool {
			return e.Type == claudecli.AgentRetry && strings.Contains(e.Text, "429")
		}) {
			t.Errorf("events = %+v", h.events)
		}
		answer, err = agent.Turn(t.Context(), quote(t, "[[error=400]] hello"), listen().AgentHandler)
		if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest {
			t.Errorf("a refusal gave %+v, %v", answer, err)
		}
	})
}

// TestWhatAgentsOfARunUse is in its account and in its events, not in its own answers.
func TestWhatAgentsOfARunUse(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		a.agentic.Tools = []string{"Agent", "Bash"}
		agent := a.start(t, "")
		h := listen()
		streamed := 0
		h.Stream = func(e message.Event) error {
			if e.Type == message.EventMessageStart {
				streamed++
			}
			return nil
		}
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Agent input={"description":"d","subagent_type":"general-purpose",`+
			`"prompt":"[[tool=Bash input={\"command\":\"echo helped\"}]] [[then]] [[tokens=500]]"}]] [[then]] [[text=done]]`), h.AgentHandler)
		if err != nil || answer.Text != "done" || answer.Turns != 2 || streamed != 2 || answer.Spent == nil || answer.Spent.Usage.OutputTokens < 500 {
			t.Errorf("answer = %+v (spent %+v), %d streamed, %v", answer, answer.Spent, streamed, err)
		}
		var within []string
		for _, e := range h.events {
			if e.Parent == h.judged[0].ID {
				within = append(within, fmt.Sprint(e.Type, e.Tool, string(e.Content)))
			}
		}
		want := []string{fmt.Sprint(claudecli.AgentToolUse, "Bash"), fmt.Sprint(claudecli.AgentToolResult, `"helped"`)}
		if !slices.Equal(within, want) {
			t.Errorf("in the agent: %q, want %q", within, want)
		}
	})
}
