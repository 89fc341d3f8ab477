package agent

import (
	"context"
	"crypto/rand"
	"log/slog"
	"slices"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// Backend answers calls that ask for tools of the CLI's own (gateway.Call.Work), each
// by a run. Nothing of the run is kept. It is safe for concurrent use.
type Backend struct {
	runner *Runner
	log    *slog.Logger
}

var _ gateway.Backend = (*Backend)(nil)

// NewBackend makes a Backend. The logger may be nil.
func NewBackend(runner *Runner, log *slog.Logger) *Backend {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Backend{runner, log}
}

// Generate implements gateway.Backend. The answer is what the run itself said, in
// order; its usage and cost are those of all that the run has asked the upstream.
func (b *Backend) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	if text := Unknown("allowed_tools", &call.Caller.Permissions, call.Work.Tools); text != "" {
		call.Warn(text)
	}
	c, err := readable(call)
	if err != nil {
		return gateway.Result{}, err
	}
	spec := Spec{
		ID: RunID(call.RequestID), Caller: call.Caller, Endpoint: call.Endpoint, Model: call.Model,
		Prompt: promptOf(c.Turns), System: c.System,
		Tools: call.Work.Tools, Agents: []string{gateway.All}, Skills: []string{gateway.All}, Directory: call.Work.Directory,
		MaxCostMicroUSD: call.Caller.Permissions.MaxCostMicroUSD,
	}
	if limit := call.Work.Timeout; limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, limit, apierror.New(apierror.Timeout, "the key's profile allows no more time for this"))
		defer cancel()
	}
	reply := NewReply(call, out, spec.ID, c.ThinkingTokens > 0 || c.Effort != "")
	outcome, err := b.runner.Run(ctx, spec, reply)
	b.forget(ctx, call, &spec, &outcome)
	return reply.End(outcome, err)
}

// forget removes what the run has left here: nobody can ask for it.
func (b *Backend) forget(ctx context.Context, call *gateway.Call, spec *Spec, o *Outcome) {
	if o.Session == "" {
		return // it never began
	}
	err := b.runner.Forget(spec.Caller.KeyID, o.Workspace, spec.ID)
	if err == nil {
		err = b.runner.ForgetSession(spec.Caller.KeyID, o.Session)
	}
	if err != nil {
		b.log.WarnContext(ctx, "remove what a run has left", "request_id", call.RequestID, "run", spec.ID, "error", err)
	}
}

// maxID bounds what of a request's id is in its run's.
const maxID = 100

// RunID gives a run an id that tells of the request which it answers: the request's,
// which its caller may have chosen and may use again, with something behind it that no
// other has.
func RunID(requestID string) string {
	id := strings.TrimLeft(strings.ReplaceAll(requestID, ".", "_"), "-")
	if id == "" {
		id = "run"
	}
	return id[:min(len(id), maxID)] + "-" + rand.Text()[:8]
}

// readable decodes a call's request, refuses what a run can't do and would change the
// answer's form, and warns of the rest.
func readable(call *gateway.Call) (*message.Conversation, error) {
	c, err := call.Request.Conversation()
	if err != nil {
		return nil, err
	}
	switch {
	case len(c.Tools) > 0:
		return nil, apierror.Invalid("tools", "tools: can't be used together with allowed_tools or working_directory")
	case c.Format != nil:
		return nil, apierror.Invalid("response_format", "response_format: a schema can't be used together with allowed_tools or working_directory")
	}
	WarnUnset(call, c, "can't be set where the CLI works with tools")
	return c, call.Honoured()
}

// WarnUnset warns of each member of a call's request that a process with tools can't be
// given, in these words.
func WarnUnset(call *gateway.Call, c *message.Conversation, text string) {
	names := slices.Concat(call.Request.Others(), c.Unread)
	if call.Request.MaxTokens > 0 {
		names = append(names, "max_tokens")
	}
	if c.Effort != "" {
		names = append(names, "output_config.effort")
	}
	for _, name := range names {
		if !slices.Contains(call.Defaults, name) {
			call.Warn(name + " " + text)
		}
	}
}
