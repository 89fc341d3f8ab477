package claudecli

import (
	"bytes"
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

// How a bounded answer stays within what was reserved for it. Its max_tokens is
// set; but after an answer that max_tokens has cut the CLI asks its upstream to
// resume, up to three times, and begins to before an interrupt comes. So, as soon
// as the answer begins, the CLI is told of an upstream that isn't there: the call
// that runs goes on, another one fails without leaving the machine. The next
// request, or the emptying, gives the upstream back.
//
// What is left is an answer so short that it ends within the few milliseconds which
// that takes: then the call that the CLI begins is interrupted, and what the CLI
// counts of it is in the turn's account.

const (
	envBaseURL = "ANTHROPIC_BASE_URL"
	// nowhere has no port that anybody could listen on. With https a proxy that the
	// operator has put in between isn't told the credential either.
	nowhere = "https://127.0.0.1:0"
)

// upstream is the base URL that a process is started with, "" for the CLI's own.
func (o *Options) upstream() string {
	url := o.BaseURL
	for _, pair := range o.Env { // it stands behind in the environment
		if value, ok := strings.CutPrefix(pair, envBaseURL+"="); ok {
			url = value
		}
	}
	return url
}

// bar keeps the CLI from calling its upstream again, if the answer is bounded. It
// doesn't wait: what the CLI says to it is skipped with the turn's other lines.
// Where it fails the turn is what it would be without it.
func (p *Process) bar() {
	if !p.bound.Bounded || !p.options.Features.OneCall || p.barred {
		return
	}
	p.requests++
	p.buffer.Reset()
	if appendControl(&p.buffer, p.requests, control{
		Subtype: "apply_flag_settings", Settings: &settings{Env: map[string]string{envBaseURL: nowhere}},
	}) != nil {
		return
	}
	// The turn's own deadline may have passed while the upstream thought.
	_ = p.stdin.SetWriteDeadline(time.Now().Add(p.options.ControlTimeout)) // a closed pipe says so at the write
	p.barred = p.write(p.buffer.Bytes()) == nil
}

// basis says what the CLI's figures for a model rest on.
func (c *child) basis(model string) CostBasis {
	switch c.models[model].CostBasis {
	case "":
		return BasisNotSaid
	case basisUnknown:
		return BasisUnknown
	}
	return BasisList
}

// estimate counts an answer that was broken off: its upstream tells how many tokens
// it has at its end only, and before that "1". 2.1.331 makes an estimate of its own,
// 2.1.197 none.
func (t *turn) estimate() {
	tokens := message.EstimateTokens(t.written)
	if most := t.bound.MaxTokens; most > 0 {
		tokens = min(tokens, most)
	}
	t.answer.Usage.OutputTokens = max(t.answer.Usage.OutputTokens, tokens)
}

// deltaBytes is about how many bytes of an answer a content_block_delta holds. A
// signature is nothing that the model has written.
func deltaBytes(event []byte) int64 {
	const around = len(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":""}}`)
	if len(event) <= around || bytes.Contains(event[:around], []byte(`"signature_delta"`)) {
		return 0
	}
	return int64(len(event) - around)
}

// meter stops a bounded answer where its max_tokens can't be set. How many tokens
// an answer has is known at its end only; before that, it has at most as many as
// its texts have bytes. So it is stopped when they have as many bytes as tokens
// were reserved: at about a third of these, in English. A thinking of which the
// upstream shows only a summary is counted by the summary.
type meter struct {
	left int64 // bytes
	cut  bool  // nothing is left
	// open is the content block that is being written: its number and, of a text,
	// what was written of it.
	open  int
	isOne bool // there is one
	text  strings.Builder
}

// newMeter gives the meter of the next answer, nil where none is needed.
func (p *Process) newMeter() *meter {
	if !p.bound.Bounded || p.options.Features.LiveSettings {
		return nil
	}
	return &meter{left: p.bound.MaxTokens}
}

func (m *meter) observe(e message.Event) error {
	var data struct {
		Index int `json:"index"`
		Delta struct {
			Text        string `json:"text"`
			Thinking    string `json:"thinking"`
			PartialJSON string `json:"partial_json"`
		} `json:"delta"`
	}
	switch e.Type {
	case message.EventContentBlockStart, message.EventContentBlockDelta:
	case message.EventContentBlockStop:
		m.isOne = false
		return nil
	default:
		return nil
	}
	if err := json.Unmarshal(e.Data, &data, lenient); err != nil {
		return err
	}
	if e.Type == message.EventContentBlockStart {
		m.open, m.isOne = data.Index, true
		m.text.Reset()
		return nil
	}
	m.left -= int64(len(data.Delta.Text) + len(data.Delta.Thinking) + len(data.Delta.PartialJSON))
	m.text.WriteString(data.Delta.Text)
	m.cut = m.left <= 0
	return nil
}

// closeCut ends an answer that its meter has cut as the Messages API ends one that
// max_tokens cuts. A block that isn't a text is left out of the whole answer.
func (t *turn) closeCut() error {
	t.answer.StopReason = message.StopMaxTokens
	if t.meter.isOne && t.meter.text.Len() > 0 {
		text, err := json.Marshal(t.meter.text.String(), jsontext.AllowInvalidUTF8(true))
		if err != nil {
			return fmt.Errorf("encode answer: %w", err)
		}
		t.answer.Content = append(t.answer.Content, jsontext.Value(`{"type":"text","text":`+string(text)+`}`))
	}
	if t.handler.Event == nil {
		return nil
	}
	if t.meter.isOne {
		stop := fmt.Appendf(nil, `{"type":"content_block_stop","index":%d}`, t.meter.open)
		if err := t.handler.Event(message.Event{Type: message.EventContentBlockStop, Data: stop}); err != nil {
			return err
		}
	}
	delta := fmt.Appendf(nil, `{"type":"message_delta","delta":{"stop_reason":"max_tokens","stop_sequence":null},"usage":{"output_tokens":%d}}`,
		t.answer.Usage.OutputTokens)
	if err := t.handler.Event(message.Event{Type: message.EventMessageDelta, Data: delta}); err != nil {
		return err
	}
	return t.handler.Event(message.Event{Type: message.EventMessageStop, Data: []byte(`{"type":"message_stop"}`)})
}
