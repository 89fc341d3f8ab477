package simulator

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

// Whatever the body, the answer is JSON, and an error only where it is one.
func FuzzMessages(f *testing.F) {
	f.Add([]byte(ask("hello", "")))
	f.Add([]byte(ask("[[text=é😀]]", `,"system":[{"type":"text","text":"s","cache_control":{"type":"ephemeral"}}],"stop_sequences":["x"]`)))
	f.Add([]byte(ask("[[tool=t]]", `,"tools":[{"cache_control":{} , "name":"t","input_schema":{"type":"object","required":["a"]}}],"thinking":{"type":"adaptive"}`)))
	f.Add([]byte(`{"model":"claude-x","max_tokens":2,"messages":[{"content":[{"cache_control":{"type":"ephemeral"},"type":"tool_use","id":"1"}],"role":"assistant"},{"role":"user","content":[{"tool_use_id":"1","type":"tool_result","content":[{"type":"text","text":"r"}]}]}]}`))
	f.Add([]byte(ask("x", `,"output_config":{"format":{"type":"json_schema","schema":{"$ref":"#"}}}`)))
	f.Add([]byte(ask("x", `,"output_config":{"effort":"max","format":{"type":"json_schema","schema":{"anyOf":[{"$ref":"#/$defs/a"}],"$defs":{"a":{"items":{"$ref":"#"}}}}}}`)))
	f.Add([]byte(ask("[[tool=w]]", `,"tools":[{"type":"web_search_20260209","name":"w"},{"name":"s","strict":true,"input_schema":{"type":"integer","minimum":1}}],"tool_choice":{"type":"none"}`)))
	f.Add([]byte(`{"model":"claude-x","max_tokens":2,"messages":[{"role":"user","content":[{"type":"document","title":7,"citations":{"enabled":true},"source":{"type":"text","data":"é"}}]}]}`))
	s := New(Options{})
	f.Fuzz(func(t *testing.T, body []byte) {
		if bytes.Contains(body, []byte("[[")) && !bytes.Contains(body, []byte("[[t")) {
			t.Skip("a directive that waits or cuts")
		}
		if bytes.Contains(body, []byte("hang")) || bytes.Contains(body, []byte("-after")) || bytes.Contains(body, []byte("delay")) || bytes.Contains(body, []byte("interval")) {
			t.Skip("a directive that waits or cuts")
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/v1/messages", bytes.NewReader(body))
		r.Header.Set("X-Api-Key", "sk-simulator")
		r.Header.Set("Anthropic-Version", "2023-06-01")
		w := httptest.NewRecorder()
		s.ServeHTTP(w, r)
		if w.Code == http.StatusOK && w.Header().Get("Content-Type") != "application/json" {
			return // a stream
		}
		if got := jsontext.Value(w.Body.Bytes()); !got.IsValid() {
			t.Errorf("%d %s", w.Code, got)
		}
		if w.Code == http.StatusOK && !jsontext.Value(body).IsValid() {
			t.Errorf("accepted a body that isn't JSON")
		}
	})
}

// Directives never lose text that isn't theirs.
func FuzzScan(f *testing.F) {
	f.Add([]byte("a [[tokens=3]] b [[wiki]] c"))
	f.Add([]byte("[[text=[[x]]]]"))
	f.Add([]byte(`[[tool=a input={"b":[1]}]] [[`))
	f.Fuzz(func(t *testing.T, text []byte) {
		d := New(Options{}).defaultDirectives()
		left, fault := d.scan(nil, text)
		if fault == nil && len(left) > len(text) {
			t.Errorf("%q became longer: %q", text, left)
		}
		if !bytes.Contains(text, []byte("[[")) && !bytes.Equal(left, text) {
			t.Errorf("%q became %q", text, left)
		}
	})
}
