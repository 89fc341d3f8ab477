package responsesapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/sse"
)

// Whatever a caller sends is refused as the caller's fault, or becomes a valid
// Messages request; and what is kept of it can be read again and says the same.
func FuzzDecode(f *testing.F) {
	for _, seed := range []string{
		`{"model":"haiku","input":"hi"}`,
		`{"input":[{"role":"user","content":[{"type":"input_text","text":"a\u0000\ud83d\ude00"}]},{"id":null,"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"x"}]}`,
		`{"input":[{"type":"reasoning","id":"","summary":[],"encrypted_content":"claude-thinking-1.eyJ0eXBlIjoicmVkYWN0ZWRfdGhpbmtpbmciLCJkYXRhIjoieCJ9"},{"role":"developer","content":"d"},{"id":"m","role":"assistant","content":"x"}]}`,
		`{"input":"x","tools":[{"type":"function","name":"f","strict":true,"parameters":{"type":"object","properties":{"a":{"oneOf":[{"minimum":1}]}}}}],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"f"}]}}`,
		`{"input":"x","text":{"format":{"type":"json_schema","schema":{}}},"reasoning":{"effort":"high","summary":"auto"},"max_output_tokens":3000,"metadata":{"a":"b"},"temperature":0.1}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		c := &request{}
		err := c.decode(protocol.NewScanner(body))
		if err != nil {
			if apierror.From(err).Category != apierror.BadRequest {
				t.Fatal(err)
			}
			return
		}
		own := c.input.items
		for _, it := range own {
			if it.reference != "" {
				return // there is no archive here
			}
		}
		talk, err := c.join(nil, own)
		if err != nil {
			return
		}
		turns, system := string(talk.turns), len(talk.system)
		r, _, err := c.translate(&talk, &message.Rules{})
		if err != nil {
			if apierror.From(err).Category != apierror.BadRequest {
				t.Fatal(err)
			}
			return
		}
		if !jsontext.Value(r.Body()).IsValid() {
			t.Fatalf("%s became %s", body, r.Body())
		}

		answer := &response{request: c, id: newID(), inputs: len(own)}
		answer.add(outItem{kind: kindMessage, text: []byte("x")})
		answer.finish(statusCompleted)
		object := answer.append(nil, state{status: statusCompleted})
		if bytes.ContainsAny(object, "\n\r") || !jsontext.Value(object).IsValid() {
			t.Fatalf("the response is %s", object)
		}
		document := appendKept(nil, answer, object, nil, own)
		k, err := readKept(document)
		if err != nil {
			t.Fatalf("%v\n%s", err, document)
		}
		c.instructions = nil
		again, err := c.join(k.reader.items[:k.inputs], nil)
		if err != nil || string(again.turns) != turns || len(again.system) > system {
			t.Fatalf("%v\n%s\nbecame %s", err, turns, again.turns)
		}
		for _, it := range k.reader.items {
			if it.id == "" {
				t.Fatalf("an item without an id: %s", it.raw)
			}
		}
	})
}

// Whatever the upstream sends, a client gets well-formed events, numbered from
// zero.
func FuzzStream(f *testing.F) {
	f.Add([]byte(`{"message":{"id":"msg_1","model":"m\""}}`), []byte(`{"content_block":{"type":"tool_use","id":"t","name":"n","input":{"a":1}}}`), []byte(`{"delta":{"type":"text_delta","text":"a\n"}}`))
	f.Add([]byte(`{"message":{}}`), []byte(`{"content_block":{"type":"tool_use"}}`), []byte(`{"delta":{"type":"input_json_delta","partial_json":"{"}}`))
	f.Add([]byte(`{"message":{"id":1,"model":null}}`), []byte(`{"content_block":{"type":"text","text":{}}}`), []byte(`{"delta":{"type":"thinking_delta","thinking":[""]}}`))
	f.Add([]byte(`{}`), []byte(`{"content_block":{"type":"thinking","thinking":"x"}}`), []byte(`{"delta":{"type":"signature_delta","signature":"s","stop_details":{"explanation":"no"}},"usage":{"output_tokens_details":{"thinking_tokens":1}}}`))
	f.Fuzz(func(t *testing.T, start, block, delta []byte) {
		w := httptest.NewRecorder()
		call := &gateway.Call{Clock: latency.Start(), Caller: &gateway.Caller{}}
		answer := &response{request: &request{encrypted: true}, id: newID()}
		keeper := keeper{handler: &Handler{archive: checked{t: t}}, ctx: t.Context(), call: call}
		s := newStreamWriter(w, call, answer, keeper, time.Now)
		for _, e := range []message.Event{
			{Type: message.EventMessageStart, Data: start}, {Type: message.EventPing},
			{Type: message.EventContentBlockStart, Data: block}, {Type: message.EventContentBlockDelta, Data: delta},
			{Type: message.EventContentBlockStop}, {Type: message.EventContentBlockStart, Data: block}, {Type: message.EventMessageDelta, Data: delta},
		} {
			if err := s.Event(e); err != nil && apierror.From(err).Category != apierror.UpstreamError {
				t.Fatal(err)
			}
		}
		if err := s.End(result(message.StopRefusal)); err != nil {
			t.Fatal(err)
		}
		n, last := int64(0), ""
		for events := sse.NewReader(bytes.NewReader(w.Body.Bytes()), 1<<20); ; n++ {
			frame, err := events.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			var event struct {
				Type   string `json:"type"`
				Number int64  `json:"sequence_number"`
			}
			if err := json.Unmarshal(frame.Data, &event); err != nil || !jsontext.Value(frame.Data).IsValid() {
				t.Fatalf("%s: %v", frame.Data, err)
			}
			if event.Type != string(frame.Event) || event.Number != n {
				t.Fatalf("event %d is %s %s", n, frame.Event, frame.Data)
			}
			last = event.Type
		}
		if last != "response.incomplete" {
			t.Fatalf("the stream ends with %s", last)
		}
	})
}

// checked is an archive that only looks at what it is to keep.
type checked struct {
	Archive
	t *testing.T
}

func (c checked) Put(_ context.Context, _, _, _ string, _ time.Duration, body []byte) error {
	if _, err := readKept(body); err != nil || !jsontext.Value(body).IsValid() {
		c.t.Errorf("to be kept: %s: %v", body, err)
	}
	return nil
}

func result(stopReason string) gateway.Result {
	return gateway.Result{Summary: message.Summary{StopReason: stopReason}}
}
