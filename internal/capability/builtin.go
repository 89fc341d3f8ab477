package capability

import (
	"slices"
	"strings"

	"claude-code-api-service/internal/gateway"
)

// builtInAgents are those of both tested versions of the CLI, but statusline-setup,
// which changes a person's settings.
func builtInAgents() []Agent {
	return []Agent{
		{Name: "claude", Origin: BuiltIn, Description: "Any task that no other agent is for."},
		{Name: "Explore", Origin: BuiltIn, Description: "Searches many files without changing any, and gives the conclusion."},
		{Name: "general-purpose", Origin: BuiltIn, Description: "Researches questions, searches code and works on tasks of several steps."},
		{Name: "Plan", Origin: BuiltIn, Description: "Plans an implementation: its steps, the files that matter, what speaks for and against it."},
	}
}

// builtInSkills are those of both tested versions of the CLI that don't change a
// person's settings or wait for a person.
func builtInSkills() []Skill {
	return []Skill{
		{Name: "claude-api", Origin: BuiltIn, Description: "What to know of the Claude API and its SDKs."},
		{Name: "code-review", Origin: BuiltIn, Description: "Reviews the present changes."},
		{Name: "init", Origin: BuiltIn, Description: "Writes a CLAUDE.md for a code base."},
		{Name: "run", Origin: BuiltIn, Description: "Starts the project's program to see a change at work."},
		{Name: "security-review", Origin: BuiltIn, Description: "Reviews the present changes for holes."},
		{Name: "simplify", Origin: BuiltIn, Description: "Simplifies what was changed."},
	}
}

// builtInTools are the CLI's tools in both tested versions that work without a person.
func builtInTools() []string {
	return []string{"Bash", "Edit", "Glob", "Grep", "NotebookEdit", "Read", "Skill", "Task", "WebFetch", "WebSearch", "Write"}
}

// mcpTool begins the names of tools of MCP servers.
const mcpTool = "mcp__"

// tools gives the tools that are permitted, by name.
func tools(p gateway.Permissions) []string {
	permitted := slices.DeleteFunc(builtInTools(), func(name string) bool { return !p.Tool(name) })
	for _, entry := range p.AllowedTools {
		bare, _, ruled := strings.Cut(entry, "(")
		if (strings.HasPrefix(entry, mcpTool) || ruled && slices.Contains(builtInTools(), bare)) && p.Tool(entry) {
			permitted = append(permitted, entry)
		}
	}
	slices.Sort(permitted)
	return slices.Compact(permitted)
}
