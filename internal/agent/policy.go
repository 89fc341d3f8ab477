package agent

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
)

// The CLI's tools that the policy knows more of than their names.
const (
	toolBash   = "Bash"
	toolSkill  = "Skill"
	mcpPrefix  = "mcp__"
	anyAgent   = "general-purpose" // what a Task without subagent_type starts
	ruleBeyond = "("
)

// agentTools start a sub-agent: what older and newer versions call the tool.
var agentTools = []string{"Task", "Agent"}

// every are the CLI's tools that gateway.All stands for: those that do something
// without a person in front of it. What a later version adds is left out until it is
// here.
var every = []string{
	"Agent", "Task", "Bash", "BashOutput", "KillShell", "TaskOutput", "TaskStop", "Edit", "MultiEdit", "Write", "NotebookEdit",
	"Glob", "Grep", "LS", "Read", "Skill", "TodoWrite", "TaskCreate", "TaskGet", "TaskList", "TaskUpdate", "WebFetch", "WebSearch",
}

// together are tools without which another one is half a tool: whoever may use the
// one may use them.
var together = map[string][]string{
	"Bash": {"BashOutput", "KillShell", "TaskOutput", "TaskStop"},
	"Task": {"Agent"}, "Agent": {"Task"},
	"TodoWrite": {"TaskCreate", "TaskGet", "TaskList", "TaskUpdate"}, // what it became
}

// verdict is what becomes of a tool's use.
type verdict int

const (
	deny verdict = iota
	// ask has the CLI ask for it, whatever its rules say: see permitted.
	ask
	allow
)

// policy is what one run may do with tools. It is never changed, and may be used by
// many goroutines.
type policy struct {
	permissions gateway.Permissions
	// entries are the tools that may be used without asking, rules included. All isn't
	// among them: it was replaced by what it stands for.
	entries        []string
	all            bool     // whatever servers bring along may be used
	agents, skills []string // names, or All
	asks           bool
	reach          reach
}

// newPolicy narrows what a run wants to what its caller's profile allows.
func newPolicy(spec *Spec, r reach) *policy {
	p := &policy{permissions: spec.Caller.Permissions, asks: spec.Ask, reach: r}
	for _, entry := range spec.Tools {
		if entry != gateway.All {
			p.add(entry)
			continue
		}
		for _, allowed := range p.permissions.AllowedTools {
			if allowed != gateway.All {
				p.add(allowed)
				continue
			}
			p.all = true
			for _, tool := range every {
				p.add(tool)
			}
		}
	}
	p.agents = narrow(spec.Agents, p.permissions.AllowedAgents)
	p.skills = narrow(spec.Skills, p.permissions.AllowedSkills)
	return p
}

func (p *policy) add(entry string) {
	if !p.may(entry) || slices.Contains(p.entries, entry) {
		return
	}
	p.entries = append(p.entries, entry)
	for _, other := range together[entry] {
		if !slices.Contains(p.entries, other) && !slices.Contains(p.permissions.BlockedTools, other) {
			p.entries = append(p.entries, other)
		}
	}
}

// may says that the profile allows a tool. All of a profile stands for what is in every
// and for servers, also where a run names a tool: others run commands or start agents by
// ways of their own, and would be blocked under other names.
func (p *policy) may(entry string) bool {
	return known(&p.permissions, bare(entry)) && p.permissions.Tool(entry)
}

// narrow gives the names that are wanted and allowed.
func narrow(wanted, allowed []string) []string {
	switch {
	case slices.Contains(allowed, gateway.All):
		return wanted
	case slices.Contains(wanted, gateway.All):
		return allowed
	}
	var both []string
	for _, name := range wanted {
		if slices.Contains(allowed, name) {
			both = append(both, name)
		}
	}
	return both
}

func bare(entry string) string {
	name, _, _ := strings.Cut(entry, ruleBeyond)
	return name
}

// offered are the tools that the model is told of, without MCP servers': those that
// may be used, and those that may be asked for.
func (p *policy) offered() []string {
	var tools []string
	add := func(name string) {
		none := name == toolSkill && len(p.skills) == 0 || slices.Contains(agentTools, name) && len(p.agents) == 0
		if !none && !strings.HasPrefix(name, mcpPrefix) && !slices.Contains(tools, name) {
			tools = append(tools, name)
		}
	}
	for _, entry := range p.entries {
		add(bare(entry))
	}
	if p.asks {
		for _, entry := range p.permissions.AllowedTools {
			if entry == gateway.All {
				for _, tool := range every {
					if p.permissions.Tool(tool) {
						add(tool)
					}
				}
			} else if p.permissions.Tool(bare(entry)) {
				add(bare(entry))
			}
		}
	}
	return tools
}

// servers says whether any tool of an MCP server may be used or asked for.
func (p *policy) servers() bool {
	mcp := func(entry string) bool { return strings.HasPrefix(entry, mcpPrefix) }
	return p.all || slices.ContainsFunc(p.entries, mcp) ||
		p.asks && slices.ContainsFunc(p.permissions.AllowedTools, func(entry string) bool { return entry == gateway.All || mcp(entry) })
}

// blocked are the rules by which the CLI itself refuses.
func (p *policy) blocked() []string {
	return slices.DeleteFunc(slices.Clone(p.permissions.BlockedTools), func(entry string) bool { return entry == gateway.All })
}

// use is a tool's use as it is judged.
type use struct {
	tool  string
	input jsontext.Value
	// folder is where relative paths begin: the CLI's working directory, which its
	// shell may have changed.
	folder string
}

// judge says what becomes of a tool's use before the CLI's own rules are asked, and
// why it is denied: a text for the model. Every use comes here, those of sub-agents too.
func (p *policy) judge(u use) (verdict, string) {
	if reason := p.refuses(u); reason != "" {
		return deny, reason
	}
	switch {
	case p.free(u.tool), p.ruled(u):
		return allow, ""
	case p.asks && p.may(u.tool), slices.ContainsFunc(p.entries, func(entry string) bool { return bare(entry) == u.tool }):
		// The CLI would let some uses pass that no rule allows: what only reads.
		return ask, ""
	}
	return deny, fmt.Sprintf("%s isn't allowed in this task", u.tool)
}

// permitted decides on what the CLI asks for. Neither permitted nor asked means that
// it is denied.
func (p *policy) permitted(u use) (permitted, asked bool) {
	if v, _ := p.judge(u); v == deny {
		return false, false
	}
	// What a bare name allows is allowed whatever made the CLI ask.
	if p.free(u.tool) {
		return true, false
	}
	return false, p.asks && p.may(u.tool)
}

// refuses gives the reason for which a use is denied, even if a person would allow
// it; "": there is none.
func (p *policy) refuses(u use) string {
	// Rules that block are the CLI's to match: it refuses by them before it asks.
	if slices.ContainsFunc(p.permissions.BlockedTools, func(entry string) bool {
		return entry == gateway.All || entry == u.tool || strings.HasPrefix(u.tool, mcpPrefix) && strings.HasPrefix(u.tool, entry+"__")
	}) {
		return fmt.Sprintf("%s isn't allowed in this task", u.tool)
	}
	var input struct {
		Agent *string `json:"subagent_type"`
		Skill string  `json:"skill"`
		Name  string  `json:"command"` // what older versions call a skill's name
	}
	switch {
	case slices.Contains(agentTools, u.tool):
		if json.Unmarshal(u.input, &input) != nil {
			return "the input can't be read"
		}
		name := anyAgent
		if input.Agent != nil && *input.Agent != "" {
			name = *input.Agent
		}
		if !named(p.agents, name) {
			return fmt.Sprintf("the agent %q isn't allowed in this task", name)
		}
	case u.tool == toolSkill:
		if json.Unmarshal(u.input, &input) != nil {
			return "the input can't be read"
		}
		name := input.Skill
		if name == "" {
			name, _, _ = strings.Cut(strings.TrimSpace(input.Name), " ")
		}
		if name = strings.TrimPrefix(name, "/"); !named(p.skills, name) {
			return fmt.Sprintf("the skill %q isn't allowed in this task", name)
		}
	case u.tool == toolFetch:
		return refusesFetch(u, p.free(toolBash))
	case u.tool != toolBash && !strings.HasPrefix(u.tool, mcpPrefix):
		return p.reach.refuses(u, p.free(toolBash))
	}
	return ""
}

func named(list []string, name string) bool {
	return name != "" && (slices.Contains(list, name) || slices.Contains(list, gateway.All))
}

// free says that a tool may be used whatever for. A server's name stands for all of
// its tools.
func (p *policy) free(tool string) bool {
	if slices.Contains(p.entries, tool) {
		return true
	}
	return strings.HasPrefix(tool, mcpPrefix) &&
		(p.all || slices.ContainsFunc(p.entries, func(entry string) bool { return strings.HasPrefix(tool, entry+"__") }))
}

// ruled says that a rule of a tool holds a use of it, as this package reads rules.
func (p *policy) ruled(u use) bool {
	return slices.ContainsFunc(p.entries, func(entry string) bool { return covers(entry, u) })
}
