package claudecli_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/claudecli"
)

// offered are the names of the tools in what the upstream was sent last.
func (a *agentTest) offered(t *testing.T) []string {
	t.Helper()
	var body struct {
		Tools []struct{ Name string } `json:"tools"`
	}
	if err := json.Unmarshal([]byte(a.lastBody(t)), &body, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, tool := range body.Tools {
		names = append(names, tool.Name)
	}
	slices.Sort(names)
	return names
}

// turn runs one turn on a process of its own.
func (a *agentTest) turn(t *testing.T, prompt string) (*heard, claudecli.AgentAnswer) {
	t.Helper()
	a.agentic.Session = newSession(t)
	agent := a.start(t, "")
	defer agent.Close()
	h := listen()
	answer, err := agent.Turn(t.Context(), quote(t, prompt), h.AgentHandler)
	if err != nil {
		t.Fatal(err)
	}
	return h, answer
}

func TestAgentsToolsAreThoseThatItIsGiven(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		for _, tools := range [][]string{nil, {"Read"}, {"Agent", "Bash", "Edit", "Glob", "Grep", "Read", "Skill", "WebFetch", "WebSearch", "Write"}} {
			a.agentic.Tools = tools
			h, _ := a.turn(t, "hi")
			if got := a.offered(t); !slices.Equal(got, tools) {
				t.Errorf("offered %q of %q", got, tools)
			}
			if h.events[0].Type != claudecli.AgentInit || len(h.events[0].Tools) != len(tools) {
				t.Errorf("the first event is %+v", h.events[0])
			}
		}
	})
}

// TestAgentsAndSkills that a rule denies can't be used though the judge allows it. The
// model knows of those in HOME, whose targets need not be there, and of the CLI's own
// agents.
func TestAgentsAndSkills(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		elsewhere := t.TempDir()
		for _, name := range []string{"linked", "denied"} {
			a.write(t, filepath.Join(elsewhere, "agents", name+".md"), strings.ReplaceAll(helper, "helper", name))
			a.write(t, filepath.Join(elsewhere, "skills", name, "SKILL.md"), "---\nname: "+name+"\ndescription: the "+name+" skill\n---\nbody of "+name+"\n")
			for _, path := range []string{filepath.Join("agents", name+".md"), filepath.Join("skills", name)} {
				link := filepath.Join(a.agentic.Home, ".claude", path)
				if err := os.MkdirAll(filepath.Dir(link), 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Symlink(filepath.Join(elsewhere, path), link); err != nil {
					t.Fatal(err)
				}
			}
		}
		a.agentic.Read = []string{elsewhere}
		a.agentic.Tools = []string{"Agent", "Bash", "Read", "Skill"}
		a.agentic.Deny = []string{"Agent(denied)", "Task(Explore)", "Skill(denied)"}
		h, _ := a.turn(t, `[[tool=Agent input={"description":"d","subagent_type":"linked","prompt":"[[text=helped]]"}]] `+
			`[[tool=Agent input={"description":"d","subagent_type":"denied","prompt":"[[text=helped]]"}]] `+
			`[[tool=Skill input={"skill":"linked"}]] [[tool=Skill input={"skill":"denied"}]] [[then]] [[text=done]]`)
		results := h.results()
		for _, want := range []string{"helped", "'denied' has been denied", "Launching skill: linked", "blocked by permission rules"} {
			if strings.Count(results, want) != 1 {
				t.Errorf("%q isn't once in the results: %s", want, results)
			}
		}
		first := string(a.upstream.Bodies()[0])
		for text, known := range map[string]bool{
			"- linked: helps": true, "the linked skill": true, "general-purpose": true,
			"- denied: helps": false, "- Explore": false, "dataviz": false, "deep-research": false, elsewhere: false,
			"the denied skill": true, // a rule doesn't keep a skill from being listed
		} {
			if strings.Contains(first, text) != known {
				t.Errorf("the model knows of %q: %t", text, !known)
			}
		}
		if body := a.lastBody(t); !strings.Contains(body, "body of linked") || strings.Contains(body, "body of denied") {
			t.Errorf("the upstream was sent %s", body)
		}
	})
}

func TestAgentReadsItsInstructions(t *testing.T) {
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		a.write(t, filepath.Join(a.agentic.Home, ".claude", "CLAUDE.md"), "rosemary")
		a.write(t, filepath.Join(a.agentic.Directory, "CLAUDE.md"), "thyme")
		agent := a.start(t, "marjoram")
		// What looks like a path stays a text.
		a.write(t, filepath.Join(a.agentic.Directory, "secret"), "lovage")
		a.write(t, filepath.Join(a.agentic.Directory, "below", "CLAUDE.md"), "sorrel")
		a.write(t, filepath.Join(a.agentic.Directory, "below", "file"), "text")
		prompt := `look at @secret [[tool=Read input={"file_path":"` + filepath.Join(a.agentic.Directory, "below", "file") + `"}]]`
		if _, err := agent.Turn(t.Context(), quote(t, prompt), listen().AgentHandler); err != nil {
			t.Fatal(err)
		}
		body := a.lastBody(t)
		for _, word := range []string{"rosemary", "thyme", "marjoram", "sorrel"} {
			if !strings.Contains(body, word) {
				t.Errorf("%s isn't in what the upstream was sent: %s", word, body)
			}
		}
		if strings.Contains(body, "lovage") {
			t.Error("a file that the prompt names was sent along")
		}
	})
}
