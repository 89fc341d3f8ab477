package claudecli_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/confine"
)

// TestAnAgentIsConfined to its folders and what every program needs, whatever the
// judge says; programs of the machine it runs only with a tool that does.
func TestAnAgentIsConfined(t *testing.T) {
	if landlock, what := (confine.Confinement{}).Holds(); !landlock {
		t.Skipf("SKIPPED: %s", what)
	}
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		outside, linked := t.TempDir(), t.TempDir()
		a.write(t, filepath.Join(outside, "keys"), "tarragon")
		a.write(t, filepath.Join(linked, "notes"), "chervil")
		a.agentic.Read = []string{linked}
		bash := `[[tool=Bash input={"command":"cat ` + outside + `/keys; cat ` + linked + `/notes; echo x > ` + outside + `/new; echo x > ` + linked + `/new; ` +
			`ls /root; cat /proc/$PPID/environ | head -c 10 > environ; printf '#!/bin/sh\\necho own program' > run; chmod +x run; ./run; ls $TMPDIR > /dev/null && echo x > $TMPDIR/x && git --version"}]]`
		h, _ := a.turn(t, bash)
		results := h.results()
		for text, there := range map[string]bool{"tarragon": false, "chervil": true, "own program": true, "git version": true} {
			if strings.Contains(results, text) != there {
				t.Errorf("%q in the result: %t: %s", text, !there, results)
			}
		}
		for _, folder := range []string{outside, linked} {
			if _, err := os.Stat(filepath.Join(folder, "new")); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("it has written in %s", folder)
			}
		}

		a.agentic.Tools = []string{"Read", "Write"}
		a.write(t, filepath.Join(a.agentic.Directory, ".claude", "settings.json"),
			`{"hooks":{"PreToolUse":[{"matcher":"*","hooks":[{"type":"command","command":"echo run > `+a.agentic.Directory+`/hooked"}]}]}}`)
		h, _ = a.turn(t, `[[tool=Read input={"file_path":"`+outside+`/keys"}]] [[tool=Write input={"file_path":"`+outside+`/new","content":"x"}]] [[tool=Read input={"file_path":"`+linked+`/notes"}]]`)
		if results := h.results(); strings.Contains(results, "tarragon") || !strings.Contains(results, "chervil") {
			t.Errorf("results = %s", results)
		}
		for _, file := range []string{filepath.Join(outside, "new"), filepath.Join(a.agentic.Directory, "hooked")} {
			if _, err := os.Stat(file); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("there is %s", file)
			}
		}
	})
}

// TestNothingHidesFromItsEnd: a tool leaves something behind that has neither the marker in
// its environment nor a parent nor the group.
func TestNothingHidesFromItsEnd(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		for how, end := range map[string]func(*claudecli.Agent){"end": (*claudecli.Agent).End, "kill": func(agent *claudecli.Agent) { agent.Kill(); agent.Close() }} {
			file := "pid-" + how
			a.agentic.Session = newSession(t)
			agent := a.start(t, "")
			answer, err := agent.Turn(t.Context(), quote(t, `[[tool=Bash input={"command":"(env -i setsid sh -c 'echo $$ > `+file+`; exec sleep 600' >/dev/null 2>&1 &)"}]] [[then]] [[text=done]]`), listen().AgentHandler)
			if err != nil || answer.Text != "done" {
				t.Fatalf("answer = %+v, %v", answer, err)
			}
			pid := pidIn(t, filepath.Join(a.agentic.Directory, file))
			end(agent)
			awaitEnd(t, pid)
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
}
