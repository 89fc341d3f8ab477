package streamapi

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/openapi"
)

func TestTranslate(t *testing.T) {
	tests := []struct {
		name, in, want string
		warnings       []string
		rules          message.Rules
	}{
		{"defaults", `"messages":[{"role":"user","content":"hi"}]`, `{"stream":true,"max_tokens":4096,"messages":[{"role":"user","content":"hi"}]}`, nil, message.Rules{}},
		{
			"all", `"model":"opus","max_tokens":7,"temperature":0.5,"stop":"END","system":"s1","thinking":{"type":"disabled"},"use_cli":true,"stream":true,"tools":[],"messages":[{"role":"system","content":"s2"},{"role":"user","content":[{"type":"text","text":"hi"}]}]`,
			`{"stream":true,"model":"opus","thinking":{"type":"disabled"},"max_tokens":7,"temperature":0.5,"stop_sequences":["END"],"system":"s1\n\ns2","messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`, nil, message.Rules{},
		},
		{
			"clamped, stops, not streamed, unknown", `"temperature":1.5,"stop":["a","b"],"stream":false,"top_k":3,"seed":null,"messages":[{"role":"user","content":"hi"}]`,
			`{"stream":true,"max_tokens":4096,"stop_sequences":["a","b"],"messages":[{"role":"user","content":"hi"}]}`,
			[]string{"stream: answers are always streamed here", "top_k: has no effect here", "temperature: is at most 1 here, and was set to 1"}, message.Rules{},
		},
		{
			"a model that thinks by itself and isn't sampled", `"temperature":0.5,"max_tokens":70,"messages":[{"role":"user","name":"joe","content":"hi"}]`,
			`{"stream":true,"thinking":{"type":"disabled"},"max_tokens":64,"messages":[{"role":"user","content":"hi"}]}`,
			[]string{"messages.name: has no effect here", "max_tokens: the model writes at most 64 tokens", "temperature: the model doesn't take it"},
			message.Rules{ThinksByDefault: true, NoSampling: true, MaxOutputTokens: 64},
		},
		{
			"room for thinking", `"thinking":{"type":"enabled","budget_tokens":2000},"messages":[{"role":"user","content":"hi"}]`,
			`{"stream":true,"thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":6096,"messages":[{"role":"user","content":"hi"}]}`, nil, message.Rules{},
		},
		{
			"nulls", `"id":null,"api_key":null,"model":null,"max_tokens":null,"temperature":null,"stop":null,"system":null,"thinking":null,"use_cli":null,"project_id":null,"tools":null,"messages":[{"role":"user","content":"hi"}]`,
			`{"stream":true,"max_tokens":4096,"messages":[{"role":"user","content":"hi"}]}`, nil, message.Rules{},
		},
		{
			"history with a tool", `"messages":[{"role":"user","content":"w"},{"role":"assistant","content":null,"tool_calls":[{"id":"c","type":"function","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"sun"}]`,
			`{"stream":true,"max_tokens":4096,"messages":[{"role":"user","content":"w"},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"w","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":"sun"}]}]}`, nil, message.Rules{},
		},
	}
	h := New(Options{})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m, err := h.decode([]byte(`{"type":"chat",` + tt.in + `}`))
			if err != nil {
				t.Fatal(err)
			}
			request, err := m.translate(&tt.rules, 0)
			if err != nil {
				t.Fatal(err)
			}
			if got := string(request.Body()); got != tt.want || !request.Stream {
				t.Errorf("\ngot  %s\nwant %s", got, tt.want)
			}
			if !slices.Equal(m.warnings, tt.warnings) {
				t.Errorf("warnings = %q", m.warnings)
			}
		})
	}
}

func TestUnknownMembersAreBounded(t *testing.T) {
	in := `{"type":"chat","messages":[{"role":"user","content":"hi"}]`
	for i := range maxUnknown + 2 {
		in += `,"` + strconv.Itoa(i) + strings.Repeat("x", 2*maxName) + `":1`
	}
	m, err := New(Options{}).decode([]byte(in + "}"))
	if err == nil {
		_, err = m.translate(&message.Rules{}, 0)
	}
	if err != nil || len(m.warnings) != maxUnknown+1 || m.warnings[maxUnknown] != "2 more unknown members" || len(m.warnings[0]) > 2*maxName {
		t.Errorf("%v, %d warnings: %q", err, len(m.warnings), m.warnings)
	}
}

// Whatever is accepted becomes a Messages request; nothing else may come out
// than a bad_request, and what is said of it is valid JSON.
func FuzzDecode(f *testing.F) {
	for _, in := range []string{
		`{"type":"chat","id":"1","model":"haiku","messages":[{"role":"user","content":"hi"}]}`,
		`{"type":"chat","api_key":"cc_x","system":"\\","temperature":2,"max_tokens":1,"stop":["\u2028"],"messages":[{"role":"user","content":[{"type":"x","y":[{}]}]}]}`,
		`{"messages":[{"role":"system","content":"a"}],"thinking":{"type":"enabled"},"tools":[{}],"type":"chat"}`,
		`{"type":"agentic_task","api_key":"k","description":"d"}`,
		`{"type":"ping","id":"\ud800"}`,
		`{"type":"cancel"`,
		`[]`,
	} {
		f.Add([]byte(in))
	}
	h := New(Options{})
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := h.decode(text)
		if err == nil {
			_, err = m.translate(&message.Rules{}, len(text))
		}
		if err == nil {
			return
		}
		e := apierror.From(err)
		if e.Category != apierror.BadRequest {
			t.Fatalf("category of %v", err)
		}
		if told := appendError(nil, m.id, "req_1", e); !json.Valid(told) {
			t.Fatalf("the client would be told %s", told)
		}
	})
}

func TestOperations(t *testing.T) {
	document, err := openapi.Write(openapi.Info{Title: "t", Version: "1"}, New(Options{}).Operations())
	if err != nil {
		t.Fatal(err)
	}
	var read struct {
		Paths map[string]map[string]struct {
			Responses map[string]any
		}
		Components struct {
			Schemas map[string]struct{ Properties map[string]any }
		}
	}
	if err := json.Unmarshal(document, &read); err != nil {
		t.Fatal(err)
	}
	for _, status := range []string{"101", "401"} {
		if read.Paths["/v1/stream"]["get"].Responses[status] == nil {
			t.Errorf("no %s in %s", status, document)
		}
	}
	for name, member := range map[string]string{
		"StreamClientMessage": "messages", "StreamToken": "content", "StreamThinking": "content",
		"StreamDone": "usage", "StreamErrorMessage": "detail", "StreamPong": "id", "StreamAuthenticated": "type",
	} {
		if read.Components.Schemas[name].Properties[member] == nil {
			t.Errorf("the schema %s has no %s", name, member)
		}
	}
}
