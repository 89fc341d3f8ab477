package message

import (
	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// The types of the Messages API's stream events.
const (
	EventMessageStart      = "message_start"
	EventContentBlockStart = "content_block_start"
	EventContentBlockDelta = "content_block_delta"
	EventContentBlockStop  = "content_block_stop"
	EventMessageDelta      = "message_delta"
	EventMessageStop       = "message_stop"
	EventPing              = "ping"
	EventError             = "error"
)

// Event is one event of a streamed answer. Its slices are valid only until the
// call that received it returns.
type Event struct {
	Type string
	Data []byte // the event as JSON, on one line
	Raw  []byte // the event as the upstream framed it; nil when it came from elsewhere
}

// Usage counts the tokens of one answer, in the words of the Messages API.
// InputTokens leaves out what was read from or written to the cache.
type Usage struct {
	InputTokens              int64 `json:"input_tokens"`
	OutputTokens             int64 `json:"output_tokens"`
	CacheReadInputTokens     int64 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens int64 `json:"cache_creation_input_tokens"`
}

// Total is what budgets count: input and output, without the cache.
func (u Usage) Total() int64 { return u.InputTokens + u.OutputTokens }

// Prompt is everything that the model read.
func (u Usage) Prompt() int64 {
	return u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens
}

// Stop reasons of the Messages API that the service itself reads.
const (
	StopEndTurn      = "end_turn"
	StopMaxTokens    = "max_tokens"
	StopStopSequence = "stop_sequence"
	StopToolUse      = "tool_use"
	StopRefusal      = "refusal"
)

// Summary is what the service keeps of an answer: who answered, why it ended,
// and its tokens.
type Summary struct {
	ID         string
	Model      string // the model that answered
	StopReason string
	Usage      Usage
}

// Message is an answer as the Messages API gives it in one piece. Content
// blocks keep their bytes.
type Message struct {
	ID           string           `json:"id"`
	Type         string           `json:"type"` // "message"
	Role         string           `json:"role"` // "assistant"
	Model        string           `json:"model"`
	Content      []jsontext.Value `json:"content"`
	StopReason   string           `json:"stop_reason"`
	StopSequence *string          `json:"stop_sequence"`
	Usage        Usage            `json:"usage"`
}

// usagePatch tells a field that is absent from one that is zero: message_delta
// repeats only some.
type usagePatch struct {
	InputTokens              *int64 `json:"input_tokens"`
	OutputTokens             *int64 `json:"output_tokens"`
	CacheReadInputTokens     *int64 `json:"cache_read_input_tokens"`
	CacheCreationInputTokens *int64 `json:"cache_creation_input_tokens"`
}

func (p usagePatch) apply(u *Usage) {
	set := func(to *int64, from *int64) {
		if from != nil {
			*to = *from
		}
	}
	set(&u.InputTokens, p.InputTokens)
	set(&u.OutputTokens, p.OutputTokens)
	set(&u.CacheReadInputTokens, p.CacheReadInputTokens)
	set(&u.CacheCreationInputTokens, p.CacheCreationInputTokens)
}

// Observe takes from an event what the summary keeps. Only message_start and
// message_delta carry any; other events cost one comparison.
func (s *Summary) Observe(e Event) error {
	if e.Type != EventMessageStart && e.Type != EventMessageDelta {
		return nil
	}
	var data struct {
		Message struct {
			ID    string     `json:"id"`
			Model string     `json:"model"`
			Usage usagePatch `json:"usage"`
		} `json:"message"`
		Delta struct {
			StopReason string `json:"stop_reason"`
		} `json:"delta"`
		Usage usagePatch `json:"usage"`
	}
	if err := json.Unmarshal(e.Data, &data); err != nil {
		return err
	}
	if e.Type == EventMessageStart {
		s.ID, s.Model = data.Message.ID, data.Message.Model
		data.Message.Usage.apply(&s.Usage)
		return nil
	}
	if data.Delta.StopReason != "" {
		s.StopReason = data.Delta.StopReason
	}
	data.Usage.apply(&s.Usage)
	return nil
}

// Summarize reads the summary of an answer that came in one piece.
func Summarize(body []byte) (Summary, error) {
	var data struct {
		ID         string     `json:"id"`
		Model      string     `json:"model"`
		StopReason string     `json:"stop_reason"`
		Usage      usagePatch `json:"usage"`
	}
	err := json.Unmarshal(body, &data)
	s := Summary{ID: data.ID, Model: data.Model, StopReason: data.StopReason}
	data.Usage.apply(&s.Usage)
	return s, err
}
