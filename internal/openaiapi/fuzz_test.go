package openaiapi

import (
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/sse"
)

// chunk is what a client reads of a chunk; it fails on fields of a wrong kind.
type chunk struct {
	ID      string `json:"id"`
	Choices []struct {
		Delta struct {
			Content   string `json:"content"`
			Reasoning string `json:"reasoning_content"`
			ToolCalls []struct {
				Index    int    `json:"index"`
				ID       string `json:"id"`
				Function struct {
					Name      string `json:"name"`
					Arguments string `json:"arguments"`
				} `json:"function"`
			} `json:"tool_calls"`
		} `json:"delta"`
		FinishReason *string `json:"finish_reason"`
	} `json:"choices"`
	Usage *struct {
		Total int64 `json:"total_tokens"`
	} `json:"usage"`
}

// Whatever the upstream sends, a client gets well-formed chunks.
func FuzzStream(f *testing.F) {
	f.Add([]byte(`{"message":{"id":"msg_1","model":"m\""}}`), []byte(`{"content_block":{"type":"tool_use","id":"t","name":"n","input":{"a":1}}}`), []byte(`{"delta":{"type":"text_delta","text":"a\n"}}`))
	f.Add([]byte(`{"message":{}}`), []byte(`{"content_block":{"type":"tool_use"}}`), []byte(`{"delta":{"type":"input_json_delta","partial_json":"{"}}`))
	f.Add([]byte(`{"message":{"id":1,"model":null}}`), []byte(`{"content_block":{"type":"text","text":{}}}`), []byte(`{"delta":{"type":"thinking_delta","thinking":[""]}}`))
	f.Add([]byte(`{"message":{"id":"msg_1","usage":{"service_tier":"standard","output_tokens_details":{"thinking_tokens":"x"}}}}`), []byte("{\"content_block\":{\"type\":\"text\",\"text\":\"```json\\n{\"}}"), []byte("{\"delta\":{\"type\":\"text_delta\",\"text\":\"}\\n```\",\"stop_details\":{\"explanation\":\"\\\"\"}},\"usage\":{\"service_tier\":1}}"))
	f.Fuzz(func(t *testing.T, start, block, delta []byte) {
		checkStream(t, nil, start, block, delta)
		checkStream(t, &protocol.Fence{}, start, block, delta)
	})
}

func checkStream(t *testing.T, fence *protocol.Fence, start, block, delta []byte) {
	w := httptest.NewRecorder()
	call := &gateway.Call{Clock: latency.Start(), Caller: &gateway.Caller{}}
	s := newStreamWriter(w, call, 1, true)
	s.fence = fence
	for _, e := range []message.Event{
		{Type: message.EventMessageStart, Data: start}, {Type: message.EventPing},
		{Type: message.EventContentBlockStart, Data: block}, {Type: message.EventContentBlockDelta, Data: delta},
		{Type: message.EventContentBlockStop}, {Type: message.EventMessageDelta, Data: delta},
	} {
		if err := s.Event(e); err != nil && apierror.From(err).Category != apierror.UpstreamError {
			t.Fatal(err)
		}
	}
	if err := s.End(gateway.Result{}); err != nil {
		t.Fatal(err)
	}
	last := ""
	for events := sse.NewReader(bytes.NewReader(w.Body.Bytes()), 1<<20); ; {
		frame, err := events.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if last = string(frame.Data); last == "[DONE]" {
			continue
		}
		var c chunk
		if err := json.Unmarshal(frame.Data, &c); err != nil || !jsontext.Value(frame.Data).IsValid() {
			t.Fatalf("%s: %v", frame.Data, err)
		}
	}
	if last != "[DONE]" {
		t.Fatalf("the stream ends with %s", last)
	}
}

// Whatever the upstream answers, a client gets a well-formed answer.
func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"id":"msg_1","model":"m","stop_reason":"end_turn","content":[{"type":"text","text":"a\n"}],"usage":{"service_tier":"standard"}}`))
	f.Add([]byte(`{"id":"msg_1","stop_details":{"explanation":"x"},"content":[{"type":"thinking","thinking":"hm"},{"type":"tool_use","id":"t","name":"n","input":{"a":[1]}}],"usage":{"output_tokens_details":{"thinking_tokens":7}}}`))
	f.Add([]byte("{\"content\":[{\"type\":\"text\",\"text\":\"```json\\n{}\\n```\"},{\"type\":\"odd\",\"id\":[]}],\"usage\":7,\"stop_details\":[]}"))
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, unfence := range []bool{false, true} {
			w := httptest.NewRecorder()
			call := &gateway.Call{Clock: latency.Start(), Caller: &gateway.Caller{}}
			out := &wholeWriter{call: call, scanners: &protocol.Scanners{}, w: w, unfence: unfence}
			if err := out.Message(body); err != nil {
				if apierror.From(err).Category != apierror.UpstreamError {
					t.Fatal(err)
				}
				return
			}
			if err := out.End(gateway.Result{}); err != nil {
				t.Fatal(err)
			}
			if !jsontext.Value(w.Body.Bytes()).IsValid() {
				t.Fatalf("%s became %s", body, w.Body)
			}
		}
	})
}
