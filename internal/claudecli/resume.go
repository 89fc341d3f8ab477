package claudecli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// ErrNotResumed means that a parked turn doesn't go on: the results, or the
// settings that came with them, aren't such that it could. Nothing has reached the
// caller. The request can be served by replaying its history, tool_use and
// tool_result blocks included, into an emptied process.
var ErrNotResumed = errors.New("the parked turn can't go on")

// errParked means that the caller should have resumed or emptied the process.
var errParked = errors.New("a prompt for a parked process")

// ToolResult is what a client's tool gave back.
type ToolResult struct {
	ID string // of the call: tool_use_id
	// Content is as in a tool_result block: a string, an array of content blocks, or
	// nil.
	Content jsontext.Value
	IsError bool
}

// Parked says that the process is in the middle of a turn whose last answer ended
// in calls of the client's tools: Resume goes on with it. It stays so until then,
// or until Empty; nothing is read from the process meanwhile.
func (p *Process) Parked() bool { return len(p.parked) > 0 && p.broken == nil }

// Resume gives a parked turn the results of its calls, one for each and no
// others, and reads the turn's next answer, which may park again. Of the settings,
// MaxTokens, ToolChoice, Effort, Format and what the tools say of themselves may be
// others than before.
//
// An error that wraps ErrNotResumed leaves the request to be served by a replay;
// this process must be emptied. Other errors, and the handler, are as in Turn; a
// process that died while it was parked gives one that wraps ErrDied, with nothing
// known in the Answer.
func (p *Process) Resume(ctx context.Context, s Settings, results []ToolResult, handler Handler) (Answer, error) {
	answers, err := p.resumable(s, results)
	if err != nil {
		return Answer{}, fmt.Errorf("%w: %w", ErrNotResumed, err)
	}
	p.resumed = true
	t := &turn{Process: p, handler: handler}
	return t.run(ctx, func() error { return t.resume(ctx, s, answers) })
}

// resumable checks that the turn can go on with the results, and encodes them.
func (p *Process) resumable(s Settings, results []ToolResult) (map[string]any, error) {
	switch {
	case !p.Parked():
		return nil, errors.New("the process isn't parked")
	case s.System != p.bound.System || s.Model != p.bound.Model || s.ThinkingTokens != p.bound.ThinkingTokens:
		return nil, errors.New("the system prompt, model or thinking has changed")
	case !slices.Equal(toolNames(s.Tools), p.offered):
		return nil, errors.New("the tools have changed")
	case len(results) != len(p.parked):
		return nil, fmt.Errorf("%d results for %d calls", len(results), len(p.parked))
	}
	answers := make(map[string]any, len(results))
	for _, r := range results {
		if !slices.Contains(p.parked, r.ID) {
			return nil, errors.New("a result for a call that isn't open")
		}
		answer, err := r.rpc()
		if err != nil {
			return nil, err
		}
		answers[r.ID] = answer
	}
	if len(answers) != len(p.parked) {
		return nil, errors.New("two results for one call")
	}
	return answers, nil
}

// resume sends what the CLI waits for. It may ask for the other calls later: they
// are answered as they come.
func (t *turn) resume(ctx context.Context, s Settings, answers map[string]any) error {
	if err := t.bindModel(ctx, s, nil); err != nil {
		t.broken = err
		return asCLIError("the Claude Code CLI refused the request's settings", err)
	}
	t.bound = s
	t.parked, t.results = nil, answers
	calls := t.calls
	t.calls, t.announced = nil, nil
	defer t.guard(ctx, t.options.ControlTimeout)()
	for _, call := range calls {
		answer := answers[call.toolUseID]
		delete(answers, call.toolUseID)
		if err := t.reply(call, answer); err != nil {
			return t.timedOut(ctx, err)
		}
	}
	return nil
}

// rpcContent is a block of a tool's result in the Model Context Protocol.
type rpcContent struct {
	Type     string `json:"type"`
	Text     string `json:"text,omitempty"`
	Data     string `json:"data,omitempty"`
	MIMEType string `json:"mimeType,omitempty"`
}

type rpcResult struct {
	Content []rpcContent `json:"content"`
	IsError bool         `json:"isError,omitzero"`
}

// rpc gives the result as the CLI takes it from an MCP server. One that the CLI
// would change on its way is an error: it writes a long one to a file, puts words
// of its own for a blank one, and doesn't know documents.
func (r ToolResult) rpc() (*rpcResult, error) {
	type block struct {
		Type   string `json:"type"`
		Text   string `json:"text"`
		Source struct {
			Type      string `json:"type"`
			MediaType string `json:"media_type"`
			Data      string `json:"data"`
		} `json:"source"`
	}
	var blocks []block
	switch r.Content.Kind() {
	case '"':
		b := block{Type: "text"}
		if err := json.Unmarshal(r.Content, &b.Text); err != nil {
			return nil, fmt.Errorf("decode result: %w", err)
		}
		blocks = append(blocks, b)
	case '[':
		if err := json.Unmarshal(r.Content, &blocks); err != nil {
			return nil, fmt.Errorf("decode result: %w", err)
		}
	}
	result := &rpcResult{IsError: r.IsError}
	size, said := 0, false
	for _, b := range blocks {
		switch {
		case b.Type == "text":
			size += len(b.Text)
			said = said || strings.TrimSpace(b.Text) != ""
			result.Content = append(result.Content, rpcContent{Type: "text", Text: b.Text})
		case b.Type == "image" && b.Source.Type == "base64" && !r.IsError:
			said = true
			result.Content = append(result.Content, rpcContent{Type: "image", Data: b.Source.Data, MIMEType: b.Source.MediaType})
		default:
			return nil, fmt.Errorf("a result with a block of type %q", b.Type)
		}
	}
	switch {
	case !said:
		return nil, errors.New("a blank result")
	case size > maxResult:
		return nil, errors.New("a long result")
	}
	return result, nil
}

// park waits until the CLI waits for a call, after an answer that ended in calls.
// Where it goes on by itself instead, because it finds a call wrong or the model
// made a tool up, the turn is stopped: the client answers the calls, and its next
// request is a replay.
func (t *turn) park(ctx context.Context) error {
	for !t.invented && len(t.calls) == 0 {
		l, err := t.next(ctx)
		if err != nil {
			return err
		}
		switch {
		case l.Type == lineControlRequest:
			if err := t.serve(l); err != nil {
				return t.timedOut(ctx, err)
			}
		case l.Type == lineResult:
			_, err := t.result(l)
			return err
		case l.Type == lineStreamEvent && l.EventType == message.EventMessageStart:
			t.goesOn = true
			return nil
		}
	}
	if t.invented {
		t.goesOn = true
		return nil
	}
	for _, use := range t.uses {
		t.parked = append(t.parked, use.id)
	}
	t.answer.Calls = t.parked
	return nil
}
