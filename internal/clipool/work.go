package clipool

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

// work is a request as workers serve it.
type work struct {
	*message.Conversation
	demand   demand
	settings claudecli.Settings
	// results are the last turn's, where it is nothing but results of tools.
	// answered are the ids of the calls whose results are in it at all.
	results  []claudecli.ToolResult
	answered []string
	// probed says that the request was held against what the installed CLI can do.
	probed bool
	// history is that of all turns. before is its digest without the last one: what
	// a worker holds that can go on with the conversation.
	history *history
	before  digest
}

// prepare reads a request and refuses one that can't be served, before a worker
// is taken.
func (p *Pool) prepare(call *gateway.Call) (*work, error) {
	c, err := call.Request.Conversation()
	if err != nil {
		return nil, err
	}
	for i := range c.Turns {
		turn := &c.Turns[i]
		if turn.Content, err = acceptable(fmt.Sprintf("messages.%d.content", i), turn.Content); err != nil {
			return nil, err
		}
	}
	if err := checkPairs(c.Turns); err != nil {
		return nil, err
	}
	if err := claudecli.CheckTools(c.Tools, c.ToolChoice); err != nil {
		return nil, err
	}
	for _, name := range call.Request.Others() {
		if onlyDirect(name) {
			return nil, notHere(name)
		}
		if !slices.Contains(call.Defaults, name) {
			call.Warn(name + " can't be set on the CLI backend")
		}
	}
	for _, name := range c.Unread {
		call.Warn(name + " can't be set on the CLI backend")
	}
	if len(call.Forward["Anthropic-Beta"]) > 0 {
		call.Warn("anthropic-beta can't be set on the CLI backend")
	}
	if bytes.Contains(call.Request.Body(), []byte(`"cache_control"`)) {
		call.Warn("cache_control has no effect on the CLI backend, which caches by itself")
	}
	p.limits(call, c)
	w := newWork(call, c)
	if s := call.Trace; p.options.Trace && s != nil && s.Sampled {
		w.settings.Trace = trace.Environment{Parent: s.Out(), State: s.State}
	}
	if err := p.check(call, w); err != nil {
		return nil, err
	}
	return w, call.Honoured()
}

// limits warns of what the CLI changes by itself because the model doesn't take it.
func (p *Pool) limits(call *gateway.Call, c *message.Conversation) {
	rules := p.options.Rules(call.Model)
	if most := int64(rules.MaxOutputTokens); most > 0 && call.Request.MaxTokens > most {
		call.Warn(fmt.Sprintf("max_tokens: the model writes at most %d tokens", most))
	}
	// The default is what stands for thinking without a budget.
	if c.ThinkingTokens > 0 && c.ThinkingTokens != message.DefaultThinkingTokens && !rules.TakesThinking(message.ThinkingEnabled) {
		call.Warn("thinking.budget_tokens: the model thinks as much as it needs")
	}
}

// onlyDirect says of a member of a request that it changes what the answer is
// made of, and that the CLI can't do it.
func onlyDirect(name string) bool {
	switch name {
	case "output_format", "mcp_servers", "container", memberThread:
		return true
	}
	return false
}

// memberThread asks the Messages API to hold the conversation and to go on with
// one that it holds. Without it an answer would be to the last turn alone.
const memberThread = "thread"

func notHere(name string) error {
	err := apierror.Invalid(name, "%s: can't be used on the CLI backend, only on the direct one (X-Claude-Backend: direct), which needs an ANTHROPIC_API_KEY at the service", name)
	if name == memberThread {
		err.Code = apierror.CodeThread
	}
	return err
}

// check refuses what the installed version of the CLI can't do, and warns of what
// it can't set. Before the CLI is probed it does nothing.
func (p *Pool) check(call *gateway.Call, w *work) error {
	f := p.features.Load()
	if w.probed || f == nil {
		return nil
	}
	w.probed = true
	if len(w.Tools) > 0 && !f.ClientTools {
		return notHere("tools")
	}
	if w.Format != nil && !f.ExtraBody {
		return notHere("output_config.format")
	}
	if w.Effort != "" && !f.ExtraBody {
		w.settings.Effort = ""
		call.Warn("output_config.effort can't be set with this version of the CLI")
	}
	if call.Request.MaxTokens > 0 && !f.LiveSettings {
		call.Warn("max_tokens can't be set with this version of the CLI")
	}
	if w.settings.Bounded && !f.LiveSettings {
		call.Tell("the budget bounds the answer by its bytes with this version of the CLI: it may be cut early")
	}
	return nil
}

func newWork(call *gateway.Call, c *message.Conversation) *work {
	w := &work{
		Conversation: c,
		demand:       demand{key: call.Caller.KeyID, project: call.Caller.ProjectID, system: c.System, request: call.RequestID, model: call.Model},
		settings: claudecli.Settings{
			System: c.System, Model: call.Model, ThinkingTokens: c.ThinkingTokens, MaxTokens: call.OutputLimit(), Bounded: call.MaxTokens > 0,
			Tools: c.Tools, ToolChoice: c.ToolChoice, Effort: c.Effort, Format: c.Format,
		},
	}
	w.history = newHistory(w.demand.key, call.Model, c.System, c.Tools)
	last := len(c.Turns) - 1
	for _, turn := range c.Turns[:last] {
		w.history.add(turn)
	}
	w.before = w.history.sum()
	w.history.add(c.Turns[last])
	w.results = resultsOf(c.Turns[last])
	_, w.answered, _ = pairsOf(c.Turns[last]) // checkPairs has read it
	return w
}

// continues says that a worker which holds k can go on with the request.
func (w *work) continues(k *kept) bool {
	if k.key != w.demand.key || k.before != w.before {
		return false
	}
	return !k.parked() || len(w.results) == len(k.calls) &&
		!slices.ContainsFunc(w.results, func(r claudecli.ToolResult) bool { return !slices.Contains(k.calls, r.ID) })
}

// overtakes says that the request brings results for which a worker waits, and
// that the worker can't go on with it: the history, or what came with the results,
// is another.
func (w *work) overtakes(k *kept) bool {
	return k.parked() && k.key == w.demand.key && !w.continues(k) &&
		slices.ContainsFunc(w.answered, func(id string) bool { return slices.Contains(k.calls, id) })
}

// resultsOf gives the results of a turn that is nothing but results, else nil.
func resultsOf(turn message.Turn) []claudecli.ToolResult {
	if turn.Content.Kind() != '[' {
		return nil
	}
	var blocks []struct {
		Type      string         `json:"type"`
		ToolUseID string         `json:"tool_use_id"`
		Content   jsontext.Value `json:"content"`
		IsError   bool           `json:"is_error"`
	}
	if json.Unmarshal(turn.Content, &blocks) != nil {
		return nil
	}
	results := make([]claudecli.ToolResult, 0, len(blocks))
	for _, b := range blocks {
		if b.Type != "tool_result" || b.ToolUseID == "" {
			return nil
		}
		results = append(results, claudecli.ToolResult{ID: b.ToolUseID, Content: b.Content, IsError: b.IsError})
	}
	return results
}

// acceptable refuses content blocks of tools that run at the API, and takes out
// cache markers: the CLI sets its own, and there is a limit on their number.
func acceptable(field string, content jsontext.Value) (jsontext.Value, error) {
	if content.Kind() != '[' {
		return content, nil
	}
	var blocks []map[string]jsontext.Value
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil, apierror.Wrap(apierror.BadRequest, field+": wrong type", err)
	}
	changed := false
	for i, block := range blocks {
		field := fmt.Sprintf("%s.%d", field, i)
		switch string(block["type"]) {
		case `"server_tool_use"`, `"mcp_tool_use"`, `"web_search_tool_result"`:
			return nil, apierror.Invalid(field+".type", "%s.type: tools that run at the API can't be used on the CLI backend", field)
		case `"tool_use"`:
			if err := checkToolUse(field, block); err != nil {
				return nil, err
			}
		case `"tool_result"`:
			if block["tool_use_id"].Kind() != '"' {
				return nil, apierror.Invalid(field+".tool_use_id", "%s.tool_use_id: field required", field)
			}
			inner, err := acceptable(field+".content", block["content"])
			if err != nil {
				return nil, err
			}
			if len(inner) != len(block["content"]) {
				block["content"] = inner
				changed = true
			}
		}
		if _, ok := block["cache_control"]; ok {
			delete(block, "cache_control")
			changed = true
		}
	}
	if !changed {
		return content, nil
	}
	return json.Marshal(blocks, json.Deterministic(true))
}

func checkToolUse(field string, block map[string]jsontext.Value) error {
	var err error
	for name, kind := range map[string]jsontext.Kind{"id": '"', "name": '"', "input": '{'} {
		if block[name].Kind() != kind {
			err = errors.Join(err, apierror.Invalid(field+"."+name, "%s.%s: field required", field, name))
		}
	}
	return err
}
