package claudecli

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"claude-code-api-service/internal/confine"
)

// arguments are those of an agentic process. Its settings files are those in its HOME
// and its directory, whatever the operator's own say.
func (a *Agentic) arguments(o *Options) []string {
	args := []string{
		"-p", "--input-format=stream-json", "--output-format=stream-json",
		"--verbose", "--include-partial-messages",
		"--setting-sources=" + a.sources(), "--strict-mcp-config",
		"--permission-mode=default", "--permission-prompt-tool=stdio", "--settings=" + noCommands,
		"--tools=" + strings.Join(a.Tools, ","),
	}
	add := func(name, value string) {
		if value != "" {
			args = append(args, name+"="+value)
		}
	}
	add("--allowedTools", strings.Join(a.Allow, ","))
	add("--disallowedTools", strings.Join(a.Deny, ","))
	add("--mcp-config", a.MCPConfig)
	add("--model", o.Model)
	if !a.Resume {
		add("--session-id", a.Session)
		return args
	}
	add("--resume", a.Session)
	if a.Fork {
		args = append(args, "--fork-session")
	}
	return args
}

// noCommands keeps the commands from running that files of HOME or the directory have
// for certain events or in their skills, which nobody is asked about. The hook of
// everyToolUse isn't one of them. These settings win over those of the files.
const noCommands = `{"disableAllHooks":true,"disableSkillShellExecution":true}`

// sources are the settings files that count, with what belongs to them.
func (a *Agentic) sources() string {
	if a.NoProject {
		return "user"
	}
	return "user,project"
}

// environment is built from nothing, as for every process of the CLI. A refusal by
// the limits of the run's own upstream is waited for as that says, a few times; that
// upstream says what isn't to be asked again.
func (a *Agentic) environment(o *Options, id string) []string {
	env := append(o.machine(a.Home, a.TempDir),
		"CLAUDE_CODE_MAX_RETRIES=5",
		// What runs on behind an answer would begin a turn that nobody asked for.
		"CLAUDE_CODE_DISABLE_BACKGROUND_TASKS=1",
		"CLAUDE_CODE_TMPDIR="+a.TempDir,
		// Skills are those that are in HOME and the directory, and memory is what is in
		// the conversation: not what another one of the same directory has noted.
		"CLAUDE_CODE_DISABLE_BUNDLED_SKILLS=1",
		"CLAUDE_CODE_DISABLE_AUTO_MEMORY=1",
		// Tools are in the body from the start, not behind a search for them.
		"ENABLE_TOOL_SEARCH=false",
		// A folder whose files make it look like a repository of git's isn't one: its
		// configuration would name programs to run (git 2.38).
		"GIT_CONFIG_COUNT=1", "GIT_CONFIG_KEY_0=safe.bareRepository", "GIT_CONFIG_VALUE_0=explicit",
		agentVariable+"="+id,
	)
	return append(env, o.upstreamVariables()...)
}

// runsPrograms says whether a tool runs the machine's programs.
func (a *Agentic) runsPrograms() bool { return slices.Contains(a.Tools, "Bash") }

// rules are what an agentic process may do: run itself, read what that needs, do
// everything in its folders. It starts other programs only where a tool does, or as
// Run says.
func (a *Agentic) rules(o *Options, program string) (confine.Rules, error) {
	rules, err := confine.Program(program)
	if err != nil {
		return confine.Rules{}, err
	}
	rules.Add(confine.Machine())
	rules.Add(confine.Rules{
		Read: append([]string{policies}, a.Read...), Run: a.Run,
		Write: append([]string{a.Directory, a.Home, a.TempDir}, a.Write...), Held: a.Held,
	})
	if a.runsPrograms() {
		rules.Add(confine.Programs())
		rules.Run = append(rules.Run, a.Directory)
	}
	for _, pair := range o.Env {
		if name, value, _ := strings.Cut(pair, "="); filepath.IsAbs(value) && namesFile(name) {
			rules.Read = append(rules.Read, value)
		}
	}
	return rules, nil
}

// check refuses what would mean something else as an argument.
func (a *Agentic) check() error {
	for name, path := range map[string]string{"directory": a.Directory, "home": a.Home, "temporary folder": a.TempDir} {
		if !filepath.IsAbs(path) {
			return fmt.Errorf("the %s isn't an absolute path", name)
		}
	}
	if a.Resume && a.Session == "" {
		return fmt.Errorf("a session to resume isn't named")
	}
	for _, text := range slices.Concat(a.Tools, a.Allow, a.Deny, []string{a.Directory, a.Home, a.TempDir, a.Session, a.MCPConfig}) {
		if strings.ContainsAny(text, "\x00") {
			return fmt.Errorf("an argument holds a NUL")
		}
	}
	return nil
}
