package task

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

// The bounds of a request.
const (
	// MaxDescription is how long a description may be, in bytes.
	MaxDescription = 256 << 10
	// MaxSystem is how long a system prompt may be, in bytes.
	MaxSystem = 64 << 10
	// MaxNames is how many tools, agents and skills each may be named.
	MaxNames = gateway.MaxNames
	// MaxName is how long the name of one may be, in bytes.
	MaxName = gateway.MaxName
	// MaxTimeout is the longest that a task may run.
	MaxTimeout = 24 * time.Hour
	// MaxTurns bounds Request.Turns.
	MaxTurns = 10_000
)

// What holds where a request says nothing, as far as the caller's profile goes.
const (
	DefaultTimeout = 5 * time.Minute
	// DefaultCost is in millionths of a US dollar.
	DefaultCost = 1_000_000
	// maxCost keeps sums of money within bounds: a million US dollars.
	maxCost = 1_000_000_000_000
)

// What becomes of a tool that wasn't allowed beforehand.
const (
	ApprovalDeny = "deny"
	ApprovalAsk  = "ask"
)

// paramTools is the request's member that Tools are.
const paramTools = "allow_tools"

// auto is the model that the service chooses.
const auto = "auto"

// Request is what a task is asked for. It is kept in its job.
type Request struct {
	Description string `json:"description"`
	// Tools, Agents and Skills are those that may be used; nil: all that the caller's
	// profile allows.
	Tools  []string `json:"allow_tools,omitzero"`
	Agents []string `json:"allow_agents,omitzero"`
	Skills []string `json:"allow_skills,omitzero"`
	// Timeout is how long the task may run; 0 is DefaultTimeout.
	Timeout time.Duration `json:"-"` // see kept
	// Cost is the most that it may cost, in millionths of a US dollar; 0 is DefaultCost.
	Cost      int64  `json:"max_cost"`
	Directory string `json:"working_directory,omitzero"` // "": a folder of its own
	Model     string `json:"model"`                      // "": the automatic choice
	Turns     int64  `json:"max_turns,omitzero"`         // 0: no limit
	System    string `json:"system,omitzero"`
	Approval  string `json:"approval"` // ApprovalAsk or ApprovalDeny; "": that
	Priority  int64  `json:"priority,omitzero"`
	// RequestID is of the request that brought the task.
	RequestID string `json:"request_id"`
	// Trace is the span of that request, where the task is queued.
	Trace trace.Kept `json:"trace,omitzero"`
}

// Check refuses what isn't valid, and what the caller's profile doesn't allow, and
// fills in what the request doesn't say. An error is an apierror.Error.
func (r *Request) Check(g *gateway.Gateway, caller *gateway.Caller) error {
	if err := r.valid(); err != nil {
		return err
	}
	p := &caller.Permissions
	switch {
	case r.Cost == 0:
		r.Cost = DefaultCost
		if p.MaxCostMicroUSD > 0 {
			r.Cost = min(r.Cost, p.MaxCostMicroUSD)
		}
	case p.MaxCostMicroUSD > 0 && r.Cost > p.MaxCostMicroUSD:
		return forbidden("max_cost", "the key's profile allows at most %g USD a task", float64(p.MaxCostMicroUSD)/1e6)
	}
	switch {
	case r.Timeout == 0:
		r.Timeout = DefaultTimeout
		if p.MaxTimeout > 0 {
			r.Timeout = min(r.Timeout, p.MaxTimeout)
		}
	case p.MaxTimeout > 0 && r.Timeout > p.MaxTimeout:
		return forbidden("timeout", "the key's profile allows at most %g seconds", p.MaxTimeout.Seconds())
	}
	for _, list := range []struct {
		param  string
		names  []string
		allows func(name string) bool
	}{
		{paramTools, r.Tools, p.Tool},
		{"allow_agents", r.Agents, among(p.AllowedAgents)},
		{"allow_skills", r.Skills, among(p.AllowedSkills)},
	} {
		for _, name := range list.names {
			if name != gateway.All && !list.allows(name) {
				return forbidden(list.param, "the key's profile doesn't allow %q", name)
			}
		}
	}
	if r.Directory != "" {
		target, err := g.Directory(caller, r.Directory)
		if err != nil {
			return err
		}
		r.Directory = target
	}
	return nil
}

// still refuses a task that was taken before and isn't allowed any more, or not there.
func (r *Request) still(g *gateway.Gateway, caller *gateway.Caller) error {
	now := *r
	if err := now.Check(g, caller); err != nil {
		return err
	}
	if now.Directory != r.Directory {
		return forbidden("working_directory", "leads elsewhere now")
	}
	return nil
}

func (r *Request) valid() error {
	if r.Approval == "" {
		r.Approval = ApprovalDeny
	}
	if r.Priority == 0 {
		r.Priority = job.PriorityDefault
	}
	if r.Model == "" {
		r.Model = auto
	}
	switch {
	case strings.TrimSpace(r.Description) == "":
		return apierror.Invalid("description", "description: must not be empty")
	case len(r.Description) > MaxDescription:
		return apierror.Invalid("description", "description: must be at most %d bytes long", MaxDescription)
	case len(r.System) > MaxSystem:
		return apierror.Invalid("system", "system: must be at most %d bytes long", MaxSystem)
	case r.Timeout < 0 || r.Timeout > MaxTimeout:
		return apierror.Invalid("timeout", "timeout: must be more than 0 and at most %g seconds", MaxTimeout.Seconds())
	case r.Cost < 0 || r.Cost > maxCost:
		return apierror.Invalid("max_cost", "max_cost: must be more than 0 and at most %d US dollars", maxCost/1_000_000)
	case r.Turns < 0 || r.Turns > MaxTurns:
		return apierror.Invalid("max_turns", "max_turns: must be at least 1 and at most %d", MaxTurns)
	case r.Approval != ApprovalAsk && r.Approval != ApprovalDeny:
		return apierror.Invalid("approval", "approval: must be %s or %s", ApprovalDeny, ApprovalAsk)
	case r.Priority < job.PriorityFirst || r.Priority > job.PriorityLast:
		return apierror.Invalid("priority", "priority: must be from %d, which is first, to %d", job.PriorityFirst, job.PriorityLast)
	}
	for param, names := range map[string][]string{paramTools: r.Tools, "allow_agents": r.Agents, "allow_skills": r.Skills} {
		if len(names) > MaxNames {
			return apierror.Invalid(param, "%s: at most %d names are allowed", param, MaxNames)
		}
		if slices.ContainsFunc(names, func(name string) bool { return name == "" || len(name) > MaxName }) {
			return apierror.Invalid(param, "%s: a name must not be empty, and be at most %d bytes long", param, MaxName)
		}
	}
	return nil
}

func among(allowed []string) func(name string) bool {
	return func(name string) bool { return slices.Contains(allowed, name) || slices.Contains(allowed, gateway.All) }
}

func forbidden(param, format string, args ...any) error {
	return &apierror.Error{Category: apierror.Permission, Param: param, Message: param + ": " + fmt.Sprintf(format, args...)}
}

// message is the request as the router reads it, which chooses by its text.
func (r *Request) message() (*message.Request, error) {
	type turn struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	body, err := json.Marshal(struct {
		Model     string `json:"model"`
		MaxTokens int    `json:"max_tokens"`
		Messages  []turn `json:"messages"`
	}{r.Model, 1, []turn{{message.RoleUser, r.Description}}})
	if err != nil {
		return nil, apierror.Wrap(apierror.BadRequest, "description: must be valid text", err)
	}
	return message.ParseRequest(body)
}

// kept is a Request as its job keeps it.
type kept struct {
	*Request
	Timeout int64 `json:"timeout"` // nanoseconds
}

func (r *Request) keep() jsontext.Value { return encode(&kept{r, int64(r.Timeout)}) }

func readKept(value jsontext.Value) (*Request, error) {
	k := kept{Request: &Request{}}
	if err := json.Unmarshal(value, &k); err != nil {
		return nil, fmt.Errorf("read the task: %w", err)
	}
	k.Request.Timeout = time.Duration(k.Timeout)
	return k.Request, nil
}

// listed gives the names that an agent may use: all where nothing was said.
func listed(names []string) []string {
	if names == nil {
		return []string{gateway.All}
	}
	return names
}
