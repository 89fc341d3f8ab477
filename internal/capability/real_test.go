package capability_test

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
)

// TestWhatIsListedIsWhatTheCLIOffers holds the catalogue against what both pinned
// versions of the CLI tell the model, in the body that arrives upstream. The CLI's HOME
// leads, as a run's does, to what the catalogue names and nothing else.
func TestWhatIsListedIsWhatTheCLIOffers(t *testing.T) {
	source, project := t.TempDir(), t.TempDir()
	agents(t, source, "reviewer.md", "---\nname: reviewer\ndescription: Reviews.\ntools: Read, Grep\n---\nYou review.\n")
	agents(t, source, "deep/nested.md", "---\nname: nested\ndescription: Use it when: deep\n---\nx\n")
	agents(t, source, "broken.md", "---\nname: [brokenagent\ndescription: Broken.\n---\nx\n")
	agents(t, source, "none.md", "---\nname: nodescription\n---\nx\n")
	skill(t, source, "good", "---\nname: other\ndescription: Good.\n---\nx\n")
	skill(t, source, "older", "How it was done before.\n")
	skill(t, source, "hidden", "---\nname: hidden\ndescription: Hidden.\ndisable-model-invocation: true\n---\nx\n")
	skill(t, source, "brokenskill", "---\nname:\tx\n\tdescription: Broken.\n---\nx\n")
	agents(t, project, "own.md", "---\nname: own-agent\ndescription: The project's.\n---\nx\n")
	skill(t, project, "own-skill", "---\nname: own-skill\ndescription: The project's.\n---\nx\n")
	c, _ := open(t, source)

	home := t.TempDir()
	link := func(folder, path string) {
		t.Helper()
		to := filepath.Join(home, ".claude", folder, filepath.Base(path))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, to); err != nil {
			t.Fatal(err)
		}
	}
	for _, a := range c.Agents("") {
		if a.Path != "" {
			link("agents", a.Path)
		}
	}
	for _, s := range c.Skills("") {
		if s.Path != "" {
			link("skills", s.Path)
		}
	}
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			offeredAgents, offeredSkills := offered(t, clitest.Path(t, version), home, project)
			var wantAgents, wantSkills []string
			for _, a := range c.Agents(project) {
				wantAgents = append(wantAgents, a.Name)
				if !slices.Contains(offeredAgents, a.Name) {
					t.Errorf("the agent %s isn't offered; there are %q", a.Name, offeredAgents)
				}
			}
			for _, s := range c.Skills(project) {
				wantSkills = append(wantSkills, s.Name)
				if !slices.Contains(offeredSkills, s.Name) {
					t.Errorf("the skill %s isn't offered; there are %q", s.Name, offeredSkills)
				}
			}
			for _, name := range []string{"reviewer", "nested", "own-agent", "general-purpose"} {
				if !slices.Contains(wantAgents, name) {
					t.Errorf("the agent %s isn't listed", name)
				}
			}
			for _, name := range []string{"good", "older", "own-skill", "code-review"} {
				if !slices.Contains(wantSkills, name) {
					t.Errorf("the skill %s isn't listed", name)
				}
			}
			for _, name := range []string{"brokenagent", "[brokenagent", "nodescription", "hidden", "brokenskill"} {
				if slices.Contains(slices.Concat(wantAgents, wantSkills, offeredAgents, offeredSkills), name) {
					t.Errorf("%s is listed or offered", name)
				}
			}
		})
	}
}

var (
	offeredAgent = regexp.MustCompile(`\\n- ([^:\\]+): [^\n]*?\(Tools: `)
	offeredSkill = regexp.MustCompile(`\\n- ([^:\\( ]+)(?: \([^)]*\))?: `)
)

// offered runs the CLI once and gives the agents and skills of which its request tells
// the model.
func offered(t *testing.T, path, home, directory string) (agents, skills []string) {
	t.Helper()
	upstream := clitest.NewUpstream(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-p", "--input-format=stream-json", "--output-format=stream-json", "--verbose",
		"--setting-sources=user,project", "--strict-mcp-config", "--no-session-persistence")
	cmd.Dir = directory
	cmd.Env = []string{
		"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", "HOME=" + home, "TMPDIR=" + t.TempDir(),
		"ANTHROPIC_BASE_URL=" + upstream.URL(), "ANTHROPIC_API_KEY=sk-test",
		"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC=1", "DISABLE_AUTOUPDATER=1", "DISABLE_TELEMETRY=1", "DISABLE_ERROR_REPORTING=1",
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := in.Write([]byte(`{"type":"user","message":{"role":"user","content":"hello"},"parent_tool_use_id":null}` + "\n")); err != nil {
		t.Error(err)
	}
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, 10<<20)
	for lines.Scan() {
		if strings.Contains(lines.Text(), `"type":"result"`) {
			break
		}
	}
	_ = in.Close()
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	for _, r := range upstream.Requests() {
		_, list, found := strings.Cut(string(r.Body), "Available agent types for the Agent tool:")
		if !found {
			continue
		}
		list, rest, _ := strings.Cut(list, "The following skills are available")
		for _, m := range offeredAgent.FindAllStringSubmatch(strings.ReplaceAll(list, `\n- `, "\n\\n- "), -1) {
			agents = append(agents, m[1])
		}
		for _, m := range offeredSkill.FindAllStringSubmatch(rest, -1) {
			skills = append(skills, m[1])
		}
	}
	return agents, skills
}
