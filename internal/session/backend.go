package session

import (
	"context"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// Before makes a Backend that answers the calls which ask a session, and leaves the
// others to next.
func (s *Sessions) Before(next gateway.Backend) gateway.Backend { return &backend{s, next} }

type backend struct {
	sessions *Sessions
	next     gateway.Backend
}

// Generate implements gateway.Backend.
func (b *backend) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	if call.Work == nil || call.Work.Session == "" {
		return b.next.Generate(ctx, call, out)
	}
	c, err := call.Request.Conversation()
	if err != nil {
		return gateway.Result{}, err
	}
	id := agent.RunID(call.RequestID)
	reply := agent.NewReply(call, out, id, c.ThinkingTokens > 0 || c.Effort != "")
	outcome, err := b.sessions.Turn(ctx, call.Work.Session, Message{
		Caller: call.Caller, RunID: id, Endpoint: call.Endpoint, Prompt: c.Turns[len(c.Turns)-1].Content,
		Begin: func(s Session, model string) error { return fit(call, c, &s, model) },
	}, reply)
	return reply.End(outcome, err)
}

// fit refuses what of a request would change the answer's form, names what else the
// session goes without, and gives the call the session's model.
func fit(call *gateway.Call, c *message.Conversation, s *Session, model string) error {
	switch {
	case len(c.Tools) > 0:
		return apierror.Invalid("tools", "tools: can't be used together with session_id: the session has its own")
	case c.Format != nil:
		return apierror.Invalid("response_format", "response_format: a schema can't be used together with session_id")
	}
	if asked := call.Request.Model; asked != "" && asked != "auto" && call.Model != model {
		call.Warn("model: the session keeps its own, " + s.Model)
	}
	if c.System != "" {
		call.Warn("system: the session keeps its own")
	}
	if len(c.Turns) > 1 {
		call.Warn("messages: only the last one is sent: the session keeps the conversation")
	}
	agent.WarnUnset(call, c, "can't be set in a session")
	call.Model = model
	return call.Honoured()
}
