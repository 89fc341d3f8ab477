package streamapi_test

import (
	"context"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/streamapi"
	"claude-code-api-service/internal/task"
)

// desk does tasks as a test says.
type desk struct {
	asked  chan task.Request
	events chan job.Event // closing it ends the task well
	ended  chan error     // why a task has ended otherwise

	answers chan task.Approval
	refuse  error // of answers
}

func newDesk() *desk {
	return &desk{
		asked: make(chan task.Request, 1), events: make(chan job.Event), ended: make(chan error, 1), answers: make(chan task.Approval, 1),
	}
}

func (d *desk) Run(ctx context.Context, _ *gateway.Gateway, _ *gateway.Call, r *task.Request, listen func(e job.Event) error) (*task.View, job.Event, error) {
	d.asked <- *r
	for {
		select {
		case e, more := <-d.events:
			if !more {
				return &task.View{ID: "task_1", Status: job.Completed}, job.Event{Type: "result", Data: jsontext.Value(`{"type":"result","id":"task_1","result":"x"}`)}, nil
			}
			if err := listen(e); err != nil {
				return nil, job.Event{}, err
			}
		case <-ctx.Done():
			err := context.Cause(ctx)
			d.ended <- err
			e := apierror.From(err)
			v := &task.View{ID: "task_1", Status: job.Cancelled, Detail: e.Message, Error: &task.Failure{Message: e.Message, Code: string(e.Code)}}
			return v, job.Event{Type: "error", Data: jsontext.Value(`{"type":"error","id":"task_1","detail":"` + e.Message + `"}`)}, nil
		}
	}
}

func (d *desk) Answer(_ context.Context, call *gateway.Call, id string, a task.Approval) error {
	if d.refuse != nil {
		return d.refuse
	}
	if id != "task_1" || call.Caller.KeyID != "k1" {
		return apierror.New(apierror.BadRequest, "another task")
	}
	d.answers <- a
	return nil
}

// tasking gives a client of a server that does tasks.
func tasking(t *testing.T, d *desk) *client {
	t.Helper()
	h := streamapi.New(streamapi.Options{Gateway: (&protocoltest.Rooms{}).Gateway(), Tasks: d, MaxBody: maxBody})
	server := protocoltest.Server(t, h.Register)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		_ = h.Stop(ctx)
	})
	return enter(t, server)
}

const begin = `{"type":"agentic_task","id":"t","description":"do it","model":"haiku","system":"s","allow_tools":["Read"],"timeout":3,"approval":"ask"}`

func TestTask(t *testing.T) {
	d := newDesk()
	c := tasking(t, d)
	c.send(begin)
	if r := <-d.asked; r.Description != "do it" || r.Model != "haiku" || r.System != "s" || len(r.Tools) != 1 || r.Timeout.Seconds() != 3 || r.Approval != "ask" || r.Agents != nil {
		t.Errorf("%+v", r)
	}
	c.send(`{"type":"approval","n":1,"decision":"allow"}`)
	c.expect(`{"type":"error","detail":"no such task runs on this connection","error":{"message":"no such task runs on this connection","type":"bad_request","param":"id","code":"not_found"},"request_id":"req_test"}`)
	d.events <- job.Event{Type: "status", Data: jsontext.Value(`{"type":"status","id":"task_1","status":"starting"}`)}
	c.expect(`{"type":"status","id":"t","task_id":"task_1","status":"starting","request_id":"req_test-1"}`)
	d.events <- job.Event{Type: "tool_use", Data: jsontext.Value(`{"type":"tool_use","tool":"Read","input":{"id":1}}`)}
	c.expect(`{"type":"tool_use","id":"t","tool":"Read","input":{"id":1},"request_id":"req_test-1"}`)
	c.send(begin)
	c.expectError("busy")
	c.send(`{"type":"approval","id":"t","n":2,"decision":"allow","reason":"r","input":{"a":1}}`)
	if a := <-d.answers; a.N != 2 || a.Decision != "allow" || a.Reason != "r" || string(a.Input) != `{"a":1}` {
		t.Errorf("%+v", a)
	}
	close(d.events)
	c.expect(`{"type":"result","id":"t","task_id":"task_1","result":"x","request_id":"req_test-1"}`)
	c.send(`{"type":"approval","id":"t","n":2,"decision":"allow"}`)
	c.expectError("not_found")
}

// Members that a task doesn't have are named, and refused where they were meant to
// narrow its rights.
func TestTaskUnknownMembers(t *testing.T) {
	d := newDesk()
	c := tasking(t, d)
	c.send(`{"type":"agentic_task","id":"t","description":"x","allowed_tools":["Read"]}`)
	c.expect(`{"type":"error","id":"t","detail":"allowed_tools: is called allow_tools here","error":{"message":"allowed_tools: is called allow_tools here","type":"bad_request","param":"allowed_tools","code":"bad_request"},"request_id":"req_test-1"}`)
	c.send(`{"type":"agentic_task","id":"t","description":"x","allow_tool":["Read"]}`)
	c.expect(`{"type":"warning","id":"t","content":"allow_tool: has no effect here","request_id":"req_test-2"}`)
	<-d.asked
	close(d.events)
	c.expect(`{"type":"result","id":"t","task_id":"task_1","result":"x","request_id":"req_test-2"}`)
}

func TestTaskIsCancelled(t *testing.T) {
	d := newDesk()
	c := tasking(t, d)
	c.send(begin)
	<-d.asked
	c.send(`{"type":"cancel","id":"another"}`)
	c.send(`{"type":"cancel","id":"t"}`)
	c.expect(`{"type":"error","id":"t","task_id":"task_1","detail":"the task was cancelled","request_id":"req_test-1"}`)
	if err := <-d.ended; err == nil {
		t.Error("it wasn't cancelled")
	}
	c.send(begin)
	<-d.asked
	_ = c.CloseNow()
	if err := <-d.ended; err == nil {
		t.Error("it went on")
	}
}

func TestTaskAnswerIsRefused(t *testing.T) {
	d := newDesk()
	d.refuse = &apierror.Error{Category: apierror.BadRequest, Code: task.CodeAnswered, Message: "answered"}
	c := tasking(t, d)
	c.send(begin)
	<-d.asked
	d.events <- job.Event{Type: "status", Data: jsontext.Value(`{"type":"status","id":"task_1"}`)}
	c.receive()
	c.send(`{"type":"approval","n":1,"decision":"deny"}`)
	c.expectError("already_answered")
	close(d.events)
	c.receive()
}
