package streamapi

import (
	"context"
	"fmt"
	"runtime/debug"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/task"
)

// chat is one chat, or one task, on a connection. Its goroutine serves it; it may be ended
// from any.
type chat struct {
	conn   *conn
	id     string // the client's, "" for none
	call   *gateway.Call
	ctx    context.Context
	cancel context.CancelCauseFunc
	task   *task.Request // nil: it is a chat of messages
	taskID string        // the task's, once it has begun; the connection's mutex guards it
}

// end cancels the chat for the given reason; nil: the client left.
func (c *chat) end(cause *apierror.Error) {
	if cause == nil {
		c.cancel(nil)
		return
	}
	c.cancel(cause)
}

// serve serves the chat to its last message.
func (c *chat) serve() {
	defer c.end(nil)
	if err := c.walk(newEncoder(c)); err != nil {
		protocol.Log(c.conn.life, c.conn.h.log, c.call.RequestID, err)
		e := c.reason(err)
		if e.Category == apierror.ClientClosed && e.Code != codeCancelled {
			c.release() // nobody is there to be told
		} else {
			c.fail(e)
		}
	}
	if c.conn.isStopping() {
		c.conn.leave()
	}
}

// fail tells the client of an error that ends the chat.
func (c *chat) fail(e *apierror.Error) {
	c.conn.mu.Lock()
	c.conn.told = c.conn.told || e.Code == codeShuttingDown
	c.conn.mu.Unlock()
	// Whoever fails to write closes the connection.
	_ = c.finish(appendError(nil, c.id, c.call.RequestID, e))
}

// walk serves the call. A panic becomes an error: outside of net/http's own
// goroutines it would end the program.
func (c *chat) walk(out *encoder) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	if c.task != nil {
		return c.runTask()
	}
	return c.conn.h.gateway.Serve(c.ctx, c.call, out)
}

// reason is the error that the client is told.
func (c *chat) reason(err error) *apierror.Error {
	e := apierror.From(err)
	if c.ctx.Err() != nil && e.Category == apierror.Overloaded {
		return errShuttingDown() // in one form, whoever ended the chat
	}
	return e
}

// finish sends the chat's last message. The next chat may begin before the
// client has read it, and its messages come behind.
func (c *chat) finish(text []byte) error { return c.conn.out.writeAfter(c.release, text) }

// release lets the connection have another chat.
func (c *chat) release() {
	c.conn.mu.Lock()
	defer c.conn.mu.Unlock()
	if c.conn.chat == c {
		c.conn.chat = nil
	}
}

// isStopping says that the connection is to be closed, and no chat runs that
// would do it.
func (c *conn) isStopping() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stopping && c.chat == nil && !c.ended
}

// encoder translates a stream into messages, event by event. Texts keep their
// escaped bytes.
type encoder struct {
	chat            *chat
	token, thinking []byte // messages up to their content
	buffer          []byte // reused
	reader          *protocol.EventReader
}

func newEncoder(c *chat) *encoder {
	return &encoder{
		chat: c, reader: protocol.NewEventReader(), buffer: make([]byte, 0, 512),
		token:    append(appendType(nil, "token", c.id), `,"content":`...),
		thinking: append(appendType(nil, "thinking", c.id), `,"content":`...),
	}
}

// Event implements gateway.EventWriter.
func (e *encoder) Event(event message.Event) error {
	// A client may stop reading and cancel, and then nothing is to be written.
	if e.chat.ctx.Err() != nil {
		return context.Cause(e.chat.ctx)
	}
	if event.Type != message.EventContentBlockDelta && event.Type != message.EventContentBlockStart {
		return nil
	}
	if err := e.reader.Read(event); err != nil {
		return err
	}
	switch string(e.reader.Kind()) {
	case "text", "text_delta":
		return e.send(e.token, e.reader.Text)
	case "thinking", "thinking_delta":
		return e.send(e.thinking, e.reader.Thinking)
	}
	return nil
}

// send sends a text, unless it is empty.
func (e *encoder) send(before []byte, text jsontext.Value) error {
	if len(protocol.Inner(text)) == 0 {
		return nil
	}
	e.buffer = append(append(append(e.buffer[:0], before...), text...), '}')
	return e.chat.conn.out.write(e.buffer)
}

// Flush implements gateway.EventWriter: each message leaves at once.
func (e *encoder) Flush() error { return nil }

// Message implements gateway.EventWriter.
func (e *encoder) Message([]byte) error { return protocol.ErrForm }

// End implements gateway.EventWriter: the message done.
func (e *encoder) End(result gateway.Result) error {
	return e.chat.finish(e.appendDone(e.buffer[:0], result))
}

func (e *encoder) appendDone(dst []byte, result gateway.Result) []byte {
	call := e.chat.call
	model := result.Model
	if model == "" {
		model = call.Model
	}
	dst = appendType(dst, "done", e.chat.id)
	for _, field := range [...]struct {
		name  string
		value int64
	}{
		{`,"usage":{"input_tokens":`, result.Usage.InputTokens},
		{`,"output_tokens":`, result.Usage.OutputTokens},
		{`,"total_tokens":`, result.Usage.Total()},
		{`,"cache_read_input_tokens":`, result.Usage.CacheReadInputTokens},
		{`,"cache_creation_input_tokens":`, result.Usage.CacheCreationInputTokens},
	} {
		dst = strconv.AppendInt(append(dst, field.name...), field.value, 10)
	}
	dst = append(dst, `},"cost":`...)
	if result.CostMicroUSD != nil {
		dst = strconv.AppendFloat(dst, float64(*result.CostMicroUSD)/1e6, 'f', -1, 64)
	} else {
		dst = append(dst, "null"...)
	}
	dst = protocol.AppendText(append(dst, `,"model":`...), model)
	dst = protocol.AppendTextOrNull(append(dst, `,"stop_reason":`...), result.StopReason)
	dst = protocol.AppendText(append(dst, `,"finish_reason":`...), protocol.FinishReason(result.StopReason))
	if call.Backend != "" {
		dst = protocol.AppendText(append(dst, `,"backend":`...), call.Backend)
	}
	for i, text := range call.Warnings {
		if i == 0 {
			dst = append(dst, `,"warnings":[`...)
		} else {
			dst = append(dst, ',')
		}
		dst = protocol.AppendText(dst, text)
		if i == len(call.Warnings)-1 {
			dst = append(dst, ']')
		}
	}
	dst = protocol.AppendText(append(dst, `,"request_id":`...), call.RequestID)
	return append(dst, '}')
}
