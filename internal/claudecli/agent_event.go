package claudecli

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// AgentEventType says what an AgentEvent is.
type AgentEventType int

// The types of events, with the members that they have.
const (
	AgentInit          AgentEventType = iota // Session, Model, Tools, Servers
	AgentTextDelta                           // Text: a piece of a later AgentText
	AgentThinkingDelta                       // Text: a piece of a later AgentThinking
	AgentText                                // Text
	AgentThinking                            // Text
	AgentToolUse                             // ToolID, Tool, Input
	AgentToolResult                          // ToolID, Content, IsError
	AgentRetry                               // Text: why the upstream is asked again
	AgentCompacted                           // the CLI has made a summary of the conversation so far
)

// AgentEvent is something that happened in a turn. It is valid during the call.
type AgentEvent struct {
	Type AgentEventType
	// Parent is the tool use by which the agent was started in which it happened; "":
	// the run itself.
	Parent string
	Text   string

	ToolID  string
	Tool    string
	Input   jsontext.Value
	Content jsontext.Value // as in a tool_result block: a text or blocks
	IsError bool

	Session string
	Model   string
	Tools   []string
	Servers []MCPServer
}

// MCPServer is an MCP server as the CLI reports it.
type MCPServer struct {
	Name   string `json:"name"`
	Status string `json:"status"` // connected, failed, pending, …
}

func (t *agentTurn) emit(e AgentEvent) error {
	if t.handler.Event == nil {
		return nil
	}
	return t.handler.Event(e)
}

func (t *agentTurn) system(l *line) error {
	var s struct {
		Subtype     string      `json:"subtype"`
		Model       string      `json:"model"`
		Tools       []string    `json:"tools"`
		Servers     []MCPServer `json:"mcp_servers"`
		Attempt     int         `json:"attempt"`
		MaxRetries  int         `json:"max_retries"`
		ErrorStatus int         `json:"error_status"`
		TaskID      string      `json:"task_id"`
		ToolUseID   string      `json:"tool_use_id"`
		AgentType   string      `json:"subagent_type"`
	}
	if err := decode(l.Raw, &s); err != nil {
		return nil //nolint:nilerr // a line of another shape says nothing that is needed
	}
	switch s.Subtype {
	case "init":
		return t.emit(AgentEvent{Type: AgentInit, Session: t.sessionID, Model: s.Model, Tools: s.Tools, Servers: s.Servers})
	case "api_retry":
		return t.emit(AgentEvent{Type: AgentRetry, Text: fmt.Sprintf("the upstream is asked again, %d of %d, after status %d", s.Attempt, s.MaxRetries, s.ErrorStatus)})
	case "task_started":
		t.agents[s.TaskID] = startedAgent{s.ToolUseID, s.AgentType}
	case "compact_boundary":
		return t.emit(AgentEvent{Type: AgentCompacted})
	}
	return nil
}

func (t *agentTurn) stream(l *line) error {
	var s struct {
		Parent string `json:"parent_tool_use_id"`
		Event  struct {
			Delta struct {
				Type     string `json:"type"`
				Text     string `json:"text"`
				Thinking string `json:"thinking"`
			} `json:"delta"`
			Message struct {
				Model string `json:"model"`
			} `json:"message"`
		} `json:"event"`
	}
	if err := decode(l.Raw, &s); err != nil {
		return fmt.Errorf("decode stream event: %w", err)
	}
	e := AgentEvent{Parent: s.Parent}
	switch {
	case l.EventType == message.EventContentBlockDelta && s.Event.Delta.Type == "text_delta":
		e.Type, e.Text = AgentTextDelta, s.Event.Delta.Text
	case l.EventType == message.EventContentBlockDelta && s.Event.Delta.Type == "thinking_delta":
		e.Type, e.Text = AgentThinkingDelta, s.Event.Delta.Thinking
	}
	if s.Parent == "" {
		if err := t.ownEvent(l, e, s.Event.Message.Model); err != nil {
			return err
		}
	}
	if e.Text == "" {
		return nil
	}
	return t.emit(e)
}

// ownEvent takes an event of an answer of the run itself.
func (t *agentTurn) ownEvent(l *line, e AgentEvent, model string) error {
	switch l.EventType {
	case message.EventMessageStart:
		t.answer.Turns++
		t.answer.Model, t.whole = model, false
		t.text.Reset()
	case message.EventContentBlockDelta:
		if e.Type == AgentTextDelta {
			t.text.WriteString(e.Text)
		}
	case message.EventMessageStop:
		t.whole = true
	}
	if t.handler.Stream != nil {
		if err := t.handler.Stream(message.Event{Type: l.EventType, Data: l.Event}); err != nil {
			return err
		}
	}
	if t.whole && t.held {
		return errOutOfTurns
	}
	return nil
}

// contentBlock is a block of a message, as far as it becomes an event.
type contentBlock struct {
	Type      string         `json:"type"`
	Text      string         `json:"text"`
	Thinking  string         `json:"thinking"`
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Input     jsontext.Value `json:"input"`
	ToolUseID string         `json:"tool_use_id"`
	Content   jsontext.Value `json:"content"`
	IsError   bool           `json:"is_error"`
}

// assistant takes whole content blocks of an answer.
func (t *agentTurn) assistant(l *line) error {
	var m struct {
		Error   string `json:"error"`
		Parent  string `json:"parent_tool_use_id"`
		Message struct {
			Content []contentBlock `json:"content"`
		} `json:"message"`
	}
	if err := decode(l.Raw, &m); err != nil {
		return fmt.Errorf("decode assistant message: %w", err)
	}
	if m.Error != "" {
		t.reason = m.Error // the CLI's own words, about an error
		return nil
	}
	for _, b := range m.Message.Content {
		e := AgentEvent{Parent: m.Parent}
		switch b.Type {
		case "text":
			e.Type, e.Text = AgentText, b.Text
		case "thinking":
			e.Type, e.Text = AgentThinking, b.Thinking
		case "tool_use":
			e.Type, e.ToolID, e.Tool, e.Input = AgentToolUse, b.ID, b.Name, b.Input
		}
		if e.Text == "" && e.ToolID == "" {
			continue // of another kind, or a thinking that isn't shown
		}
		if err := t.emit(e); err != nil {
			return err
		}
	}
	return nil
}

// user takes the results of tools, which the CLI shows as messages of the user.
func (t *agentTurn) user(l *line) error {
	var m struct {
		Parent  string `json:"parent_tool_use_id"`
		Message struct {
			Content jsontext.Value `json:"content"`
		} `json:"message"`
	}
	if err := decode(l.Raw, &m); err != nil {
		return fmt.Errorf("decode tool result: %w", err)
	}
	if m.Message.Content.Kind() != '[' {
		return nil
	}
	var blocks []contentBlock
	if err := decode(m.Message.Content, &blocks); err != nil {
		return fmt.Errorf("decode tool result: %w", err)
	}
	for _, b := range blocks {
		if b.Type != "tool_result" {
			continue
		}
		e := AgentEvent{Type: AgentToolResult, Parent: m.Parent, ToolID: b.ToolUseID, Content: slices.Clone(b.Content), IsError: b.IsError}
		if err := t.emit(e); err != nil {
			return err
		}
	}
	return nil
}
