package claudecli

import (
	"bytes"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/message"
)

func TestLineReader(t *testing.T) {
	long := strings.Repeat("x", 3*startBuffer)
	for _, chunk := range []int{1, 7, 4096, 1 << 20} {
		r := &lineReader{src: &chunked{data: "one\n\n" + long + "\nlast\n", size: chunk}, buf: make([]byte, startBuffer)}
		for _, want := range []string{"one", "", long, "last"} {
			if got, err := r.next(); err != nil || string(got) != want {
				t.Fatalf("chunks of %d: got %.20q, %v, want %.20q", chunk, got, err, want)
			}
		}
		if _, err := r.next(); err == nil {
			t.Errorf("chunks of %d: a line after the end", chunk)
		}
	}
}

// chunked gives its data in pieces of a size.
type chunked struct {
	data string
	size int
}

func (c *chunked) Read(b []byte) (int, error) {
	n, err := strings.NewReader(c.data[:min(c.size, len(c.data))]).Read(b)
	c.data = c.data[n:]
	return n, err
}

func TestScan(t *testing.T) {
	p := &Process{child: child{sessionID: "former"}}
	tests := []struct {
		name, raw string
		want      line
		session   string
	}{
		{"event", `{"type":"stream_event","event":{"type":"content_block_delta","index":0},"session_id":"s"}`,
			line{Type: lineStreamEvent, EventType: message.EventContentBlockDelta, Event: jsontext.Value(`{"type":"content_block_delta","index":0}`)}, "s"},
		{"type last", `{"event":{"a":{"type":"no"},"type":"ping"},"type":"stream_event"}`,
			line{Type: lineStreamEvent, EventType: message.EventPing, Event: jsontext.Value(`{"a":{"type":"no"},"type":"ping"}`)}, "s"},
		{"other types are skipped", `{"type":"command_lifecycle","session_id":null}`, line{}, "s"},
		{"event of another type", `{"type":"system","subtype":"ui_invalidate","event":"ui.render"}`, line{Type: lineSystem, Event: jsontext.Value(`"ui.render"`)}, "s"},
		{"result", ` {"is_error":false, "type" : "result","session_id":"t"} `, line{Type: lineResult}, "t"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := p.scan([]byte(test.raw)); err != nil {
				t.Fatal(err)
			}
			if p.line.Type != test.want.Type || p.line.EventType != test.want.EventType || string(p.line.Event) != string(test.want.Event) || p.sessionID != test.session {
				t.Errorf("got %+v (session %q), want %+v", p.line, p.sessionID, test.want)
			}
		})
	}
	for _, raw := range []string{"garbage", `{"type":`, `[]`, `5`, `{"type":"x"} y`, `{"type":"stream_event","event":7}`} {
		if err := p.scan([]byte(raw)); err == nil {
			t.Errorf("%q was taken for a line", raw)
		}
	}
}

// FuzzScan holds the one-pass reading of a line against a full decoding.
func FuzzScan(f *testing.F) {
	for _, seed := range []string{
		`{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}},"session_id":"s"}`,
		`{"type":"result","subtype":"success","is_error":true,"api_error_status":529,"result":"x","total_cost_usd":0.5,"modelUsage":{"m":{"inputTokens":1}}}`,
		`{"type":"control_response","response":{"subtype":"success","request_id":"r1","response":{"rewound":true}}}`,
		`{"event":{},"event":{"type":"ping"}}`, "{\"type\":\"\xff\"}", `{}`, `null`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if bytes.IndexByte(raw, '\n') >= 0 {
			return
		}
		p := &Process{}
		kept := bytes.Clone(raw)
		err := p.scan(raw)
		if !bytes.Equal(raw, kept) {
			t.Fatal("the line was changed")
		}
		if err != nil {
			return
		}
		var full struct {
			Type  jsontext.Value `json:"type"`
			Event jsontext.Value `json:"event"`
		}
		if err := json.Unmarshal(raw, &full, lenient); err != nil {
			t.Fatalf("accepted what isn't JSON: %v", err)
		}
		if string(full.Event) != string(p.line.Event) {
			t.Fatalf("event = %s, want %s", p.line.Event, full.Event)
		}
		if p.line.Type != "" && string(full.Type) != `"`+p.line.Type+`"` {
			t.Fatalf("type = %s, want %s", p.line.Type, full.Type)
		}
		var r resultLine
		_ = decode(raw, &r) // must not panic
		var c controlLine
		_ = decode(raw, &c)
	})
}

// FuzzRename checks that a content block keeps everything but the name of the
// tool that it calls.
func FuzzRename(f *testing.F) {
	for _, seed := range []string{
		`{"type":"tool_use","id":"toolu_1","name":"mcp__c__get","input":{"name":"mcp__c__x"}}`,
		`{"name" : "mcp__c__a\"b", "type":"tool_use","id":"1"}`,
		`{"type":"text","text":"\"tool_use\""}`,
		`{"type":"tool_use","id":1,"name":[]}`,
		`{"type":"tool_use","name":"mcp__c__mcp__c__"}`,
		`{"type":"tool_use","name":"Bash","id":"x"}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block string) {
		if !jsontext.Value(block).IsValid() {
			return
		}
		var r renamer
		event := `{"type":"content_block_start","index":0,"content_block":` + block + `}`
		got, use, err := r.start([]byte(event))
		if err != nil {
			return
		}
		if use == nil {
			if string(got) != event {
				t.Fatalf("%s became %s", event, got)
			}
			return
		}
		var before, after struct {
			Block map[string]jsontext.Value `json:"content_block"`
		}
		if json.Unmarshal([]byte(event), &before) != nil {
			return
		}
		if err := json.Unmarshal(got, &after); err != nil {
			t.Fatalf("%s became %s: %v", event, got, err)
		}
		for name, value := range before.Block {
			if name != "name" && string(value) != string(after.Block[name]) {
				t.Fatalf("%s became %s", event, got)
			}
		}
		var name, old string
		_ = json.Unmarshal(after.Block["name"], &name)
		_ = json.Unmarshal(before.Block["name"], &old)
		if name != use.name || old != use.name && old != toolPrefix+use.name {
			t.Fatalf("%s became %s, a call of %q", event, got, use.name)
		}
	})
}

// FuzzServerRequest checks that a request of the CLI's own never panics and that a
// tool's result is one in the Model Context Protocol.
func FuzzServerRequest(f *testing.F) {
	f.Add(`{"type":"control_request","request_id":"x","request":{"subtype":"mcp_message","server_name":"c","message":{"method":"tools/call","params":{"_meta":{"claudecode/toolUseId":"t"}},"id":2}}}`, `"text"`)
	f.Add(`{"request":{"message":{"id":null,"params":[]}}}`, `[{"type":"image","source":{"type":"base64","data":"x"}}]`)
	f.Add(`{}`, `[{"type":"text","text":""}]`)
	f.Fuzz(func(t *testing.T, request, content string) {
		var r serverRequest
		_ = decode(jsontext.Value(request), &r) // must not panic
		result, err := ToolResult{ID: "t", Content: jsontext.Value(content)}.rpc()
		if err != nil {
			return
		}
		if text, err := json.Marshal(result, jsontext.AllowInvalidUTF8(true)); err != nil || len(result.Content) == 0 {
			t.Fatalf("%s became %s, %v", content, text, err)
		}
	})
}

// FuzzAsText checks that a message stays valid and is never a command.
func FuzzAsText(f *testing.F) {
	for _, seed := range []string{`"/clear"`, `"hi"`, `[{"type":"text","text":"/x"}]`, `[{"type":"text","text":"x"},{"type":"text","text":"\/y"}]`, `[]`} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, content string) {
		value := jsontext.Value(content)
		if !value.IsValid() {
			return
		}
		got, err := asText(value)
		if err != nil {
			return
		}
		var texts []string
		if got.Kind() == '"' {
			texts = make([]string, 1)
			err = json.Unmarshal(got, &texts[0])
		} else {
			var blocks []textBlock
			err = json.Unmarshal(got, &blocks)
			for _, b := range blocks {
				texts = append(texts, b.Text)
			}
		}
		if err != nil {
			t.Fatalf("%s became %s: %v", content, got, err)
		}
		for _, text := range texts {
			if strings.HasPrefix(text, "/") {
				t.Fatalf("%s became %s", content, got)
			}
		}
	})
}

func BenchmarkScanEvent(b *testing.B) {
	p := &Process{}
	raw := []byte(`{"type":"stream_event","event":{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"some words of an answer"}},"session_id":"6cfef62d-625b-410b-9d13-beff60f79244","parent_tool_use_id":null,"uuid":"c1bbabba-94a2-45c3-adae-95f0853a96af"}`)
	b.ReportAllocs()
	for b.Loop() {
		if err := p.scan(raw); err != nil {
			b.Fatal(err)
		}
	}
}
