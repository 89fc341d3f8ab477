package claudecli

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

const (
	envDisableThinking = "CLAUDE_CODE_DISABLE_THINKING"
	envMaxOutputTokens = "CLAUDE_CODE_MAX_OUTPUT_TOKENS"
	envExtraBody       = "CLAUDE_CODE_EXTRA_BODY"
	envEffort          = "CLAUDE_CODE_EFFORT_LEVEL"
	envHeaders         = "ANTHROPIC_CUSTOM_HEADERS"
)

// Settings are what one request needs of a process.
type Settings struct {
	System         string // "" for none
	Model          string
	ThinkingTokens int64 // 0: thinking off
	MaxTokens      int64 // 0: the CLI's own
	// Bounded says that MaxTokens is all that was reserved for the answer. The CLI
	// makes one call of its upstream for it, where Features.OneCall says so, and is
	// stopped early where MaxTokens can't be set; see spending.go.
	Bounded bool
	// Tools are those of the client; CheckTools must have passed them. They need
	// Features.ClientTools.
	Tools []message.Tool
	// ToolChoice is as in the Messages API; nil leaves it to the model. It is of no
	// consequence without Tools.
	ToolChoice jsontext.Value
	// Effort and Format are the members of output_config; "" and nil leave them to
	// the CLI. They need Features.ExtraBody.
	Effort string
	Format jsontext.Value
	// Trace is the span that the upstream is told of; the zero one is none. Setting it
	// takes the CLI 4 to 6 ms (2.1.197 and 2.1.331). It needs Features.LiveSettings, and is
	// left out without.
	Trace trace.Environment
}

// errNotSettable means that the caller should have looked at Features.
var errNotSettable = errors.New("this CLI can't take tools or output settings")

// errSystemFixed means that the caller should have taken another process.
var errSystemFixed = errors.New("the system prompt of this process can't be changed to that")

// Ready waits until a started process answers and warms it. It may be called
// once, before anything else.
func (p *Process) Ready(ctx context.Context) error {
	err := p.prepare(ctx)
	if err != nil && p.broken == nil {
		p.broken = err
	}
	return asCLIError("the Claude Code CLI didn't start", err)
}

func (p *Process) prepare(ctx context.Context) error {
	answers, err := p.ask(ctx, p.options.StartTimeout, control{Subtype: askVersion})
	if err != nil {
		return err
	}
	var version struct {
		Version string `json:"version"`
	}
	if err := json.Unmarshal(answers[0].Response, &version); err == nil {
		p.version = version.Version
	}
	p.bound.Model = p.options.Model
	if !p.options.Features.ChangeSystem {
		// initialize fixes the system prompt: it waits for the first request.
		return nil
	}
	if err := p.initialize(ctx, ""); err != nil {
		return err
	}
	// A prompt that asks nothing, taken back at once, takes 20 ms off the first
	// turn (63 to 41 ms, 2.1.331).
	if err := p.addUser(ctx, jsontext.Value(`"warm"`)); err != nil {
		return err
	}
	return p.Empty(ctx)
}

// asCLIError gives an error that isn't the caller's own a category.
func asCLIError(text string, err error) error {
	if err == nil {
		return nil
	}
	var e *apierror.Error
	if errors.As(err, &e) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return apierror.Wrap(apierror.CLIError, text, err)
}

func (p *Process) initialize(ctx context.Context, system string) error {
	prompt := []string{}
	if system != "" {
		prompt = append(prompt, system)
	}
	// The answer lists the CLI's commands and models; nothing of it is needed.
	if _, err := p.ask(ctx, p.options.ControlTimeout, control{Subtype: "initialize", SystemPrompt: prompt}); err != nil {
		return err
	}
	p.initialized, p.bound.System = true, system
	return nil
}

// Bind gives the process what the request needs, and sends only what differs
// from the last request: nothing in the usual case.
func (p *Process) Bind(ctx context.Context, s Settings) error {
	err := p.bindSystem(ctx, s.System)
	var tools []control
	if err == nil {
		tools, err = p.offer(ctx, s)
	}
	if err == nil {
		err = p.bindModel(ctx, s, tools)
	}
	if err != nil {
		// What of it the CLI took isn't known: it must not serve another request.
		p.broken = err
		return asCLIError("the Claude Code CLI refused the request's settings", err)
	}
	p.bound = s
	return nil
}

func (p *Process) bindSystem(ctx context.Context, system string) error {
	if !p.initialized {
		return p.initialize(ctx, system)
	}
	if system == p.bound.System {
		return nil
	}
	if system == "" || !p.options.Features.ChangeSystem {
		return errSystemFixed
	}
	// With a full model id set_model would first ask the upstream whether the
	// model exists; without one it chooses the CLI's default, and bindModel
	// sets the real one.
	p.bound.Model = ""
	_, err := p.ask(ctx, p.options.ControlTimeout, control{Subtype: "set_model", NewSystemPrompt: system})
	return err
}

// bindModel sends the requests that it gets, and those for what has changed.
func (p *Process) bindModel(ctx context.Context, s Settings, requests []control) error {
	if !p.options.Features.LiveSettings {
		if s.Model != p.bound.Model {
			requests = append(requests, control{Subtype: "set_model", Model: s.Model})
		}
	} else if change, err := p.changes(s); err != nil {
		return err
	} else if change != nil {
		requests = append(requests, control{Subtype: "apply_flag_settings", Settings: change})
	}
	if s.ThinkingTokens != p.bound.ThinkingTokens {
		thinking := control{Subtype: "set_max_thinking_tokens", MaxThinkingTokens: &s.ThinkingTokens}
		if s.ThinkingTokens > 0 && p.options.Features.ChangeSystem {
			thinking.ThinkingDisplay = "summarized" // else the blocks come empty (2.1.331)
		}
		requests = append(requests, thinking)
	}
	if len(requests) == 0 {
		return nil
	}
	_, err := p.ask(ctx, p.options.ControlTimeout, requests...)
	return err
}

// offer gives the request that offers the CLI the client's tools, if they aren't
// those of before. It asks for them when the turn begins, and waits for the answer.
func (p *Process) offer(ctx context.Context, s Settings) ([]control, error) {
	f := &p.options.Features
	if len(s.Tools) > 0 && !f.ClientTools || (s.Effort != "" || len(s.Format) > 0) && !f.ExtraBody {
		return nil, errNotSettable
	}
	names := toolNames(s.Tools)
	if slices.Equal(names, p.offered) {
		return nil, nil
	}
	if withdraw := p.withdraw(); withdraw != nil {
		if _, err := p.ask(ctx, p.options.ControlTimeout, withdraw...); err != nil {
			return nil, err
		}
	}
	if len(names) == 0 {
		return nil, nil
	}
	p.offered = names
	return []control{{Subtype: "mcp_set_servers", Servers: map[string]mcpServer{toolServer: {"sdk", toolServer}}}}, nil
}

// withdraw gives the request that takes the client's tools away, if there are any.
func (p *Process) withdraw() []control {
	if len(p.offered) == 0 {
		return nil
	}
	p.offered = nil
	return []control{{Subtype: "mcp_set_servers", Servers: map[string]mcpServer{}}}
}

// headers are the CLI's own way to add headers to its calls: those that the operator lets
// through, and the span's.
func (o *Options) headers(e trace.Environment) string {
	var lines []string
	for _, pair := range o.Env {
		if own, ok := strings.CutPrefix(pair, envHeaders+"="); ok {
			lines = append(lines, own)
		}
	}
	if e.Parent != "" {
		lines = append(lines, "traceparent: "+e.Parent)
	}
	if e.State != "" {
		lines = append(lines, "tracestate: "+e.State)
	}
	return strings.Join(lines, "\n")
}

func (p *Process) changes(s Settings) (*settings, error) {
	extra, err := s.extraBody()
	if err != nil {
		return nil, err
	}
	change := settings{Env: map[string]string{}}
	if s.Model != p.bound.Model {
		change.Model = s.Model
	}
	if (s.ThinkingTokens > 0) != (p.bound.ThinkingTokens > 0) {
		change.Env[envDisableThinking] = "1"
		if s.ThinkingTokens > 0 {
			change.Env[envDisableThinking] = "0"
		}
	}
	if s.MaxTokens != p.bound.MaxTokens {
		change.Env[envMaxOutputTokens] = ""
		if s.MaxTokens > 0 {
			change.Env[envMaxOutputTokens] = strconv.FormatInt(s.MaxTokens, 10)
		}
	}
	if p.barred {
		change.Env[envBaseURL] = p.options.upstream()
		p.barred = false
	}
	if extra != p.extra {
		change.Env[envExtraBody] = extra
		p.extra = extra
	}
	if s.Effort != p.bound.Effort {
		// The body's own effort isn't all: 2.1.331 repeats it in a message.
		change.Env[envEffort] = s.Effort
	}
	if s.Trace != p.bound.Trace {
		change.Env[envHeaders] = p.options.headers(s.Trace)
	}
	if change.Model == "" && len(change.Env) == 0 {
		return nil, nil
	}
	return &change, nil
}
