package claudecli_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
)

const helper = "---\nname: helper\ndescription: helps with everything\ntools: Bash, Read\n---\nYou help.\n"

// throughHelper is a prompt by which the agent helper is started and runs a command.
const throughHelper = `[[tool=Agent input={"description":"d","subagent_type":"helper","prompt":"[[tool=Bash input={\"command\":\"echo made > file\"}]] [[then]] [[text=helped]]"}]] [[then]] [[text=done]]`

// TestTheJudgeSeesEveryToolUse also those of agents, and its refusal holds where the
// rules of the command line and of the project's settings allow the tool.
func TestTheJudgeSeesEveryToolUse(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		a.write(t, filepath.Join(a.agentic.Home, ".claude", "agents", "helper.md"), helper)
		a.write(t, filepath.Join(a.agentic.Directory, ".claude", "settings.json"), `{"permissions":{"allow":["Bash"],"defaultMode":"bypassPermissions"}}`)
		a.agentic.Tools = []string{"Agent", "Bash"}
		a.agentic.Allow = []string{"Bash", "Agent"}
		agent := a.start(t, "")
		h := listen()
		h.Judge = func(_ context.Context, call claudecli.ToolCall) claudecli.Verdict {
			h.judged = append(h.judged, call)
			if call.Name == "Bash" {
				return claudecli.Verdict{Reason: "no commands today"}
			}
			return claudecli.Verdict{Decision: claudecli.Allow}
		}
		answer, err := agent.Turn(t.Context(), quote(t, throughHelper), h.AgentHandler)
		if err != nil || answer.Text != "done" || answer.Turns != 2 {
			t.Fatalf("answer = %+v, %v", answer, err)
		}
		if len(h.judged) != 2 || h.judged[0].Name != "Agent" || h.judged[0].Parent != "" ||
			h.judged[1].Name != "Bash" || h.judged[1].Parent != h.judged[0].ID || h.judged[1].Agent != "helper" {
			t.Errorf("judged = %+v", h.judged)
		}
		if _, err := os.Stat(filepath.Join(a.agentic.Directory, "file")); !errors.Is(err, os.ErrNotExist) {
			t.Error("the command was run")
		}
		if len(answer.Denied) != 1 || answer.Denied[0].Agent != "helper" || !strings.Contains(h.results(), "no commands today") {
			t.Errorf("denied = %+v, results = %s", answer.Denied, h.results())
		}
		for _, e := range h.events {
			if e.ToolID == h.judged[1].ID && e.Parent != h.judged[0].ID {
				t.Errorf("an event of the agent without its parent: %+v", e)
			}
		}
	})
}

// TestPermit: what the judge doesn't decide is asked for, by several tools at once;
// what is answered is what runs.
func TestPermit(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		h := listen()
		h.Judge = func(context.Context, claudecli.ToolCall) claudecli.Verdict {
			return claudecli.Verdict{Decision: claudecli.Ask}
		}
		readAsked := make(chan struct{})
		h.Permit = func(ctx context.Context, call claudecli.ToolCall) (claudecli.Verdict, error) {
			switch call.Name {
			case "Bash":
				select {
				case <-readAsked: // the other one is asked for meanwhile
				case <-ctx.Done():
					return claudecli.Verdict{}, ctx.Err()
				}
				return claudecli.Verdict{Decision: claudecli.Allow, Input: jsontext.Value(`{"command":"echo another"}`)}, nil
			case "Read":
				close(readAsked)
				return claudecli.Verdict{Reason: "not this file"}, nil
			}
			return claudecli.Verdict{Decision: claudecli.Allow}, errors.New("the one who decides is away")
		}
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"echo one"}]] [[tool=Read input={"file_path":"/etc/hosts"}]]`+
			` [[tool=Write input={"file_path":"written","content":"x"}]] [[then]] [[text=done]]`), h.AgentHandler)
		if err != nil || answer.Text != "done" {
			t.Fatalf("answer = %+v, %v", answer, err)
		}
		if results := h.results(); !strings.Contains(results, `"another"`) || !strings.Contains(results, "not this file") || len(answer.Denied) != 2 {
			t.Errorf("results = %s, denied = %+v", results, answer.Denied)
		}
		if _, err := os.Stat(filepath.Join(a.agentic.Directory, "written")); !errors.Is(err, os.ErrNotExist) {
			t.Error("a file was written that nobody has allowed")
		}
	})
}

// TestNobodyPermits: a handler that says nothing allows nothing.
func TestNobodyPermits(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		a.agentic.Allow = []string{"Bash"}
		agent := a.start(t, "")
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"echo made > file"}]] [[then]] [[text=done]]`), claudecli.AgentHandler{})
		if err != nil || answer.Text != "done" || len(answer.Denied) != 1 {
			t.Errorf("answer = %+v, %v", answer, err)
		}
		if _, err := os.Stat(filepath.Join(a.agentic.Directory, "file")); !errors.Is(err, os.ErrNotExist) {
			t.Error("the command was run")
		}
	})
}

// TestMaxTurns ends a run after its last answer, whose calls aren't run.
func TestMaxTurns(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		h := listen()
		h.MaxTurns = 2
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"echo 1 > file"}]] [[then]] [[tool=Bash input={"command":"echo 2 > file"}]] [[text=unfinished]] [[then]] [[text=done]]`), h.AgentHandler)
		if err != nil || !answer.OutOfTurns || answer.Turns != 2 || answer.Text != "unfinished" || answer.Spent == nil {
			t.Errorf("answer = %+v, %v", answer, err)
		}
		if text, err := os.ReadFile(filepath.Join(a.agentic.Directory, "file")); err != nil || string(text) != "1\n" {
			t.Errorf("the file holds %q, %v", text, err)
		}
		if posts := len(a.upstream.Bodies()); posts != 2 {
			t.Errorf("the upstream was asked %d times", posts)
		}
		answer, err = agent.Turn(t.Context(), quote(t, "[[text=further]]"), listen().AgentHandler)
		if err != nil || answer.Text != "further" {
			t.Errorf("the next turn: %+v, %v", answer, err)
		}
	})
}

// TestOnlyOurHookRuns: hooks of the project are commands that nobody has allowed.
func TestOnlyOurHookRuns(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		hook := `[{"hooks":[{"type":"command","command":"echo run > ` + filepath.Join(a.agentic.Directory, "hooked") + `"}]}]`
		a.write(t, filepath.Join(a.agentic.Directory, ".claude", "settings.json"),
			`{"hooks":{"SessionStart":`+hook+`,"UserPromptSubmit":`+hook+`,"PreToolUse":`+hook+`,"PostToolUse":`+hook+`,"Stop":`+hook+`}}`)
		h, answer := a.turn(t, `[[tool=Bash input={"command":"echo made"}]]`)
		if answer.Text != "Tool result: made" || len(h.judged) != 1 {
			t.Errorf("answer = %+v, judged = %+v", answer, h.judged)
		}
		if _, err := os.Stat(filepath.Join(a.agentic.Directory, "hooked")); !errors.Is(err, os.ErrNotExist) {
			t.Error("a hook of the project was run")
		}
	})
}

// TestSkillsRunNoCommands by themselves: what they hold for that isn't asked about.
func TestSkillsRunNoCommands(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		a.write(t, filepath.Join(a.agentic.Directory, ".claude", "settings.json"), `{"disableSkillShellExecution":false}`)
		a.write(t, filepath.Join(a.agentic.Directory, ".claude", "skills", "greet", "SKILL.md"),
			"---\nname: greet\ndescription: greets\nallowed-tools: Bash\n---\nhello !`echo run > run`\n")
		a.agentic.Tools = []string{"Bash", "Skill"}
		h, _ := a.turn(t, `[[tool=Skill input={"skill":"greet"}]]`)
		if !strings.Contains(h.results(), "Launching skill: greet") || len(h.judged) != 1 {
			t.Errorf("results = %s, judged = %+v", h.results(), h.judged)
		}
		if _, err := os.Stat(filepath.Join(a.agentic.Directory, "run")); !errors.Is(err, os.ErrNotExist) {
			t.Error("a command of the skill was run")
		}
	})
}
