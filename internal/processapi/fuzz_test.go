package processapi

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
	"claude-code-api-service/internal/sse"
)

// Whatever the upstream sends, a client gets well-formed events, and done last.
func FuzzStream(f *testing.F) {
	f.Add([]byte(`{"message":{"model":"m\""}}`), []byte(`{"content_block":{"type":"tool_use","id":"t","name":"n","input":{"a":1}}}`), []byte(`{"delta":{"type":"text_delta","text":"a\n"}}`))
	f.Add([]byte(`{"message":{}}`), []byte(`{"content_block":{"type":"tool_use"}}`), []byte(`{"delta":{"type":"input_json_delta","partial_json":"{"}}`))
	f.Add([]byte(`{"message":{"model":null}}`), []byte(`{"content_block":{"type":"thinking","thinking":{}}}`), []byte(`{"delta":{"type":"signature_delta","signature":[""]}}`))
	f.Add([]byte(`{}`), []byte(`{"content_block":{"type":"text","text":"x"}}`), []byte(`{"delta":{"type":"citations_delta","citation":1}}`))
	f.Add([]byte(`{}`), []byte(`{"content_block":{"type":"text"}}`), []byte(`{"delta":{"type":"citations_delta"}}`))
	f.Fuzz(func(t *testing.T, start, block, delta []byte) {
		w := httptest.NewRecorder()
		call := &gateway.Call{Clock: latency.Start(), Caller: &gateway.Caller{}}
		s := newStreamWriter(w, call, asked{provider: "p", model: "m"})
		for _, e := range []message.Event{
			{Type: message.EventMessageStart, Data: start}, {Type: message.EventPing},
			{Type: message.EventContentBlockStart, Data: block}, {Type: message.EventContentBlockDelta, Data: delta}, {Type: message.EventContentBlockDelta, Data: delta},
			{Type: message.EventContentBlockStop},
		} {
			if bytes.ContainsAny(e.Data, "\r\n") {
				t.Skip("an event is one line")
			}
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
			last = string(frame.Event)
			var told struct {
				Type    string `json:"type"`
				Content string `json:"content"`
			}
			if err := json.Unmarshal(frame.Data, &told); err != nil || !jsontext.Value(frame.Data).IsValid() || told.Type != last {
				t.Fatalf("%s: %s: %v", last, frame.Data, err)
			}
		}
		if last != "done" {
			t.Fatalf("the stream ends with %s", last)
		}
	})
}
