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

// Observe takes from an event what the summary keeps. Only message_start and
// message_delta carry any; other events cost one comparison.
func (s *Summary) Observe(e Event) error {
	switch e.Type {
	case EventMessageStart:
		var data struct {
			Message struct {
				ID    string     `json:"id"`
				Model string     `json:"model"`
				Usage usagePatch `json:"usage"`
			} `json:"message"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return err
		}
		s.ID, s.Model = data.Message.ID, data.Message.Model
		data.Message.Usage.apply(&s.Usage)
	case EventMessageDelta:
		var data struct {
			Delta struct {
				StopReason string `json:"stop_reason"`
			} `json:"delta"`
			Usage usagePatch `json:"usage"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			return err
		}
		if data.Delta.StopReason != "" {
			s.StopReason = data.Delta.StopReason
		}
		data.Usage.apply(&s.Usage)
	}
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
