package claudecli

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// userLine is one line of input that carries a message.
type userLine struct {
	Type        string       `json:"type"`
	Message     message.Turn `json:"message"`
	UUID        string       `json:"uuid,omitempty"`
	ParentTool  *string      `json:"parent_tool_use_id"`
	ShouldQuery *bool        `json:"shouldQuery,omitempty"`
}

// Replay puts earlier turns of a conversation into the process's context with
// their roles, without asking the model. Each user turn is waited for: the CLI
// reorders lines that come too fast.
func (p *Process) Replay(ctx context.Context, turns []message.Turn) error {
	for _, turn := range turns {
		var err error
		if turn.Role == message.RoleUser {
			err = p.addUser(ctx, turn.Content)
		} else {
			err = p.addAssistant(ctx, turn.Content)
		}
		if err != nil {
			p.broken = err
			return asCLIError("the Claude Code CLI didn't take the conversation", err)
		}
	}
	return nil
}

func (p *Process) addUser(ctx context.Context, content jsontext.Value) error {
	no := false
	defer p.guard(ctx, p.options.ControlTimeout)()
	if err := p.writeUser(ctx, content, &no); err != nil {
		return err
	}
	_, err := p.awaitResult(ctx)
	return err
}

// writeUser sends a message of the user, as text whatever it holds.
func (p *Process) writeUser(ctx context.Context, content jsontext.Value, shouldQuery *bool) error {
	content, err := asText(content)
	if err != nil {
		return err
	}
	return p.writePrompt(ctx, content, shouldQuery)
}

// asText keeps the CLI from running a message that begins with a slash as one of
// its commands, whose settings would stay for the next request (/model,
// /effort): it puts a space in front.
func asText(content jsontext.Value) (jsontext.Value, error) {
	if content.Kind() == '"' {
		var text string
		if err := json.Unmarshal(content, &text); err != nil {
			return nil, fmt.Errorf("decode message: %w", err)
		}
		if !strings.HasPrefix(text, "/") {
			return content, nil
		}
		return json.Marshal(" " + text)
	}
	var blocks []textBlock
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	if !slices.ContainsFunc(blocks, textBlock.isCommand) {
		return content, nil
	}
	var whole []map[string]jsontext.Value
	if err := json.Unmarshal(content, &whole); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	for i, b := range blocks {
		if b.isCommand() {
			quoted, err := json.Marshal(" " + b.Text)
			if err != nil {
				return nil, fmt.Errorf("encode message: %w", err)
			}
			whole[i]["text"] = quoted
		}
	}
	return json.Marshal(whole, json.Deterministic(true))
}

// textBlock is a content block as far as its text goes.
type textBlock struct {
	Text string `json:"text"`
}

func (b textBlock) isCommand() bool { return strings.HasPrefix(b.Text, "/") }

// writePrompt sends a user line. Ids are random: the CLI compares them by their
// first characters.
func (p *Process) writePrompt(ctx context.Context, content jsontext.Value, shouldQuery *bool) error {
	id := NewUUID()
	p.buffer.Reset()
	err := appendLine(&p.buffer, userLine{
		Type: "user", Message: message.Turn{Role: message.RoleUser, Content: content}, UUID: id, ShouldQuery: shouldQuery,
	})
	if err != nil {
		return err
	}
	if err := p.write(p.buffer.Bytes()); err != nil {
		return p.timedOut(ctx, err)
	}
	if holdsResult(content) {
		id = "" // the CLI doesn't go back into the middle of a tool call
	}
	p.prompts = append(p.prompts, id)
	p.running = true
	return nil
}

// holdsResult says that a message of the user holds a tool's result.
func holdsResult(content jsontext.Value) bool {
	if content.Kind() != '[' || !bytes.Contains(content, []byte(`"tool_result"`)) {
		return false
	}
	var blocks []struct {
		Type string `json:"type"`
	}
	if err := json.Unmarshal(content, &blocks); err != nil {
		return false
	}
	for _, b := range blocks {
		if b.Type == "tool_result" {
			return true
		}
	}
	return false
}

func (p *Process) addAssistant(ctx context.Context, content jsontext.Value) error {
	if content.Kind() == '"' {
		// The CLI takes an assistant's content as blocks.
		content = jsontext.Value(`[{"type":"text","text":` + string(content) + `}]`)
	}
	content, err := prefixCalls(content)
	if err != nil {
		return err
	}
	type assistantMessage struct {
		ID      string         `json:"id"`
		Role    string         `json:"role"`
		Content jsontext.Value `json:"content"`
	}
	p.buffer.Reset()
	// Without an id of its own each, 2.1.197 makes one message of those that have
	// only tool results between them.
	err = appendLine(&p.buffer, struct {
		Type    string           `json:"type"`
		Message assistantMessage `json:"message"`
	}{"assistant", assistantMessage{"msg_" + NewUUID(), message.RoleAssistant, content}})
	if err != nil {
		return err
	}
	defer p.guard(ctx, p.options.ControlTimeout)()
	if err := p.write(p.buffer.Bytes()); err != nil {
		return p.timedOut(ctx, err)
	}
	return nil
}

// awaitResult reads until the result of what was sent last. The guard must be
// on.
func (p *Process) awaitResult(ctx context.Context) (*resultLine, error) {
	for {
		l, err := p.read()
		if err != nil {
			return nil, p.timedOut(ctx, err)
		}
		switch l.Type {
		case lineResult:
			return p.result(l)
		case lineControlRequest:
			if err := p.serve(l); err != nil {
				return nil, p.timedOut(ctx, err)
			}
		}
	}
}

// NewUUID makes a random UUID (RFC 9562, version 4), the CLI's form of ids: of user
// lines, and of sessions.
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// drainTimeout bounds the wait for the end of an interrupted turn; it takes
// about 31 ms.
const drainTimeout = 2 * time.Second

// endOfPrompt is the last block of every prompt of an Agent.
const endOfPrompt = `{"type":"text","text":"<system-reminder>\nThe user's message ends here.\n</system-reminder>"}`

// withoutMentions keeps the CLI from replacing an @path in a prompt by that file's
// content, past all permission: it looks for them in the last block only. What an
// Agent can't do without, its skills and the CLAUDE.md of folders that it reads, comes
// by the same way as such files, so that can't be switched off as for a Process.
func withoutMentions(content jsontext.Value) (jsontext.Value, error) {
	if content.Kind() == '"' {
		return slices.Concat([]byte(`[{"type":"text","text":`), content, []byte(`},`+endOfPrompt+`]`)), nil
	}
	var blocks []jsontext.Value
	if err := json.Unmarshal(content, &blocks); err != nil {
		return nil, fmt.Errorf("decode message: %w", err)
	}
	return json.Marshal(append(blocks, jsontext.Value(endOfPrompt)))
}
