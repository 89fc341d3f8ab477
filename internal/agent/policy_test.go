package agent

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
)

var everything = gateway.Permissions{AllowedTools: []string{gateway.All}, AllowedAgents: []string{gateway.All}, AllowedSkills: []string{gateway.All}}

func policyOf(t *testing.T, permissions gateway.Permissions, spec Spec) (*policy, string) {
	t.Helper()
	folder, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	spec.Caller = &gateway.Caller{KeyID: "key_1", Permissions: permissions}
	return newPolicy(&spec, reach{home: filepath.Join(folder, "home"), write: []string{filepath.Join(folder, "work")}}), filepath.Join(folder, "work")
}

func TestPolicyJudges(t *testing.T) {
	read := gateway.Permissions{AllowedTools: []string{"Read", "Glob", "Grep"}}
	git := gateway.Permissions{AllowedTools: []string{"Read", "Bash(git log:*)"}}
	blocked := gateway.Permissions{AllowedTools: []string{gateway.All}, BlockedTools: []string{"Bash", "mcp__mail"}, AllowedAgents: []string{"reviewer"}, AllowedSkills: []string{"pdf"}}
	all := Spec{Tools: []string{gateway.All}, Agents: []string{gateway.All}, Skills: []string{gateway.All}}
	asking := Spec{Tools: []string{"Read"}, Ask: true}
	for _, c := range []struct {
		name        string
		permissions gateway.Permissions
		spec        Spec
		tool, input string
		want        verdict
	}{
		{"a tool of the profile", read, all, "Read", `{"file_path":"a"}`, allow},
		{"none of the profile", read, all, "Write", `{"file_path":"a"}`, deny},
		{"wanted but not in the profile", read, Spec{Tools: []string{"Write"}}, "Write", `{"file_path":"a"}`, deny},
		{"in the profile but not wanted", everything, Spec{Tools: []string{"Read"}}, "Write", `{"file_path":"a"}`, deny},
		{"to be asked for", everything, asking, "Write", `{"file_path":"a"}`, ask},
		{"asking doesn't widen the profile", read, asking, "Write", `{"file_path":"a"}`, deny},
		{"asking doesn't widen the reach", everything, asking, "Write", `{"file_path":"/etc/passwd"}`, deny},
		{"blocked", blocked, all, "Bash", `{"command":"ls"}`, deny},
		{"a tool that isn't known", blocked, all, "Nameless", `{}`, deny},
		{"a tool that isn't known, by its name", blocked, Spec{Tools: []string{"Monitor"}}, "Monitor", `{"command":"ls"}`, deny},
		{"a tool that isn't known, asked for", blocked, asking, "Workflow", `{}`, deny},
		{"a tool that isn't known, but in the profile", gateway.Permissions{AllowedTools: []string{"Monitor"}}, all, "Monitor", `{"command":"ls"}`, allow},
		{"a rule of a tool that isn't known", gateway.Permissions{AllowedTools: []string{"Monitor(ls:*)"}}, all, "Monitor", `{"command":"rm x"}`, ask},
		{"a rule of a server's tool", gateway.Permissions{AllowedTools: []string{"mcp__files__list(a)"}}, all, "mcp__files__list", `{"path":"b"}`, ask},
		{"a blocked server", blocked, all, "mcp__mail__send", `{}`, deny},
		{"another server", blocked, all, "mcp__files__list", `{}`, allow},
		{"a server that isn't wanted", everything, Spec{Tools: []string{"mcp__files"}}, "mcp__mail__send", `{}`, deny},
		{"a server's tool by its server", everything, Spec{Tools: []string{"mcp__files"}}, "mcp__files__list", `{}`, allow},
		{"a server of a like name", everything, Spec{Tools: []string{"mcp__files"}}, "mcp__files2__list", `{}`, deny},
		{"a rule holds it", git, all, "Bash", `{"command":"git log --oneline"}`, allow},
		{"no rule holds it", git, all, "Bash", `{"command":"ls"}`, ask},
		{"a rule holds half of it", git, all, "Bash", `{"command":"git log && cat x"}`, ask},
		{"an agent of the profile", blocked, all, "Task", `{"subagent_type":"reviewer"}`, allow},
		{"another agent", blocked, all, "Agent", `{"subagent_type":"other"}`, deny},
		{"the agent of no name", blocked, all, "Task", `{"prompt":"x"}`, deny},
		{"any agent", everything, all, "Task", `{"prompt":"x"}`, allow},
		{"no agents", everything, Spec{Tools: []string{gateway.All}}, "Task", `{"subagent_type":"reviewer"}`, deny},
		{"a skill of the profile", blocked, all, "Skill", `{"skill":"pdf"}`, allow},
		{"a skill by its older name", blocked, all, "Skill", `{"command":"pdf"}`, allow},
		{"another skill", blocked, all, "Skill", `{"skill":"other"}`, deny},
		{"no skill at all", everything, all, "Skill", `{}`, deny},
		{"an input that isn't one", everything, all, "Read", `[]`, deny},
	} {
		p, folder := policyOf(t, c.permissions, c.spec)
		if got, reason := p.judge(use{c.tool, jsontext.Value(c.input), folder}); got != c.want || (got == deny) != (reason != "") {
			t.Errorf("%s: %s %s = %v %q, not %v", c.name, c.tool, c.input, got, reason, c.want)
		}
	}
}

func TestPolicyPermits(t *testing.T) {
	git := gateway.Permissions{AllowedTools: []string{"Read", "Bash(git log:*)"}}
	for _, c := range []struct {
		name             string
		permissions      gateway.Permissions
		spec             Spec
		tool, input      string
		permitted, asked bool
	}{
		{"a bare tool, whatever the CLI thinks of it", everything, Spec{Tools: []string{"Bash"}}, "Bash", `{"command":"rm -rf ."}`, true, false},
		{"what no rule holds", git, Spec{Tools: []string{gateway.All}}, "Bash", `{"command":"ls"}`, false, false},
		{"asking where only a rule is in the profile", git, Spec{Tools: []string{gateway.All}, Ask: true}, "Bash", `{"command":"ls"}`, false, false},
		{"asking", everything, Spec{Tools: []string{"Bash(git log:*)"}, Ask: true}, "Bash", `{"command":"ls"}`, false, true},
		{"outside", everything, Spec{Ask: true}, "Read", `{"file_path":"/etc/passwd"}`, false, false},
	} {
		p, folder := policyOf(t, c.permissions, c.spec)
		if permitted, asked := p.permitted(use{c.tool, jsontext.Value(c.input), folder}); permitted != c.permitted || asked != c.asked {
			t.Errorf("%s: %v, %v", c.name, permitted, asked)
		}
	}
}

func TestOfferedTools(t *testing.T) {
	p, _ := policyOf(t, everything, Spec{Tools: []string{"Read", "Bash(git log:*)", "Skill", "Task", "mcp__files"}})
	if got := p.offered(); !slices.Equal(got, []string{"Read", "Bash"}) {
		t.Errorf("without agents and skills: %v", got)
	}
	if !p.servers() {
		t.Error("its server is left out")
	}
	p, _ = policyOf(t, gateway.Permissions{AllowedTools: []string{"Read", "Write", "Bash(git log:*)"}, BlockedTools: []string{"Write"}}, Spec{Tools: []string{"Read"}, Ask: true})
	if got := p.offered(); !slices.Equal(got, []string{"Read"}) || p.servers() {
		t.Errorf("asking for what the profile doesn't hold bare: %v", got)
	}
}

func TestCommandsThatARuleCovers(t *testing.T) {
	for line, want := range map[string]bool{
		"git log": true, "git log -p": true, "git log; git log -p | git log": true, `git log --grep "a;b"`: true, "git log --grep 'a$b'": true,
		"git logs": false, "git log; ls": false, "ls; git log": false, "git log | sh": false, "git log > x": false, "git log $(ls)": false, "git log `ls`": false,
		`git log "$(ls)"`: false, "git log\nls": false, "git log & ls": false, "(git log)": false, "git log 'x": false, `git log \; ls`: false, "": false, "X=1 git log": false,
	} {
		if got := coversCommand("git log:*", line); got != want {
			t.Errorf("%q: %v", line, got)
		}
	}
	if !coversCommand("make test", "make test") || coversCommand("make test", "make test X=1") || !coversCommand("*", "ls -l") || !coversCommand("npm run *", "npm run x") {
		t.Error("rules without a prefix")
	}
}

func TestPathsThatARuleCovers(t *testing.T) {
	for _, c := range []struct {
		rule, name string
		want       bool
	}{
		{"docs/**", "docs/a/b.md", true}, {"docs/**", "/w/docs/a", true}, {"docs/**", "src/a", false}, {"docs/**", "docs/../src/a", false}, {"docs/*", "docs/a/b", false},
		{"/docs/*.md", "docs/a.md", true}, {"//srv/**", "/srv/x", true}, {"//srv/**", "srv/x", false}, {"**", "a/b", true}, {"docs", "", false}, {"[", "a", false},
	} {
		if got := coversPath(c.rule, "/w", c.name); got != c.want {
			t.Errorf("%s %s: %v", c.rule, c.name, got)
		}
	}
}

// TestReach tries to leave a run's directory by each file tool's paths.
func TestReach(t *testing.T) {
	p, folder := policyOf(t, everything, Spec{Tools: []string{gateway.All}})
	top := filepath.Dir(folder)
	link := func(target, name string) error { return os.Symlink(target, filepath.Join(folder, name)) }
	err := errors.Join(
		os.MkdirAll(filepath.Join(folder, "inner"), 0o700), os.MkdirAll(filepath.Join(top, "skill"), 0o700),
		os.WriteFile(filepath.Join(top, "secret"), nil, 0o600), os.WriteFile(filepath.Join(folder, "file"), nil, 0o600),
		link("..", "up"), link(filepath.Join(top, "secret"), "away"), link("inner", "beside"), link(filepath.Join(top, "nothing"), "dangling"), link("loop", "loop"),
	)
	if err != nil {
		t.Fatal(err)
	}
	p.reach.read = []string{filepath.Join(top, "skill")}
	for _, c := range []struct {
		tool, field, value string
		want               bool
	}{
		{"Read", "file_path", "file", true}, {"Read", "file_path", folder + "/file", true}, {"Read", "file_path", "beside/x", true},
		{"Write", "file_path", "new/deep/file", true}, {"Grep", "path", folder, true}, {"Glob", "pattern", "**/*.go", true}, {"Glob", "pattern", folder + "/**", true},
		{"Read", "file_path", top + "/skill/x", true}, {"Write", "file_path", top + "/skill/x", false},
		{"Read", "file_path", "/etc/passwd", false}, {"Read", "file_path", "../secret", false}, {"Read", "file_path", "inner/../../secret", false},
		{"Read", "file_path", "away", false}, {"Read", "file_path", "up/secret", false}, {"Write", "file_path", "up/new", false}, {"Write", "file_path", "dangling", false},
		{"Write", "file_path", "loop", false}, {"Read", "file_path", "~/x", false}, {"Read", "file_path", "~", false}, {"Read", "file_path", " /etc/passwd", false}, {"Read", "file_path", "file\x00", false},
		{"NotebookEdit", "notebook_path", "../x.ipynb", false}, {"LSP", "filePath", "/etc/passwd", false},
		{"Grep", "path", "/etc", false}, {"Grep", "path", "up", false}, {"Glob", "path", "..", false}, {"Grep", "glob", "../*", false},
		{"Glob", "pattern", "../*", false}, {"Glob", "pattern", "/etc/*", false}, {"Glob", "pattern", "up/*", false}, {"Glob", "pattern", "*/../../*", false}, {"Glob", "pattern", "{a,../../*}", false}, {"Glob", "pattern", "~/*", false},
		{"Read", "file_path", folder + "2/x", false},
	} {
		input, err := jsontext.AppendQuote([]byte(`{"`+c.field+`":`), c.value)
		if err != nil {
			t.Fatal(err)
		}
		input = append(input, '}')
		if reason := p.refuses(use{c.tool, input, folder}); (reason == "") != c.want {
			t.Errorf("%s %s=%q: %q", c.tool, c.field, c.value, reason)
		}
	}
}

// TestWhatDecidesWhatRuns can't be written by a run that has no shell.
func TestWhatDecidesWhatRuns(t *testing.T) {
	p, folder := policyOf(t, everything, Spec{Tools: []string{"Read", "Write"}})
	shell, _ := policyOf(t, everything, Spec{Tools: []string{gateway.All}})
	shell.reach = p.reach
	for _, name := range []string{".claude/settings.json", "a/.claude/hooks/x", ".git/hooks/post-commit", ".mcp.json", ".CLAUDE/settings.json"} {
		input := jsontext.Value(`{"file_path":"` + name + `"}`)
		if reason := p.refuses(use{"Write", input, folder}); reason != guarded {
			t.Errorf("write %s: %q", name, reason)
		}
		if reason := p.refuses(use{"Read", input, folder}); reason != "" {
			t.Errorf("read %s: %q", name, reason)
		}
		if reason := shell.refuses(use{"Write", input, folder}); reason != "" {
			t.Errorf("with a shell: write %s: %q", name, reason)
		}
	}
}
