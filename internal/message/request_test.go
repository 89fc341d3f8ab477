package message

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
)

const hello = `"messages":[{"role":"user","content":"hi"}]`

func TestParseRequest(t *testing.T) {
	yes, no := true, false
	tests := []struct {
		name, body string
		want       Request
	}{
		{"least", `{` + hello + `}`, Request{}},
		{"all", `{"model":"sonnet","max_tokens":12,"stream":true,"use_cli":false,` + hello + `,"tools":[{"name":"t"}]}`,
			Request{Model: "sonnet", MaxTokens: 12, Stream: true, UseCLI: &no, HasTools: true}},
		{"use_cli", `{"use_cli":true,` + hello + `}`, Request{UseCLI: &yes}},
		{"nulls", `{"stream":null,"use_cli":null,"tools":null,` + hello + `}`, Request{}},
		{"empty tools", `{"tools":[ ],` + hello + `}`, Request{}},
		{"escaped names and values", `{"mod\u0065l":"\u0068aiku",` + hello + `}`, Request{Model: "haiku"}},
		{"white space", " \n{ \"stream\" : true , " + hello + " }\n ", Request{Stream: true}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := ParseRequest([]byte(test.body))
			if err != nil {
				t.Fatal(err)
			}
			if got.Model != test.want.Model || got.MaxTokens != test.want.MaxTokens || got.Stream != test.want.Stream || got.HasTools != test.want.HasTools {
				t.Errorf("got %+v, want %+v", got, test.want)
			}
			if (got.UseCLI == nil) != (test.want.UseCLI == nil) || got.UseCLI != nil && *got.UseCLI != *test.want.UseCLI {
				t.Errorf("use_cli = %v, want %v", got.UseCLI, test.want.UseCLI)
			}
			if string(got.Body()) != test.body {
				t.Errorf("the body was changed: %s", got.Body())
			}
		})
	}
}

func TestParseRequestRefuses(t *testing.T) {
	tests := []struct{ name, body, param string }{
		{"nothing", ``, ""},
		{"no JSON", `{"messages":`, ""},
		{"no object", `[]`, ""},
		{"two objects", `{` + hello + `}{}`, ""},
		{"bad UTF-8", "{\"model\":\"\xff\"," + hello + "}", ""},
		{"no messages", `{"model":"haiku"}`, "messages"},
		{"messages no array", `{"messages":"hi"}`, "messages"},
		{"model no string", `{"model":5,` + hello + `}`, "model"},
		{"stream no boolean", `{"stream":"yes",` + hello + `}`, "stream"},
		{"use_cli no boolean", `{"use_cli":1,` + hello + `}`, "use_cli"},
		{"tools no array", `{"tools":"x",` + hello + `}`, "tools"},
		{"tool_choice no object", `{"tool_choice":"any",` + hello + `}`, "tool_choice"},
		{"max_tokens zero", `{"max_tokens":0,` + hello + `}`, "max_tokens"},
		{"max_tokens fraction", `{"max_tokens":1.5,` + hello + `}`, "max_tokens"},
		{"a name twice", `{"model":"a","model":"b",` + hello + `}`, "model"},
		{"a name twice, escaped", `{"model":"a","mod\u0065l":"b",` + hello + `}`, "model"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := ParseRequest([]byte(test.body))
			var e *apierror.Error
			if !errors.As(err, &e) || e.Category != apierror.BadRequest || e.Param != test.param {
				t.Errorf("err = %v, want bad_request about %q", err, test.param)
			}
		})
	}
}

func TestConversation(t *testing.T) {
	r, err := ParseRequest([]byte(`{"system":[{"type":"text","text":"a"},{"type":"text","text":"b"}],
		"thinking":{"type":"enabled","budget_tokens":2048},"temperature":0.1,"top_p":null,
		"messages":[{"role":"user","content":"one"},{"role":"assistant","content":[{"type":"text","text":"two"}]},{"role":"user","content":"three"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	c, err := r.Conversation()
	if err != nil {
		t.Fatal(err)
	}
	if c.System != "a\n\nb" || c.ThinkingTokens != 2048 || len(c.Turns) != 3 || string(c.Turns[2].Content) != `"three"` {
		t.Errorf("conversation = %+v", c)
	}
	if got := r.Others(); len(got) != 1 || got[0] != "temperature" {
		t.Errorf("others = %v", got)
	}
}

func TestConversationWithTools(t *testing.T) {
	tests := []struct {
		name, members string
		param         string // of the refusal, "" for none
		want          Conversation
	}{
		{"tools", `"tools":[{"name":"t","description":"d","input_schema":{"type":"object"},"cache_control":{"type":"ephemeral"}}],"tool_choice":{"type":"any"}`, "",
			Conversation{Tools: []Tool{{Name: "t", Description: "d", InputSchema: jsontext.Value(`{"type":"object"}`), Others: map[string]jsontext.Value{"cache_control": jsontext.Value(`{"type":"ephemeral"}`)}}}, ToolChoice: jsontext.Value(`{"type":"any"}`)}},
		{"a server tool", `"tools":[{"type":"web_search_20250305","name":"w","max_uses":2}]`, "", Conversation{Tools: []Tool{{Type: "web_search_20250305", Name: "w", Others: map[string]jsontext.Value{"max_uses": jsontext.Value("2")}}}}},
		{"a choice without tools", `"tool_choice":{"type":"auto"}`, "", Conversation{}},
		{"effort and format", `"output_config":{"effort":"low","format":{"type":"json_schema"}}`, "", Conversation{Effort: "low", Format: jsontext.Value(`{"type":"json_schema"}`)}},
		{"nulls", `"output_config":{"format":null},"tools":null,"tool_choice":null`, "", Conversation{}},
		{"no name", `"tools":[{"input_schema":{}}]`, "tools.0.name", Conversation{}},
		{"no schema", `"tools":[{"name":"t"}]`, "tools.0.input_schema", Conversation{}},
		{"schema no object", `"tools":[{"name":"t","input_schema":[]}]`, "tools.0.input_schema", Conversation{}},
		{"tool no object", `"tools":[5]`, "tools.0", Conversation{}},
		{"what isn't read", `"output_config":{"effort":"low","task_budget":{},"x":null},"thinking":{"type":"adaptive","display":"omitted","y":1}`, "",
			Conversation{Effort: "low", ThinkingTokens: DefaultThinkingTokens, Unread: []string{"thinking.y", "thinking.display", "output_config.task_budget"}}},
		{"format no object", `"output_config":{"format":"json"}`, "output_config.format", Conversation{}},
		{"config no object", `"output_config":1`, "output_config", Conversation{}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r, err := ParseRequest([]byte(`{` + hello + `,` + test.members + `}`))
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Conversation()
			if test.param != "" {
				var e *apierror.Error
				if !errors.As(err, &e) || e.Category != apierror.BadRequest || e.Param != test.param {
					t.Fatalf("err = %v, want bad_request about %q", err, test.param)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			test.want.Turns = got.Turns
			if !reflect.DeepEqual(got, &test.want) {
				t.Errorf("got  %+v\nwant %+v", got, test.want)
			}
		})
	}
}

func TestSummary(t *testing.T) {
	var s Summary
	for _, e := range []Event{
		{Type: EventMessageStart, Data: []byte(`{"type":"message_start","message":{"id":"m","model":"x","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":1}}}`)},
		{Type: EventContentBlockDelta, Data: []byte(`not looked at`)},
		{Type: EventMessageDelta, Data: []byte(`{"type":"message_delta","delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":9}}`)},
	} {
		if err := s.Observe(e); err != nil {
			t.Fatal(err)
		}
	}
	want := Summary{ID: "m", Model: "x", StopReason: "end_turn", Usage: Usage{InputTokens: 3, CacheReadInputTokens: 4, OutputTokens: 9}}
	if s != want {
		t.Errorf("summary = %+v, want %+v", s, want)
	}
	whole, err := Summarize([]byte(`{"id":"m","model":"x","stop_reason":"end_turn","usage":{"input_tokens":3,"cache_read_input_tokens":4,"output_tokens":9}}`))
	if err != nil || whole != want {
		t.Errorf("summary = %+v, %v, want %+v", whole, err, want)
	}
}

// FuzzParseRequest holds what the service reads against a full decoding.
func FuzzParseRequest(f *testing.F) {
	for _, seed := range []string{
		`{` + hello + `}`, `{"use_cli":true,` + hello + `}`, `{"model":"sonnet","max_tokens":12,"stream":true,"use_cli":false,` + hello + `}`,
		`{"model":"a","model":"b",` + hello + `}`, `{"messages":[]} x`, `{"thinking":{"type":"enabled","budget_tokens":1},"system":[{"type":"text","text":"s"}],` + hello + `}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		kept := bytes.Clone(body)
		r, err := ParseRequest(body)
		if !bytes.Equal(body, kept) {
			t.Fatal("the body was changed")
		}
		if err != nil {
			if apierror.From(err).Category != apierror.BadRequest {
				t.Fatalf("err = %v", err)
			}
			return
		}
		var full map[string]jsontext.Value
		if err := json.Unmarshal(body, &full); err != nil {
			t.Fatalf("accepted what isn't JSON: %v", err)
		}
		if _, err := r.Conversation(); err != nil && apierror.From(err).Category != apierror.BadRequest {
			t.Fatalf("conversation: %v", err)
		}
		var sent map[string]jsontext.Value
		if err := json.Unmarshal(bytes.Join(r.Upstream("claude-x", 0), nil), &sent); err != nil {
			t.Fatalf("the upstream body isn't JSON: %v", err)
		}
		if string(sent["model"]) != `"claude-x"` || sent["use_cli"] != nil {
			t.Fatalf("the upstream body is %s", bytes.Join(r.Upstream("claude-x", 0), nil))
		}
		delete(full, "model")
		delete(full, "use_cli")
		for name, value := range full {
			if string(sent[name]) != string(value) {
				t.Fatalf("%s was changed", name)
			}
		}
	})
}

func BenchmarkParseRequest(b *testing.B) {
	body := []byte(`{"model":"sonnet","max_tokens":12,"stream":true,"messages":[{"role":"user","content":"` + string(bytes.Repeat([]byte("word "), 200)) + `"}]}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseRequest(body); err != nil {
			b.Fatal(err)
		}
	}
}

func TestSearches(t *testing.T) {
	for tools, want := range map[string]struct {
		most    int64
		limited bool
	}{
		`[]`: {0, true},
		`[{"name":"web_search","input_schema":{"type":"object"}}]`:                                         {0, true},
		`[{"type":"web_search_20250305","name":"web_search","max_uses":5},{"name":"x","input_schema":{}}]`: {5, true},
		`[{"type":"web_search_20250305","max_uses":5},{"type":"web_search_20260209","max_uses":2}]`:        {7, true},
		`[{"type":"web_search_20250305","name":"web_search"}]`:                                             {0, false},
		`[{"type":"web_search_20250305","max_uses":"five"}]`:                                               {0, false},
		`[{"type":"web_search_20250305","max_uses":0}]`:                                                    {0, false},
		`[{"type":"web_fetch_20250910","name":"web_fetch"}]`:                                               {0, true},
	} {
		r, err := ParseRequest([]byte(`{"model":"m","messages":[],"tools":` + tools + `}`))
		if err != nil {
			t.Fatal(err)
		}
		if most, limited := r.Searches(); most != want.most || limited != want.limited {
			t.Errorf("%s: %d, %t, want %+v", tools, most, limited, want)
		}
	}
}
