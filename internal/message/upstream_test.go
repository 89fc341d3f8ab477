package message

import (
	"bytes"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
)

const marker = `"cache_control":{"type":"ephemeral"}`

func TestUpstream(t *testing.T) {
	tests := []struct {
		name, body, model, want string
		maxTokens               int64
		cached                  bool
	}{
		{name: "nothing differs", body: `{"model":"m","messages":[]}`, model: "m", want: `{"model":"m","messages":[]}`},
		{name: "other model", body: `{"messages":[], "model" : "haiku" }`, model: "claude-x", want: `{"messages":[], "model" : "claude-x" }`},
		{name: "max_tokens lowered", body: `{"max_tokens": 9000 ,"model":"m","messages":[]}`, model: "m", maxTokens: 70, want: `{"max_tokens": 70 ,"model":"m","messages":[]}`},
		{name: "max_tokens not raised", body: `{"max_tokens":9,"model":"m","messages":[]}`, model: "m", maxTokens: 70, want: `{"max_tokens":9,"model":"m","messages":[]}`},
		{name: "max_tokens absent", body: `{"model":"m","messages":[]}`, model: "m", maxTokens: 70, want: `{"model":"m","messages":[]}`},
		{name: "no model", body: ` { "messages":[]}`, model: "m", want: ` {"model":"m", "messages":[]}`},
		{name: "use_cli last", body: `{"model":"m","messages":[] , "use_cli":true }`, model: "m", want: `{"model":"m","messages":[] }`},
		{name: "use_cli first, no model", body: `{ "use_cli" : false , "messages":[]}`, model: "m", want: `{"model":"m", "messages":[]}`},
		{name: "use_cli before the model", body: `{"messages":[],"use_cli":true,"model":"a"}`, model: "b", want: `{"messages":[],"model":"b"}`},
		{
			name: "cached, no system", cached: true, body: `{"model":"m","messages":[]}`, model: "m",
			want: `{` + marker + `,"model":"m","messages":[]}`,
		},
		{
			name: "cached, system string", cached: true, body: `{"model":"m","system" : "be brief","messages":[]}`, model: "m",
			want: `{` + marker + `,"model":"m","system" : [{"type":"text","text":"be brief",` + marker + `}],"messages":[]}`,
		},
		{
			name: "cached, system blocks", cached: true,
			body:  `{"system":[{"type":"text","text":"a"}, {"type":"text","text":"b]}" } ],"messages":[],"model":"m"}`,
			model: "m",
			want:  `{` + marker + `,"system":[{"type":"text","text":"a"}, {"type":"text","text":"b]}" ,` + marker + `} ],"messages":[],"model":"m"}`,
		},
		{
			name: "cached, empty system string", cached: true, body: `{"model":"m","system":"","messages":[]}`, model: "m",
			want: `{` + marker + `,"model":"m","system":"","messages":[]}`,
		},
		{
			name: "cached, empty system array", cached: true, body: `{"model":"m","system":[ ],"messages":[]}`, model: "m",
			want: `{` + marker + `,"model":"m","system":[ ],"messages":[]}`,
		},
		{
			name: "cached, empty system block", cached: true, body: `{"model":"m","system":[{ }],"messages":[]}`, model: "m",
			want: `{` + marker + `,"model":"m","system":[{ }],"messages":[]}`,
		},
		{
			name: "cached, system null", cached: true, body: `{"model":"m","system":null,"messages":[]}`, model: "m",
			want: `{` + marker + `,"model":"m","system":null,"messages":[]}`,
		},
		{
			name: "cached, every edit at once", cached: true,
			body:  `{"use_cli":false,"system":"s","messages":[]}`,
			model: "m",
			want:  `{"model":"m",` + marker + `,"system":[{"type":"text","text":"s",` + marker + `}],"messages":[]}`,
		},
		{
			name: "cached by its author", cached: true,
			body:  `{"model":"a","messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"system":"s"}`,
			model: "b",
			want:  `{"model":"b","messages":[{"role":"user","content":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}],"system":"s"}`,
		},
		{
			name: "cache_control only in words", cached: true,
			body:  `{"model":"m","messages":[{"role":"user","content":"what is \"cache_control\"?"}]}`,
			model: "m",
			want:  `{` + marker + `,"model":"m","messages":[{"role":"user","content":"what is \"cache_control\"?"}]}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseRequest([]byte(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			pieces := r.Upstream(tt.model, tt.maxTokens)
			if tt.cached {
				pieces = r.UpstreamCached(tt.model, tt.maxTokens)
			}
			got := bytes.Join(pieces, nil)
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			if !jsontext.Value(got).IsValid() {
				t.Errorf("not valid JSON: %s", got)
			}
			if string(r.Body()) != tt.body {
				t.Error("the request's body was changed")
			}
		})
	}
}

// FuzzUpstream checks that whatever is accepted is still valid JSON as sent.
func FuzzUpstream(f *testing.F) {
	f.Add([]byte(`{"use_cli":true,"messages":[],"system":"s"}`), "m")
	f.Add([]byte(`{"system":[{"type":"text","text":"a"}],"model":"x","messages":[],"use_cli":null}`), "m")
	f.Add([]byte(`{"messages":[] , "use_cli":false , "stream":true}`), "m")
	f.Fuzz(func(t *testing.T, body []byte, model string) {
		r, err := ParseRequest(bytes.Clone(body))
		if err != nil {
			return
		}
		for _, pieces := range [][][]byte{r.Upstream(model, 0), r.UpstreamCached(model, 0)} {
			sent := bytes.Join(pieces, nil)
			again, err := ParseRequest(sent)
			if err != nil {
				t.Fatalf("%q sent as %q: %v", body, sent, err)
			}
			if again.UseCLI != nil {
				t.Fatalf("%q sent as %q: use_cli went along", body, sent)
			}
		}
		if !bytes.Equal(r.Body(), body) {
			t.Fatal("the request's body was changed")
		}
	})
}
