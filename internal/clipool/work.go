package clipool

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// work is a request as workers serve it.
type work struct {
	*message.Conversation
	key      string
	settings claudecli.Settings
	// history is that of all turns; before is its digest without the last one: what
	// a worker holds that can go on with the conversation.
	history *history
	before  digest
}

func newWork(call *gateway.Call, c *message.Conversation) *work {
	w := &work{
		Conversation: c, key: call.Caller.KeyID,
		settings: claudecli.Settings{
			System: c.System, Model: call.Model, ThinkingTokens: c.ThinkingTokens, MaxTokens: call.Request.MaxTokens,
		},
	}
	w.history = newHistory(w.key, c.System, c.Tools)
	for i, turn := range c.Turns {
		if i == len(c.Turns)-1 {
			w.before = w.history.sum()
		}
		w.history.add(turn)
	}
	return w
}

// continues says that a worker which holds k can go on with the request.
func (w *work) continues(k *kept) bool {
	return k.key == w.key && !k.parked() && k.before == w.before
}

// prepare reads a request and refuses one that can't be served.
func (p *Pool) prepare(call *gateway.Call) (*work, error) {
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
	if err := call.Honoured(); err != nil {
		return nil, err
	}
	return newWork(call, conversation), nil
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
