package agent

import (
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// block is a content block as far as a prompt is made of it.
type block struct {
	Type    string         `json:"type"`
	Text    string         `json:"text"`
	Name    string         `json:"name"`
	Input   jsontext.Value `json:"input"`
	Content jsontext.Value `json:"content"`
}

// promptOf makes one prompt of a conversation: the last message as it is, and in front
// of it, as a text, what was said before.
func promptOf(turns []message.Turn) jsontext.Value {
	last := turns[len(turns)-1].Content
	if len(turns) == 1 {
		return last
	}
	p := &prompt{}
	p.text("The conversation so far:\n")
	for _, turn := range turns[:len(turns)-1] {
		p.text("\n<" + turn.Role + ">\n")
		p.content(turn.Content)
		p.text("\n</" + turn.Role + ">\n")
	}
	p.text("\nThe user's next message, which is to be answered:\n")
	p.flush()
	if last.Kind() == '"' {
		last = textBlock(last)
	}
	p.blocks = append(p.blocks, elements(last)...)
	whole, _ := json.Marshal(p.blocks) // values that were read as JSON
	return whole
}

// prompt is one under way: finished blocks, and a text that grows.
type prompt struct {
	blocks  []jsontext.Value
	growing strings.Builder
}

func (p *prompt) text(s string) { p.growing.WriteString(s) }

func (p *prompt) flush() {
	quoted, _ := jsontext.AppendQuote(nil, p.growing.String()) // invalid UTF-8 becomes U+FFFD
	p.blocks = append(p.blocks, elements(textBlock(quoted))...)
	p.growing.Reset()
}

// content adds a message: its texts, what tools were called and said, and images and
// documents as they are.
func (p *prompt) content(content jsontext.Value) {
	if content.Kind() == '"' {
		p.text(unquote(content))
		return
	}
	for _, raw := range elements(content) {
		var b block
		_ = json.Unmarshal(raw, &b) // a block whose members are of other types is passed on as it is
		switch b.Type {
		case "text":
			p.text(b.Text)
		case "thinking", "redacted_thinking":
		case "tool_use":
			p.text("[called " + b.Name + " with " + string(b.Input) + "]")
		case "tool_result":
			p.text("[result: " + unquote(b.Content) + "]")
		default:
			p.flush()
			p.blocks = append(p.blocks, raw)
		}
	}
}

// textBlock makes content of one text.
func textBlock(quoted jsontext.Value) jsontext.Value {
	return append(append([]byte(`[{"type":"text","text":`), quoted...), "}]"...)
}

// elements are the content blocks of content that was checked.
func elements(content jsontext.Value) (blocks []jsontext.Value) {
	_ = json.Unmarshal(content, &blocks)
	return blocks
}

// unquote gives a text, and of anything else its JSON.
func unquote(v jsontext.Value) string {
	var text string
	if v.Kind() == '"' && json.Unmarshal(v, &text) == nil {
		return text
	}
	return string(v)
}
