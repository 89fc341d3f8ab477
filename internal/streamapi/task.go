package streamapi

import (
	"bytes"
	"context"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// Tasks does agentic tasks: a task.Tasks, whose methods say what they do.
type Tasks interface {
	Run(ctx context.Context, g *gateway.Gateway, call *gateway.Call, r *task.Request, listen func(e job.Event) error) (*task.View, job.Event, error)
	Answer(ctx context.Context, call *gateway.Call, id string, a task.Approval) error
}

// taskOf gives the task that a message asks for.
func (h *Handler) taskOf(m *incoming) (*task.Request, error) {
	if h.tasks == nil {
		return nil, &apierror.Error{
			Category: apierror.BadRequest, Code: apierror.CodeNotImplemented, Param: "type", Message: "agentic tasks aren't available here",
		}
	}
	if m.misnamed != nil {
		return nil, m.misnamed
	}
	r := m.task
	// A chat has these too.
	r.Model, r.System = protocol.Unquote(m.model), protocol.Unquote(m.system)
	return &r, nil
}

// runTask does the chat's task, and tells what happens in it.
func (c *chat) runTask() error {
	for _, text := range c.call.Warnings {
		dst := protocol.AppendText(append(appendType(nil, task.EventWarning, c.id), `,"content":`...), text)
		if err := c.conn.out.write(append(protocol.AppendText(append(dst, `,"request_id":`...), c.call.RequestID), '}')); err != nil {
			return err
		}
	}
	v, last, err := c.conn.h.tasks.Run(c.ctx, c.conn.h.gateway, c.call, c.task, c.tell)
	if err != nil {
		return err
	}
	if v.Status == job.Cancelled && v.Error != nil && v.Error.Code != string(codeCancelled) && v.Error.Code != string(codeShuttingDown) {
		return apierror.New(apierror.ClientClosed, v.Detail)
	}
	return c.finish(c.message(last))
}

// tell sends an event of the task.
func (c *chat) tell(e job.Event) error {
	if c.ctx.Err() != nil {
		return context.Cause(c.ctx)
	}
	return c.conn.out.write(c.message(e))
}

// message writes an event of a task as a message: its id is the client's own, the
// task's is task_id.
func (c *chat) message(e job.Event) []byte {
	dst := appendType(nil, e.Type, c.id)
	dec := jsontext.NewDecoder(bytes.NewReader(e.Data))
	_, _ = dec.ReadToken() // it is an object, which the service has written
	for dec.PeekKind() == '"' {
		name, err := dec.ReadValue()
		if err != nil {
			break
		}
		name = slices.Clone(name)
		value, err := dec.ReadValue()
		if err != nil {
			break
		}
		switch string(name) {
		case `"type"`:
			continue
		case `"id"`:
			name = jsontext.Value(`"task_id"`)
			c.isTask(protocol.Unquote(value))
		}
		dst = append(append(append(append(dst, ','), name...), ':'), value...)
	}
	return append(protocol.AppendText(append(dst, `,"request_id":`...), c.call.RequestID), '}')
}

// isTask notes the task's id, for answers to its questions.
func (c *chat) isTask(id string) {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	c.taskID = id
}

// answerTask answers a question of the task that runs.
func (c *conn) answerTask(m *incoming) error {
	c.mu.Lock()
	running, id := c.chat, ""
	if running != nil && (m.id == "" || m.id == running.id) {
		id = running.taskID
	}
	c.mu.Unlock()
	if id == "" {
		return c.complain(m.id, c.requestID, &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "id", Message: "no such task runs on this connection"})
	}
	a := m.approval
	a.N = int(m.question)
	if err := c.h.tasks.Answer(c.life, running.call, id, a); err != nil {
		return c.complain(m.id, running.call.RequestID, err)
	}
	return nil // the task tells of it
}
