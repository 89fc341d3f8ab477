package claudecli

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/confine"
	"claude-code-api-service/internal/trace"
)

// Agentic says for what a process with tools of its own is started. Nothing in it
// may come from the text of a request: it is in the process's arguments.
type Agentic struct {
	// Tools are the names of the CLI's own tools that the model is offered; none but
	// those of MCPConfig if there are none.
	Tools []string
	// Allow and Deny are rules, as the CLI writes them (Bash(git log:*), Agent(name),
	// Skill(name), mcp__server__tool): what may be used without asking, and what may
	// not be used at all.
	Allow, Deny []string
	// Directory is where the process works, Home its HOME and TempDir its TMPDIR, all
	// absolute. They are the caller's and stay when the process ends.
	Directory, Home, TempDir string
	// Session is the UUID that the conversation gets or, with Resume, has. With Fork
	// the resumed one goes on under an id of its own, which the AgentInit event says.
	Session      string
	Resume, Fork bool
	// NoProject leaves out what the directory has for the CLI: settings, whose hooks
	// are commands, and its CLAUDE.md, agents, skills and commands with them.
	NoProject bool
	// MCPConfig is the path of a file with MCP servers, "" for none.
	MCPConfig string
	// Read, Write and Run are what the process may use beside its folders and what
	// every program needs: see confine.Rules. All of the machine's programs may be run
	// when Tools hold Bash.
	Read, Write, Run []string
	// Held are those of all these paths that hold no links: see confine.Rules.
	Held []string
}

// AgentSettings are what one run needs of an Agent.
type AgentSettings struct {
	Model string
	// System is added to the CLI's own system prompt. The first Bind fixes it.
	System string
}

// Agent is one process of the CLI that works with tools of its own. One goroutine
// at a time owns it; only Kill, Exited, Ending, PID and ResidentBytes may be called
// beside the owner.
type Agent struct {
	child
	agentic Agentic
	id      string     // in the environment of all that it starts
	writing sync.Mutex // of stdin, during a turn

	bound      AgentSettings
	configured bool // the first Bind was
	trace      trace.Environment
}

// StartAgent starts a process. It doesn't wait until that is ready: see Ready. Of
// the options Root and Home aren't used. The error is an apierror.Error of category
// CLIError.
func StartAgent(options Options, agentic Agentic) (*Agent, error) {
	options.setDefaults()
	a := &Agent{child: newChild(options), agentic: agentic, id: NewUUID()}
	a.own, a.ended = a.refuseAsked, func() {}
	err := options.check()
	if err == nil {
		err = agentic.check()
	}
	if err == nil {
		err = a.start(command{
			arguments:   agentic.arguments(&options),
			environment: agentic.environment(&options, a.id),
			directory:   agentic.Directory,
			rules:       func(program string) (confine.Rules, error) { return agentic.rules(&options, program) },
		})
	}
	if err != nil {
		return nil, apierror.Wrap(apierror.CLIError, "the Claude Code CLI can't be started", err)
	}
	return a, nil
}

// Ready waits until a started process answers. It knows nothing of a run then, and
// may be parked until there is one.
func (a *Agent) Ready(ctx context.Context) error {
	answers, err := a.ask(ctx, a.options.StartTimeout, control{Subtype: askVersion})
	if err != nil {
		a.broken = err
		return asCLIError("the Claude Code CLI didn't start", err)
	}
	var version struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(answers[0].Response, &version); err == nil {
		a.version = version.Version
	}
	a.bound.Model = a.options.Model
	return nil
}

// Bind gives the process what a run needs. It may be called before each turn; the
// system prompt of the first call stays.
func (a *Agent) Bind(ctx context.Context, s AgentSettings) error {
	var requests []control
	if !a.configured {
		requests = append(requests, control{Subtype: "initialize", AppendSystemPrompt: s.System, Hooks: everyToolUse})
		requests = append(requests, control{Subtype: "apply_flag_settings", Settings: a.pinned()})
		// Without a number it only has the model show what it thinks.
		requests = append(requests, control{Subtype: "set_max_thinking_tokens", ThinkingDisplay: "summarized"})
	} else if s.System != a.bound.System {
		return asCLIError("the Claude Code CLI refused the run's settings", errSystemFixed)
	}
	if s.Model != a.bound.Model {
		// By set_model the CLI would first ask the upstream whether there is such a model.
		requests = append(requests, control{Subtype: "apply_flag_settings", Settings: &settings{Model: s.Model}})
	}
	if len(requests) > 0 {
		if _, err := a.ask(ctx, a.options.StartTimeout, requests...); err != nil {
			a.broken = err
			return asCLIError("the Claude Code CLI refused the run's settings", err)
		}
	}
	a.configured, a.bound = true, s
	return nil
}

// Trace gives the programs that the process starts from now on TRACEPARENT and TRACESTATE.
// It asks the process only for what has changed, 4 to 9 ms (2.1.197 and 2.1.331); what it
// has started, its MCP servers, keeps what it has. The CLI itself sends them nowhere
// unless it makes spans of its own.
func (a *Agent) Trace(ctx context.Context, e trace.Environment) error {
	if e == a.trace {
		return nil
	}
	env := map[string]string{"TRACEPARENT": e.Parent, "TRACESTATE": e.State}
	if _, err := a.ask(ctx, a.options.ControlTimeout, control{Subtype: "apply_flag_settings", Settings: &settings{Env: env}}); err != nil {
		a.broken = err
		return asCLIError("the Claude Code CLI refused the run's settings", err)
	}
	a.trace = e
	return nil
}

// Session is the conversation's id: the one it was started with, or that of the
// last init line.
func (a *Agent) Session() string {
	if a.sessionID != "" {
		return a.sessionID
	}
	return a.agentic.Session
}

// endTimeout bounds the wait for a process that is to end by itself; it takes
// about 50 ms.
const endTimeout = 3 * time.Second

// End lets a process that rests end by itself, so that the file of its session is
// whole (2.1.197 writes it some time after the answer), and closes it then. Only the
// owner may call it, in place of Close.
func (a *Agent) End() {
	if a.broken == nil && !a.running {
		a.endBelow()        // while it holds them together
		_ = a.stdin.Close() // a process that doesn't see it is killed
		timeout := time.NewTimer(endTimeout)
		defer timeout.Stop()
		select {
		case <-a.exited:
		case <-timeout.C:
		}
	}
	a.Close()
}

// Kill ends the process and all that it has started, at once. It doesn't wait for its
// end; see Exited. It may be called at any time and more than once.
func (a *Agent) Kill() {
	a.endBelow()
	a.child.Kill()
}

func (a *Agent) endBelow() {
	select {
	case <-a.exited:
	default:
		endBelow(a.PID())
	}
}

// Close kills the process with all that it has started, also what has left its
// process group, waits until it was reaped and frees what it held. Only the owner
// may call it.
func (a *Agent) Close() {
	a.Kill()
	a.child.Close()
	if _, err := killBearing(agentVariable, []string{a.id}); err != nil {
		a.options.Logger.Warn("end what an agent's process has started", "error", err)
	}
}

// refuseAsked answers what the CLI asks while no turn runs, or one is being stopped.
func (a *Agent) refuseAsked(l *line) error {
	var r agentRequest
	if err := decode(l.Raw, &r); err != nil {
		return fmt.Errorf("decode control request: %w", err)
	}
	return a.send(refusal(r.RequestID))
}

// ToolCall is a tool that the model wants to use.
type ToolCall struct {
	ID    string
	Name  string
	Input jsontext.Value
	// Parent is the tool use by which the agent was started that wants to; "": the run
	// itself, or not said.
	Parent string
	// Agent is the type of that agent, "" for the run itself.
	Agent string
}

// Decision is what is said of a tool call.
type Decision int

// The decisions. The zero one denies.
const (
	Deny Decision = iota
	Allow
	Ask // by AgentHandler.Permit; from Permit it denies
)

// Verdict is a decision on a tool call.
type Verdict struct {
	Decision Decision
	// Input is what the tool is run with in place of the model's, from Permit; nil: as
	// it was.
	Input jsontext.Value
	// Reason is what the model is told of a refusal.
	Reason string
}
