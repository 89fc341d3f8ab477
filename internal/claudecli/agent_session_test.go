package claudecli_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/install"
)

// linkProjects has the sessions kept elsewhere than in HOME, as the service does.
func (a *agentTest) linkProjects(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	if err := os.MkdirAll(filepath.Join(a.agentic.Home, ".claude"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(folder, filepath.Join(a.agentic.Home, ".claude", "projects")); err != nil {
		t.Fatal(err)
	}
	a.agentic.Write = append(a.agentic.Write, folder)
	return folder
}

// lastBody is what the upstream was sent last.
func (a *agentTest) lastBody(t *testing.T) string {
	t.Helper()
	bodies := a.upstream.Bodies()
	if len(bodies) == 0 {
		t.Fatal("the upstream was sent nothing")
	}
	return string(bodies[len(bodies)-1])
}

func TestSessionsAreResumedAndForked(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		folder := a.linkProjects(t)
		first := a.start(t, "")
		if _, err := first.Turn(t.Context(), quote(t, "[[text=understood]] the word is parsley"), listen().AgentHandler); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		first.End()
		t.Log("ended in", time.Since(began))
		if files, err := filepath.Glob(filepath.Join(folder, "*", a.agentic.Session+".jsonl")); err != nil || len(files) != 1 {
			t.Fatalf("files of the session: %v, %v", files, err)
		}
		ask := func(prompt string) (claudecli.AgentAnswer, string) {
			t.Helper()
			agent := a.start(t, "")
			defer agent.End()
			answer, err := agent.Turn(t.Context(), quote(t, prompt), listen().AgentHandler)
			if err != nil || answer.Text != "Echo: "+prompt {
				t.Fatalf("answer = %+v, %v", answer, err)
			}
			return answer, a.lastBody(t)
		}
		a.agentic.Resume = true
		if answer, body := ask("resumed"); answer.Session != a.agentic.Session || !strings.Contains(body, "parsley") || !strings.Contains(body, "understood") {
			t.Errorf("session %s was sent %s", answer.Session, body)
		}
		a.agentic.Fork = true
		forked, body := ask("forked")
		if forked.Session == a.agentic.Session || !strings.Contains(body, "parsley") || !strings.Contains(body, "resumed") {
			t.Errorf("session %s was sent %s", forked.Session, body)
		}
		a.agentic.Fork = false
		if _, body := ask("once more"); strings.Contains(body, "forked") {
			t.Errorf("the former session holds what was said in the fork: %s", body)
		}
	})
}

// TestResumeAfterAKillInTheMiddleOfATool: of a tool use whose result nobody has seen
// 2.1.331 tells the model that its outcome isn't known; 2.1.197 leaves it out.
func TestResumeAfterAKillInTheMiddleOfATool(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		folder := a.linkProjects(t)
		agent := a.start(t, "")
		h := listen()
		h.Judge = func(_ context.Context, call claudecli.ToolCall) claudecli.Verdict {
			if h.judged = append(h.judged, call); len(h.judged) == 2 {
				awaitText(t, filepath.Join(folder, "*", a.agentic.Session+".jsonl"), `{"command":"echo second"}`)
				if err := syscall.Kill(-agent.PID(), syscall.SIGKILL); err != nil {
					t.Error(err)
				}
			}
			return claudecli.Verdict{Decision: claudecli.Allow}
		}
		_, err := agent.Turn(t.Context(), quote(t, `the task [[tool=Bash input={"command":"echo first"}]] [[then]] [[tool=Bash input={"command":"echo second"}]]`), h.AgentHandler)
		if err == nil {
			t.Fatal("the turn ended well")
		}
		agent.Close()

		a.agentic.Resume = true
		agent = a.start(t, "")
		answer, err := agent.Turn(t.Context(), quote(t, "[[text=went on]] go on"), listen().AgentHandler)
		if err != nil || answer.Text != "went on" || answer.Session != a.agentic.Session {
			t.Errorf("answer = %+v, %v", answer, err)
		}
		body := a.lastBody(t)
		told := a.version != install.OlderVersion
		if !strings.Contains(body, `{"command":"echo first"}`) || strings.Contains(body, `{"command":"echo second"}`) != told || strings.Contains(body, "its outcome is unknown") != told {
			t.Errorf("the upstream was sent %s", body)
		}
	})
}

// awaitText waits until a file of another process holds a text.
func awaitText(t *testing.T, pattern, text string) {
	t.Helper()
	for ctx, started := t.Context(), time.Now(); ctx.Err() == nil && time.Since(started) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if content, err := os.ReadFile(file); err == nil && strings.Contains(string(content), text) {
				return
			}
		}
	}
	t.Errorf("%s doesn't come to hold %s", pattern, text)
}
