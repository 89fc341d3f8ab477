package claudecli_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli"
)

// pidIn reads the id of a process from a file that it writes.
func pidIn(t *testing.T, file string) int {
	t.Helper()
	awaitText(t, file, "\n")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// awaitEnd waits until a process has ended that isn't a child of the test's.
func awaitEnd(t *testing.T, pid int) {
	t.Helper()
	for started := time.Now(); time.Since(started) < 10*time.Second; time.Sleep(5 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return
		}
		if text, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat")); err == nil && strings.Contains(string(text), ") Z ") {
			return // ended, and nobody has asked how
		}
	}
	t.Errorf("process %d is still there", pid)
}

// TestInterruptEndsATool that runs, with its processes, and keeps what is known; the
// process takes another turn.
func TestInterruptEndsATool(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		ctx, cancel := context.WithCancelCause(t.Context())
		left := errors.New("the caller left")
		file := filepath.Join(a.agentic.Directory, "pid")
		ended := make(chan int, 1)
		go func() {
			pid := pidIn(t, file)
			cancel(left)
			ended <- pid
		}()
		h := listen()
		began := time.Now()
		answer, err := agent.Turn(ctx, quote(t, `[[text=I begin]] [[tool=Bash input={"command":"echo $$ > pid; sleep 600"}]]`), h.AgentHandler)
		if !errors.Is(err, left) || answer.Text != "I begin" || answer.Spent == nil || answer.Turns != 1 {
			t.Errorf("answer = %+v, %v", answer, err)
		}
		t.Log("interrupted in", time.Since(began))
		awaitEnd(t, <-ended)
		answer, err = agent.Turn(t.Context(), quote(t, "[[text=further]]"), listen().AgentHandler)
		if err != nil || answer.Text != "further" {
			t.Errorf("the next turn: %+v, %v", answer, err)
		}
	})
}

// TestNothingOutlivesAnAgent: neither what a tool has left in the background nor what
// has left the process group.
func TestNothingOutlivesAnAgent(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"(sh -c 'echo $$ > one; exec sleep 600' &) >/dev/null 2>&1; setsid sh -c 'echo $$ > two; exec sleep 600' >/dev/null 2>&1 & sleep 0.1"}]] [[then]] [[text=done]]`), listen().AgentHandler)
		if err != nil || answer.Text != "done" {
			t.Fatalf("answer = %+v, %v", answer, err)
		}
		one, two := pidIn(t, filepath.Join(a.agentic.Directory, "one")), pidIn(t, filepath.Join(a.agentic.Directory, "two"))
		agent.End()
		awaitEnd(t, one)
		awaitEnd(t, two)
	})
}

// TestAnAgentsHandlerEndsTheTurn by its error, at any event.
func TestAnAgentsHandlerEndsTheTurn(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		agent := a.start(t, "")
		full := errors.New("the store is full")
		h := listen()
		h.Event = func(e claudecli.AgentEvent) error {
			if e.Type == claudecli.AgentToolUse {
				return full
			}
			return nil
		}
		answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"echo made > file"}]]`), h.AgentHandler)
		if !errors.Is(err, full) || answer.Spent == nil {
			t.Errorf("answer = %+v, %v", answer, err)
		}
	})
}
