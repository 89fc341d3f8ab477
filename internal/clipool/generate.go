package clipool

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// Generate serves a request on a worker. Invalid requests are refused before a
// worker is taken. It implements gateway.Backend.
func (p *Pool) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	if call.CountOnly {
		return p.count(call, out)
	}
	conversation, err := p.prepare(call)
	if err != nil {
		return gateway.Result{}, err
	}
	answer, err := p.turn(ctx, call, conversation, out)
	// A worker that dies before its upstream said anything has most likely died
	// while it was idle. The caller has got nothing yet: another one serves it. All
	// of them may have died at once.
	for tries := 0; tries < p.options.Workers && died(answer, err) && ctx.Err() == nil; tries++ {
		answer, err = p.turn(ctx, call, conversation, out)
	}
	result := gateway.Result{Summary: answer.Summary, CostMicroUSD: answer.CostMicroUSD}
	if err == nil && !call.Request.Stream {
		err = writeMessage(out, answer)
	}
	return result, err
}

func (p *Pool) prepare(call *gateway.Call) (*message.Conversation, error) {
	if call.Request.HasTools {
		return nil, apierror.Invalid("tools", "tools: client tools can't be used on the CLI backend, only on the direct one (X-Claude-Backend: direct), which needs an ANTHROPIC_API_KEY at the service")
	}
	conversation, err := call.Request.Conversation()
	if err != nil {
		return nil, err
	}
	for i := range conversation.Turns {
		turn := &conversation.Turns[i]
		if turn.Content, err = acceptable(fmt.Sprintf("messages.%d.content", i), turn.Content); err != nil {
			return nil, err
		}
	}
	if f := p.features.Load(); f != nil && !f.LiveSettings && call.Request.MaxTokens > 0 {
		call.Warn("max_tokens can't be set with this version of the CLI")
	}
	for _, name := range call.Request.Others() {
		switch name {
		case "output_format", "mcp_servers", "container":
			// These change what the answer is made of.
			return nil, apierror.Invalid(name, "%s: can't be used on the CLI backend, only on the direct one (X-Claude-Backend: direct), which needs an ANTHROPIC_API_KEY at the service", name)
		}
		if !slices.Contains(call.Defaults, name) {
			call.Warn(name + " can't be set on the CLI backend")
		}
	}
	if conversation.Format != nil {
		return nil, apierror.Invalid("output_config.format", "output_config.format: can't be used on the CLI backend, only on the direct one (X-Claude-Backend: direct), which needs an ANTHROPIC_API_KEY at the service")
	}
	if conversation.Effort != "" {
		call.Warn("output_config.effort can't be set on the CLI backend")
	}
	if len(call.Forward["Anthropic-Beta"]) > 0 {
		call.Warn("anthropic-beta can't be set on the CLI backend")
	}
	return conversation, call.Honoured()
}

// acceptable refuses content blocks that belong to tools, and takes out cache
// markers: the CLI sets its own, and there is a limit on their number.
func acceptable(field string, content jsontext.Value) (jsontext.Value, error) {
	if content.Kind() != '[' {
		return content, nil
	}
	var blocks []map[string]jsontext.Value
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil, apierror.Wrap(apierror.BadRequest, field+": wrong type", err)
	}
	marked := false
	for i, block := range blocks {
		switch string(block["type"]) {
		case `"tool_use"`, `"tool_result"`, `"server_tool_use"`, `"mcp_tool_use"`:
			return nil, apierror.Invalid(fmt.Sprintf("%s.%d.type", field, i), "%s.%d.type: tools can't be used on the CLI backend", field, i)
		}
		if _, ok := block["cache_control"]; ok {
			delete(block, "cache_control")
			marked = true
		}
	}
	if !marked {
		return content, nil
	}
	return json.Marshal(blocks, json.Deterministic(true))
}

func died(answer claudecli.Answer, err error) bool {
	return answer.ID == "" && errors.Is(err, claudecli.ErrDied)
}

// turn runs the request on a worker.
func (p *Pool) turn(ctx context.Context, call *gateway.Call, c *message.Conversation, out gateway.EventWriter) (claudecli.Answer, error) {
	w, err := p.acquire(ctx, demand{project: call.Caller.ProjectID, system: c.System})
	call.Clock.Mark(latency.Queue)
	if err != nil {
		return claudecli.Answer{}, err
	}
	defer p.release(w)
	last := len(c.Turns) - 1
	err = w.process.Bind(ctx, claudecli.Settings{
		System: c.System, Model: call.Model, ThinkingTokens: c.ThinkingTokens, MaxTokens: call.Request.MaxTokens,
	})
	if err == nil {
		err = w.process.Replay(ctx, c.Turns[:last])
	}
	call.Clock.Mark(latency.Bind)
	if err != nil {
		return claudecli.Answer{}, err
	}
	return w.process.Turn(ctx, c.Turns[last].Content, handler(call, out))
}

// class is what a worker must have served before, if anything, to serve the
// demand. Before the CLI is probed it is of no consequence.
func (p *Pool) class(d demand) string {
	f := p.features.Load()
	if f == nil {
		return ""
	}
	class := f.Class(d.system)
	if p.options.Reuse == ReuseSameProject {
		class = d.project + "\x00" + class
	}
	return class
}

func handler(call *gateway.Call, out gateway.EventWriter) claudecli.Handler {
	h := claudecli.Handler{First: func() { call.Clock.Mark(latency.FirstByte) }}
	if call.Request.Stream {
		h.Event, h.Flush = out.Event, out.Flush
	}
	return h
}

func writeMessage(out gateway.EventWriter, answer claudecli.Answer) error {
	content := answer.Content
	if content == nil {
		content = []jsontext.Value{}
	}
	body, err := json.Marshal(message.Message{
		ID: answer.ID, Type: "message", Role: message.RoleAssistant, Model: answer.Model,
		Content: content, StopReason: answer.StopReason, Usage: answer.Usage,
	})
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	return out.Message(body)
}
