package protocol_test

import (
	"slices"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

func TestEventReader(t *testing.T) {
	r := protocol.NewEventReader()
	for _, test := range []struct {
		name, kind, data string
		got              func() string
		want             string
	}{
		{"the start of a message", message.EventMessageStart, `{"type":"message_start","message":{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[],"usage":{"input_tokens":3,"service_tier":"standard"}}}`,
			func() string { return string(r.MessageID) + string(r.Model) + r.Details.ServiceTier + string(r.Type) }, `"msg_1""m"standard`},
		{"a call", message.EventContentBlockStart, `{"content_block":{"type":"tool_use","id":"t1","name":"n","input":{"a":1}},"index":0}`,
			func() string {
				return string(r.Kind()) + string(r.ID) + string(r.Name) + string(r.Arguments()) + string(r.Raw)
			},
			`tool_use"t1""n"{"a":1}{"type":"tool_use","id":"t1","name":"n","input":{"a":1}}`},
		{"arguments", message.EventContentBlockDelta, `{"delta":{"partial_json":"{\"","type":"input_json_delta"}}`,
			func() string { return string(r.Kind()) + string(r.PartialJSON) + string(r.Raw) + string(r.Name) }, `input_json_delta"{\""`},
		{"text", message.EventContentBlockDelta, `{"delta":{"type":"text_delta","text":"a\n"}}`, func() string { return string(r.Text) + string(r.Thinking) }, `"a\n"`},
		{"thinking", message.EventContentBlockDelta, `{"delta":{"type":"thinking_delta","thinking":"hm"}}`, func() string { return string(r.Text) + string(r.Thinking) }, `"hm"`},
		{"a signature", message.EventContentBlockDelta, `{"delta":{"type":"signature_delta","signature":"s"}}`, func() string { return string(r.Signature) }, `"s"`},
		{"redacted thinking", message.EventContentBlockStart, `{"content_block":{"type":"redacted_thinking","data":"d"}}`, func() string { return string(r.Data) }, `"d"`},
		{"a citation", message.EventContentBlockDelta, `{"delta":{"type":"citations_delta","citation":{"cited_text":"x"}}}`, func() string { return string(r.Citation) }, `{"cited_text":"x"}`},
		{"a block of another type", message.EventContentBlockStart, `{"content_block":{"type":"odd","text":{},"id":7,"name":null}}`,
			func() string {
				return string(r.Kind()) + string(r.Text) + string(r.ID) + string(r.Name) + string(r.Arguments())
			}, `odd""""""{}`},
		{"the end of a block", message.EventContentBlockStop, `{"index":0}`, func() string { return string(r.Type) + string(r.Raw) }, ""},
		{"the end of a message", message.EventMessageDelta, `{"delta":{"stop_reason":"refusal","stop_details":{"type":"refusal","explanation":"no"}},"usage":{"output_tokens":5,"output_tokens_details":{"thinking_tokens":0}}}`,
			func() string { return string(r.StopReason) + string(r.Refusal) + r.Details.ServiceTier }, `"refusal""no"standard`},
		{"a ping", message.EventPing, `{}`, func() string { return string(r.StopReason) + string(r.Refusal) }, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := r.Read(message.Event{Type: test.kind, Data: []byte(test.data)}); err != nil {
				t.Fatal(err)
			}
			if got := test.got(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
	if n := r.Details.ThinkingTokens; n == nil || *n != 0 {
		t.Errorf("thinking tokens: %v, want 0", n)
	}
	err := r.Read(message.Event{Type: message.EventContentBlockDelta, Data: []byte(`{"delta":`)})
	if e := apierror.From(err); e == nil || e.Category != apierror.UpstreamError {
		t.Errorf("a broken event: %v", err)
	}
}

func TestAnEventIsReadWithoutAllocations(t *testing.T) {
	r := protocol.NewEventReader()
	for kind, data := range map[string]string{
		message.EventContentBlockStart: `{"content_block":{"type":"tool_use","id":"t1","name":"n","input":{}},"index":0}`,
		message.EventContentBlockDelta: `{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words"}}`,
	} {
		e := message.Event{Type: kind, Data: []byte(data)}
		if n := testing.AllocsPerRun(100, func() { _ = r.Read(e) }); n != 0 {
			t.Errorf("%s: %v allocations", kind, n)
		}
	}
}

func TestReadAnswer(t *testing.T) {
	var blocks []string
	a, err := protocol.ReadAnswer(protocol.NewScanner([]byte(`{"id":"msg_1","model":"m","stop_reason":"tool_use","stop_details":{"type":"refusal","explanation":"no"},
		"usage":{"service_tier":"standard","output_tokens":9,"output_tokens_details":{"thinking_tokens":5}},"content":[
		{"type":"thinking","thinking":"hm","signature":"s"},{"type":"text","text":"a\n"},{"type":"text","text":"b"},
		{"type":"tool_use","id":"t1","name":"n","input":{"a":1}},{"type":"odd","text":{},"id":7}]}`)), func(b *protocol.Block) {
		blocks = append(blocks, string(b.Kind())+string(b.Text)+string(b.Signature)+string(b.ID)+string(b.Arguments()))
	})
	if err != nil {
		t.Fatal(err)
	}
	if a.ID != "msg_1" || a.Model != "m" || a.StopReason != "tool_use" || string(a.Text) != `a\nb` || string(a.Thinking) != "hm" || a.TextOnly {
		t.Errorf("%+v", a)
	}
	if len(a.Tools) != 1 || string(a.Tools[0].ID) != `"t1"` || string(a.Tools[0].Input) != `{"a":1}` {
		t.Errorf("tools %s", a.Tools)
	}
	if a.Details.ServiceTier != "standard" || a.Details.ThinkingTokens == nil || *a.Details.ThinkingTokens != 5 || string(a.Refusal) != `"no"` {
		t.Errorf("details %+v, refusal %s", a.Details, a.Refusal)
	}
	want := []string{`thinking"s"{}`, `text"a\n"{}`, `text"b"{}`, `tool_use"t1"{"a":1}`, `odd""""{}`}
	if !slices.Equal(blocks, want) {
		t.Errorf("one by one: %q\nwant %q", blocks, want)
	}
	if !a.Blocks.IsValid() || a.Blocks.Kind() != '[' {
		t.Errorf("blocks %s", a.Blocks)
	}
	_, err = protocol.ReadAnswer(protocol.NewScanner([]byte(`{"content":[`)), nil)
	if e := apierror.From(err); e == nil || e.Category != apierror.UpstreamError {
		t.Errorf("a broken answer: %v", err)
	}
}
