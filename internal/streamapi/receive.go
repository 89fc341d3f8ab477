package streamapi

import (
	"context"
	"strconv"

	"github.com/coder/websocket"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/trace"
)

func unauthorized(text string) *apierror.Error {
	return &apierror.Error{Category: apierror.AuthError, Code: apierror.CodeInvalidKey, Message: text}
}

// handle acts on a client's message. An error ends the connection.
func (c *conn) handle(text []byte) error {
	clock := latency.Start()
	m, err := c.h.decode(text)
	clock.Mark(latency.Decode)
	switch {
	case err != nil && c.key == "":
		// Whoever has presented no key gets one answer.
		return c.refuse(m.id, apierror.From(err), closeUnauthorized)
	case err != nil:
		return c.complain(m.id, c.requestID, err)
	case m.key == "" && c.key == "":
		return c.refuse(m.id, unauthorized("the key must come with the upgrade or in the first message, as api_key"), closeUnauthorized)
	}
	switch m.kind {
	case typeChat, typeAgentic:
		return c.handleChat(m, &clock, len(text))
	case typeAuth:
		if m.key == "" {
			return c.complain(m.id, c.requestID, apierror.Invalid("api_key", "api_key: field required"))
		}
	}
	if m.key != "" {
		if _, stop := c.authenticate(c.requestID, m); stop != nil {
			return stop.err
		}
	}
	switch m.kind {
	case typeAuth:
		return c.out.reply(append(appendType(nil, "authenticated", m.id), '}'))
	case typePing:
		return c.out.reply(append(appendType(nil, "pong", m.id), '}'))
	case typeCancel:
		c.cancelChat(m.id)
		return nil
	case typeApproval:
		return c.answerTask(m)
	}
	return c.complain(m.id, c.requestID, apierror.Invalid("type", "type: must be chat, cancel, ping, auth, agentic_task or approval"))
}

// complain tells the client of an error that leaves the connection open.
func (c *conn) complain(id, requestID string, err error) error {
	protocol.Log(c.life, c.h.log, requestID, err)
	return c.out.reply(appendError(nil, id, requestID, apierror.From(err)))
}

// stopped says that handling a message ends there, and with what.
type stopped struct{ err error }

// authenticate opens a call with the message's key, else the connection's. A key
// that is accepted becomes the connection's. One that isn't, also one that was
// revoked since, ends it.
func (c *conn) authenticate(requestID string, m *incoming) (*gateway.Call, *stopped) {
	key := c.key
	if m.key != "" {
		key = m.key
	}
	// Each message's work is a part of what the connection is in its client's trace.
	ctx := trace.With(c.base, trace.From(c.base).Child())
	call, err := c.h.gateway.Open(ctx, requestID, pathStream, key, c.address)
	if err == nil {
		if c.key == "" {
			c.authenticated()
		}
		c.key = key
		call.Prefer = c.prefer
		return call, nil
	}
	c.h.gateway.Refuse(c.base, call, err)
	switch e := apierror.From(err); {
	case e.Category == apierror.AuthError, e.Category == apierror.Permission:
		return nil, &stopped{c.refuse(m.id, e, closeUnauthorized)}
	case c.key == "" && e.Category == apierror.RateLimited:
		return nil, &stopped{c.refuse(m.id, e, websocket.StatusTryAgainLater)}
	case c.key == "":
		return nil, &stopped{c.refuse(m.id, e, websocket.StatusInternalError)}
	}
	return nil, &stopped{c.complain(m.id, requestID, err)}
}

// handleChat starts a chat, unless one runs.
func (c *conn) handleChat(m *incoming, clock *latency.Clock, size int) error {
	c.chats++
	requestID := c.requestID + "-" + strconv.Itoa(c.chats)
	call, stop := c.authenticate(requestID, m)
	if stop != nil {
		return stop.err
	}
	clock.Mark(latency.Auth)
	call.Clock = *clock // it has run since the message came
	err := c.startChat(call, m, size)
	if err == nil {
		return nil
	}
	c.h.gateway.Refuse(c.base, call, err)
	return c.complain(m.id, requestID, err)
}

// startChat has a call served on a goroutine of its own.
func (c *conn) startChat(call *gateway.Call, m *incoming, size int) (err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.stopping, c.h.isStopping():
		return errShuttingDown()
	case c.chat != nil:
		return &apierror.Error{Category: apierror.BadRequest, Code: codeBusy, Message: "a chat is running on this connection: wait for its end, cancel it, or open another connection"}
	}
	var work *task.Request
	if m.kind == typeAgentic {
		work, err = c.h.taskOf(m)
	} else {
		rules := c.h.rules(protocol.Unquote(m.model))
		call.Request, err = m.translate(&rules, size)
	}
	if err != nil {
		return err
	}
	call.Warnings = m.warnings
	if m.projectID != "" && m.projectID != defaultProject && m.projectID != call.Caller.ProjectID {
		call.Warn("project_id: the key's project is billed")
	}
	protocol.PreferBackend(call, m.useCLI)
	ctx, cancel := context.WithCancelCause(c.base)
	c.chat = &chat{conn: c, id: m.id, call: call, ctx: ctx, cancel: cancel, task: work}
	c.tasks.Go(c.chat.serve)
	return nil
}

// cancelChat ends the chat that runs, if it is the one that is meant; "" means
// any. One that has ended already is no error: the messages crossed.
func (c *conn) cancelChat(id string) {
	c.mu.Lock()
	running := c.chat
	c.mu.Unlock()
	if running == nil || id != "" && id != running.id {
		return
	}
	what := "the chat was cancelled"
	if running.task != nil {
		what = "the task was cancelled"
	}
	running.end(&apierror.Error{Category: apierror.ClientClosed, Code: codeCancelled, Message: what})
}
