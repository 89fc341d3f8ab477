package capability_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/capability"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m, clitest.IgnoreSpawner()) }

// record is a log that tests read.
type record struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (r *record) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.Write(b)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.text.String()
}

func open(t *testing.T, home string) (*capability.Catalogue, *record) {
	t.Helper()
	log := &record{}
	c := capability.New(capability.Options{Home: home, Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(c.Close)
	return c, log
}

// write makes a file and the folders above it.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func agents(t *testing.T, folder, file, text string) string {
	t.Helper()
	path := filepath.Join(folder, ".claude", "agents", file)
	write(t, path, text)
	return path
}

func skill(t *testing.T, folder, name, text string) string {
	t.Helper()
	path := filepath.Join(folder, ".claude", "skills", name)
	write(t, filepath.Join(path, "SKILL.md"), text)
	return path
}

func agentNames(list []capability.Agent) (names []string) {
	for _, a := range list {
		if a.Origin != capability.BuiltIn {
			names = append(names, a.Name)
		}
	}
	return names
}

func skillNames(list []capability.Skill) (names []string) {
	for _, s := range list {
		if s.Origin != capability.BuiltIn {
			names = append(names, s.Name)
		}
	}
	return names
}

func TestNothingButWhatIsBuiltIn(t *testing.T) {
	for _, home := range []string{"", t.TempDir(), filepath.Join(t.TempDir(), "none")} {
		c, log := open(t, home)
		all, skills := c.Agents("/nowhere"), c.Skills("")
		if len(all) != 4 || all[1].Name != "Plan" || all[3].Name != "general-purpose" || len(skills) != 6 {
			t.Errorf("%+v, %+v", all, skills)
		}
		if log.String() != "" {
			t.Error(log)
		}
	}
}

func TestAgents(t *testing.T) {
	home := t.TempDir()
	path := agents(t, home, "reviewer.md", "---\nname: reviewer\ndescription: Reviews.\ntools: Read, Bash(git log:*, x), Grep\nmodel: sonnet\n---\nYou review.\n")
	agents(t, home, "deep/er/nested.md", "---\nname: nested\ndescription: |\n  Two\n  lines.\ntools: [Read, Glob]\nmodel: inherit\n---\n")
	agents(t, home, "colon.md", "---\nname: colon\ndescription: Use it when: somebody says \"now\"\n---\n")
	agents(t, home, "crlf.md", "---\r\nname: crlf\r\ndescription: Windows.\r\ntools: \"*\"\r\n---\r\n")
	agents(t, home, "odd.md", "---\nname: odd\ndescription: Odd.\ntools: {a: b}\nmodel: [x]\n---\n")
	c, log := open(t, home)
	var got []string
	for _, a := range c.Agents("") {
		if a.Origin != capability.BuiltIn {
			got = append(got, fmt.Sprintf("%s|%s|%q|%s|%s", a.Name, a.Description, a.Tools, a.Model, a.Origin))
		}
	}
	want := []string{
		`colon|Use it when: somebody says "now"|[]||home`,
		`crlf|Windows.|[]||home`,
		"nested|Two\nlines.|[\"Read\" \"Glob\"]||home",
		`odd|Odd.|[]||home`,
		`reviewer|Reviews.|["Read" "Bash(git log:*, x)" "Grep"]|sonnet|home`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	if got := c.Agent("reviewer"); got != path {
		t.Errorf("the path is %s, want %s", got, path)
	}
	if got := c.Agent("general-purpose") + c.Agent("other"); got != "" {
		t.Errorf("what is built in has the path %s", got)
	}
	if log.String() != "" {
		t.Error(log)
	}
}

func TestSkills(t *testing.T) {
	home := t.TempDir()
	path := skill(t, home, "good", "---\nname: another name\ndescription: Good.\nallowed-tools: Read Bash(git log:*)\n---\nDo it.\n")
	skill(t, home, "older", "# Older skill\n\nHow it is done.\n")
	skill(t, home, "plain", "---\nname: plain\n---\n\nWhat it does.\n")
	skill(t, home, "hidden", "---\nname: hidden\ndescription: People only.\ndisable-model-invocation: true\n---\n")
	skill(t, home, "outer/inner", "---\nname: inner\ndescription: Too deep.\n---\n")
	write(t, filepath.Join(home, ".claude/skills/flat.md"), "---\nname: flat\ndescription: No folder.\n---\n")
	write(t, filepath.Join(home, ".claude/skills/readme/README.md"), "no skill")
	c, log := open(t, home)
	var got []string
	for _, s := range c.Skills("") {
		if s.Origin != capability.BuiltIn {
			got = append(got, fmt.Sprintf("%s|%s|%q", s.Name, s.Description, s.Tools))
		}
	}
	want := []string{`good|Good.|["Read" "Bash(git log:*)"]`, `older|Older skill|[]`, `plain|What it does.|[]`}
	if !slices.Equal(got, want) {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	if got := c.Skill("good"); got != path || c.Skill("hidden") != "" {
		t.Errorf("the path is %s, want %s", got, path)
	}
	if log.String() != "" {
		t.Error(log)
	}
}

func TestWhatCantBeUsedIsLeftOutAndNamed(t *testing.T) {
	home, outside := t.TempDir(), t.TempDir()
	agents(t, home, "good.md", "---\nname: good\ndescription: Good.\n---\n")
	fine := "---\nname: fine\ndescription: Fine.\n---\n"
	want := map[string]string{}
	for name, broken := range map[string]struct{ text, why string }{
		"yaml.md":     {"---\nname: x\n\tdescription: y\n---\n", "isn't YAML"},
		"list.md":     {"---\n- a\n---\n", "isn't YAML"},
		"repaired.md": {"---\nname: [x\ndescription: y\n---\n", "its name"},
		"endless.md":  {"---\nname: x\ndescription: y\n", "has no end"},
		"long.md":     {"---\nname: x\ndescription: y\nx: " + strings.Repeat("z", 20_000) + "\n---\n", "within 16384 bytes"},
		"plain.md":    {"You review.\n", "no front matter"},
		"late.md":     {"\n" + fine, "no front matter"},
		"bom.md":      {"\ufeff" + fine, "no front matter"},
		"noname.md":   {"---\ndescription: y\n---\n", "no name or no description"},
		"number.md":   {"---\nname: 7\ndescription: y\n---\n", "no name or no description"},
		"blank.md":    {"---\nname: Code Reviewer\ndescription: y\n---\n", "its name"},
		"path.md":     {"---\nname: ../x\ndescription: y\n---\n", "its name"},
		"rule.md":     {"---\nname: a),Bash(*\ndescription: y\n---\n", "its name"},
		"twice.md":    {"---\nname: good\ndescription: Another.\n---\n", "another one has its name"},
	} {
		want[agents(t, home, name, broken.text)] = broken.why
	}
	write(t, filepath.Join(outside, "secret.md"), strings.ReplaceAll(fine, "fine", "secret"))
	skill(t, outside, "away", fine)
	for from, to := range map[string]string{
		"agents/away.md": filepath.Join(outside, "secret.md"),
		"skills/away":    filepath.Join(outside, ".claude/skills/away"),
		"agents/gone.md": "nowhere.md",
	} {
		from = filepath.Join(home, ".claude", from)
		if err := os.MkdirAll(filepath.Dir(from), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(to, from); err != nil {
			t.Fatal(err)
		}
		want[from] = ""
	}
	pipe := filepath.Join(home, ".claude/agents/pipe.md")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	want[pipe] = "isn't a file"
	want[skill(t, home, "Two Words", fine)] = "its name"
	want[skill(t, home, "tabbed", "---\nname:\tx\n\ty: z\n---\nBody.\n")] = "isn't YAML"
	want[skill(t, home, "silent", "")] = "no name or no description"

	c, log := open(t, home)
	if got := agentNames(c.Agents("")); !slices.Equal(got, []string{"good"}) {
		t.Errorf("agents: %q", got)
	}
	if got := skillNames(c.Skills("")); got != nil {
		t.Errorf("skills: %q", got)
	}
	for path, why := range want {
		named := false
		for line := range strings.Lines(log.String()) {
			named = named || strings.Contains(line, path) && strings.Contains(line, why)
		}
		if !named {
			t.Errorf("the log doesn't say of %s that %s", path, why)
		}
	}
	if t.Failed() {
		t.Log(log)
	}
}

// TestAliasesThatGrow has front matter that would become billions of values.
func TestAliasesThatGrow(t *testing.T) {
	text := "---\nname: grown\ndescription: Grown.\na0: &a0 [z]\n"
	for n := range 20 {
		text += fmt.Sprintf("a%d: &a%d [%s]\n", n+1, n+1, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d,", n), 9), ","))
	}
	home := t.TempDir()
	agents(t, home, "grown.md", text+"---\n")
	agents(t, home, "good.md", "---\nname: good\ndescription: Good.\n---\n")
	if c, log := open(t, home); !slices.Equal(agentNames(c.Agents("")), []string{"good"}) || !strings.Contains(log.String(), "grown.md") {
		t.Error(log)
	}
}

func TestLinksInsideAreFollowed(t *testing.T) {
	home := t.TempDir()
	write(t, filepath.Join(home, "dotfiles/agents/mine.md"), "---\nname: mine\ndescription: Mine.\n---\n")
	write(t, filepath.Join(home, ".claude/x"), "")
	if err := os.Symlink("../dotfiles/agents", filepath.Join(home, ".claude/agents")); err != nil {
		t.Fatal(err)
	}
	c, log := open(t, home)
	if got := agentNames(c.Agents("")); !slices.Equal(got, []string{"mine"}) {
		t.Errorf("agents: %q; %s", got, log)
	}
}

func TestProjects(t *testing.T) {
	home, project := t.TempDir(), t.TempDir()
	agents(t, home, "a.md", "---\nname: both\ndescription: The home's.\n---\n")
	agents(t, project, "b.md", "---\nname: both\ndescription: The project's.\n---\n")
	agents(t, project, "c.md", "---\nname: general-purpose\ndescription: Another.\n---\n")
	skill(t, home, "both", "---\nname: both\ndescription: The home's.\n---\n")
	skill(t, project, "both", "---\nname: both\ndescription: The project's.\n---\n")
	skill(t, project, "own", "---\nname: own\ndescription: The project's.\n---\n")
	c, _ := open(t, home)
	describe := func(directory string) (all string) {
		for _, a := range c.Agents(directory) {
			if a.Origin != capability.BuiltIn {
				all += a.Name + ": " + a.Description + " "
			}
		}
		for _, s := range c.Skills(directory) {
			if s.Origin != capability.BuiltIn {
				all += s.Name + ": " + s.Description + " "
			}
		}
		return all
	}
	for directory, want := range map[string]string{
		"":          "both: The home's. both: The home's. ",
		"relative":  "both: The home's. both: The home's. ",
		project:     "both: The project's. general-purpose: Another. both: The home's. own: The project's. ",
		"/dev/null": "both: The home's. both: The home's. ",
	} {
		if got := describe(directory); got != want {
			t.Errorf("%q: %s", directory, got)
		}
	}
	if got := filepath.Base(c.Agent("both")); got != "a.md" {
		t.Errorf("the path is of %s: a run links only what the home has", got)
	}
	// More than are watched at a time: each is read when it is asked for.
	for n := range 80 {
		p := t.TempDir()
		agents(t, p, "x.md", "---\nname: x\ndescription: y\n---\n")
		if got := agentNames(c.Agents(p)); !slices.Equal(got, []string{"both", "x"}) {
			t.Fatalf("project %d: %q", n, got)
		}
	}
	if got := describe(project); !strings.Contains(got, "The project's") {
		t.Errorf("after it gave way: %s", got)
	}
}

func TestAllowed(t *testing.T) {
	home := t.TempDir()
	agents(t, home, "a.md", "---\nname: a\ndescription: A.\n---\n")
	skill(t, home, "s", "---\nname: s\ndescription: S.\n---\n")
	c, _ := open(t, home)
	all := []string{gateway.All}
	for _, tt := range []struct {
		name                  string
		p                     gateway.Permissions
		agents, skills, tools []string
	}{
		{name: "nothing"},
		{
			"some",
			gateway.Permissions{
				AllowedTools:  []string{"Read", "Bash(git log:*)", "Write", "mcp__hub__list", "NoSuchTool", "NoSuchTool(x)"},
				BlockedTools:  []string{"Write"},
				AllowedAgents: []string{"a", "unknown"}, AllowedSkills: []string{"s"},
			},
			[]string{"a"},
			[]string{"s"},
			[]string{"Bash(git log:*)", "Read", "mcp__hub__list"},
		},
		{
			"all but Bash", gateway.Permissions{AllowedTools: all, BlockedTools: []string{"Bash"}, AllowedAgents: all, AllowedSkills: all},
			[]string{"Explore", "Plan", "a", "claude", "general-purpose"},
			[]string{"claude-api", "code-review", "init", "run", "s", "security-review", "simplify"},
			[]string{"Edit", "Glob", "Grep", "NotebookEdit", "Read", "Skill", "Task", "WebFetch", "WebSearch", "Write"},
		},
	} {
		allowed := c.Allowed(tt.p, "")
		var agents, skills []string
		for _, a := range allowed.Agents {
			agents = append(agents, a.Name)
		}
		for _, s := range allowed.Skills {
			skills = append(skills, s.Name)
		}
		if !slices.Equal(agents, tt.agents) || !slices.Equal(skills, tt.skills) || !slices.Equal(allowed.Tools, tt.tools) {
			t.Errorf("%s: %q, %q, %q", tt.name, agents, skills, allowed.Tools)
		}
	}
}
