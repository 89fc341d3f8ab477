package simulator

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// envelope is the API's error body.
type envelope struct {
	Type  string
	Error struct{ Type, Message string }
	ID    string `json:"request_id"`
}

func readError(t *testing.T, w *httptest.ResponseRecorder) envelope {
	t.Helper()
	var e envelope
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil {
		t.Fatalf("%s: %v", w.Body, err)
	}
	if e.Type != "error" || e.ID == "" || e.ID != w.Header().Get("Request-Id") {
		t.Errorf("envelope %s, header %v", w.Body, w.Header())
	}
	return e
}

func TestBadRequests(t *testing.T) {
	const user = `"messages":[{"role":"user","content":"hi"}]`
	const head = `{"model":"claude-haiku-5-5","max_tokens":10,`
	const older = `{"model":"claude-sonnet-4-6","max_tokens":10,`
	for _, test := range []struct {
		name, body string
		status     int
		message    string // a part of it
	}{
		{"no body", ``, 400, "not valid JSON"},
		{"broken", `{"model":`, 400, "not valid JSON"},
		{"an array", `[]`, 400, "must be a JSON object"},
		{"data behind", head + user + `} x`, 400, "data after"},
		{"a name twice", head + user + `,"model":"claude-x"}`, 400, "duplicate"},
		{"no model", `{"max_tokens":10,` + user + `}`, 400, "model: Field required"},
		{"model a number", `{"model":1,"max_tokens":10,` + user + `}`, 400, "model: Input should be a valid string"},
		{"no messages", head[:len(head)-1] + `}`, 400, "messages: Field required"},
		{"empty messages", head + `"messages":[]}`, 400, "at least one message"},
		{"no max_tokens", `{"model":"claude-haiku-5-5",` + user + `}`, 400, "max_tokens: Field required"},
		{"max_tokens 0", `{"model":"claude-haiku-5-5","max_tokens":0,` + user + `}`, 400, "max_tokens: Input should be greater"},
		{"max_tokens text", `{"model":"claude-haiku-5-5","max_tokens":"9",` + user + `}`, 400, "max_tokens: Input should be a valid integer"},
		{"stream text", head + user + `,"stream":"yes"}`, 400, "stream: Input should be a valid boolean"},
		{"unknown member", head + user + `,"use_cli":true}`, 400, "use_cli: Extra inputs are not permitted"},
		{"unknown member of a message", head + `"messages":[{"role":"user","content":"hi","name":"x"}]}`, 400, "messages.0.name: Extra inputs"},
		{"unknown role", head + `"messages":[{"role":"tool","content":"hi"}]}`, 400, "messages.0.role: Input should be"},
		{"no role", head + `"messages":[{"content":"hi"}]}`, 400, "messages.0.role: Field required"},
		{"no content", head + `"messages":[{"role":"user"}]}`, 400, "messages.0.content: Field required"},
		{"content a number", head + `"messages":[{"role":"user","content":1}]}`, 400, "messages.0.content: Input should be a valid string or list"},
		{"empty content", head + `"messages":[{"role":"user","content":""}]}`, 400, "non-empty content"},
		{"block without type", head + `"messages":[{"role":"user","content":[{"text":"hi"}]}]}`, 400, "messages.0.content.0.type: Field required"},
		{"empty text block", head + `"messages":[{"role":"user","content":[{"type":"text","text":""}]}]}`, 400, "text content blocks must be non-empty"},
		{"result without call", head + `"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"t1"}]}]}`, 400, "unexpected `tool_use_id`"},
		{"call without result", head + `"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"x","input":{}}]},{"role":"user","content":"hi"}]}`, 400, "without `tool_result` blocks immediately after: t1"},
		{"system a number", head + user + `,"system":1}`, 400, "system: Input should be"},
		{"temperature 2", head + user + `,"temperature":2}`, 400, "temperature: Input should be"},
		{"thinking unknown", head + user + `,"thinking":{"type":"deep"}}`, 400, "thinking: Input tag 'deep'"},
		{"thinking above max_tokens", older + user + `,"thinking":{"type":"enabled","budget_tokens":2000}}`, 400, "`max_tokens` must be greater"},
		{"thinking with temperature", older + user + `,"thinking":{"type":"adaptive"},"temperature":0.5}`, 400, "`temperature` may only be set to 1"},
		{"tool without schema", head + user + `,"tools":[{"name":"x"}]}`, 400, "tools.0.input_schema: Field required"},
		{"choice without tools", head + user + `,"tool_choice":{"type":"any"}}`, 400, "tool_choice may only be specified while providing tools"},
		{"choice of an unknown tool", head + user + `,"tools":[{"name":"x","input_schema":{}}],"tool_choice":{"type":"tool","name":"y"}}`, 400, "Tool 'y' not found"},
		{"foreign model", `{"model":"gpt-4o","max_tokens":10,` + user + `}`, 404, "model: gpt-4o"},
		{"nonexistent model", `{"model":"claude-nonexistent","max_tokens":10,` + user + `}`, 404, "model: claude-nonexistent"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := New(Options{})
			w := post(t, s, test.body)
			e := readError(t, w)
			if w.Code != test.status || !strings.Contains(e.Error.Message, test.message) {
				t.Errorf("%d %s", w.Code, e.Error.Message)
			}
			if want := errorType(test.status); e.Error.Type != want {
				t.Errorf("type %s, want %s", e.Error.Type, want)
			}
			if s.Stats().Errors != 1 {
				t.Errorf("stats %+v", s.Stats())
			}
		})
	}
}

func TestPlaces(t *testing.T) {
	for _, test := range []struct {
		name, method, path string
		header             map[string]string // changes; "" removes
		status             int
		part               string
	}{
		{"root", "GET", "/", nil, 200, "{}"},
		{"root head without key", "HEAD", "/", map[string]string{"X-Api-Key": ""}, 200, ""},
		{"elsewhere", "GET", "/v2", nil, 404, "not_found_error"},
		{"wrong method", "GET", "/v1/messages", nil, 405, "Method Not Allowed"},
		{"no key", "POST", "/v1/messages", map[string]string{"X-Api-Key": ""}, 401, "x-api-key header is required"},
		{"empty bearer", "GET", "/v1/models", map[string]string{"X-Api-Key": "", "Authorization": "Bearer "}, 401, "authentication_error"},
		{"bearer", "GET", "/v1/models", map[string]string{"X-Api-Key": "", "Authorization": "Bearer t"}, 200, `"has_more":false`},
		{"no version", "GET", "/v1/models", map[string]string{"Anthropic-Version": ""}, 400, "anthropic-version: header is required"},
		{"limit", "GET", "/v1/models?limit=1&after_id=claude-opus-5-5", nil, 200, `"has_more":true,"first_id":"claude-sonnet-5-5","last_id":"claude-sonnet-5-5"`},
		{"before", "GET", "/v1/models?limit=1&before_id=claude-haiku-5-5", nil, 200, `"has_more":true,"first_id":"claude-sonnet-5-5"`},
		{"last page", "GET", "/v1/models?after_id=claude-sonnet-4-5-20250929", nil, 200, `{"data":[],"has_more":false,"first_id":null,"last_id":null}`},
		{"bad limit", "GET", "/v1/models?limit=0", nil, 400, "limit: Input should be"},
		{"unknown model", "GET", "/v1/models/gpt-4o", nil, 404, "model: gpt-4o"},
		{"bad header directive", "POST", "/v1/messages", map[string]string{"X-Simulator": "explode"}, 400, `\"explode\" isn't a directive`},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRequest(t, test.method, test.path, "")
			for name, value := range test.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			New(Options{}).ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.part) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
			if w.Header().Get("Anthropic-Ratelimit-Requests-Limit") == "" || w.Header().Get("Request-Id") == "" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

// answered is an answer's body as clients read it.
type answered struct {
	Content []struct {
		Type, Text, Thinking, Name string
		Input                      json.RawMessage
	}
	StopReason   string  `json:"stop_reason"`
	StopSequence *string `json:"stop_sequence"`
	Usage        struct {
		Input    int64 `json:"input_tokens"`
		Output   int64 `json:"output_tokens"`
		Read     int64 `json:"cache_read_input_tokens"`
		Creation int64 `json:"cache_creation_input_tokens"`
	}
}

func answer200(t *testing.T, w *httptest.ResponseRecorder) answered {
	t.Helper()
	var a answered
	if err := json.Unmarshal(w.Body.Bytes(), &a); err != nil || w.Code != http.StatusOK {
		t.Fatalf("%d %s: %v", w.Code, w.Body, err)
	}
	return a
}

func TestAnswers(t *testing.T) {
	const tools = `,"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"mcp__s__b","input_schema":{"type":"object","required":["n"],"properties":{"n":{"type":"integer"}}}}]`
	for _, test := range []struct {
		name, body, text, stop string
		sequence               string
		tool, input            string
	}{
		{name: "echo", body: ask("some words", ""), text: "Echo: some words", stop: "end_turn"},
		{name: "last text of the last user message", stop: "end_turn", text: "Echo: b",
			body: `{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":"old"},{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"},{"type":"text","text":"<system-reminder>c"}],"role":"user"},{"role":"system","content":"note"}]}`},
		{name: "escapes", body: ask("[[text=Grüße \"an\" \\ alle\t\u2028😀]]", ""), text: "Grüße \"an\" \\ alle\t\u2028😀", stop: "end_turn"},
		{name: "max_tokens", body: strings.Replace(ask("0123456789", ""), "1000", "2", 1), text: "Echo: 01", stop: "max_tokens"},
		{name: "max_tokens inside a character", body: strings.Replace(ask("0é", ""), "1000", "2", 1), text: "Echo: 0", stop: "max_tokens"},
		{name: "stop sequence", body: ask("one two three", `,"stop_sequences":["three"," two"]`), text: "Echo: one", stop: "stop_sequence", sequence: " two"},
		{name: "echo-system", body: ask("[[echo-system]]", `,"system":[{"type":"text","text":"be"},{"type":"text","text":"brief"}]`), text: "be\n\nbrief", stop: "end_turn"},
		{name: "stop directive", body: ask("[[stop=refusal text=no]]", ""), text: "no", stop: "refusal"},
		{name: "choice any", body: askHaiku("x", tools+`,"tool_choice":{"type":"any"}`), stop: "tool_use", tool: "a", input: `{}`},
		{name: "choice none", body: ask("x", tools+`,"tool_choice":{"type":"none"}`), text: "Echo: x", stop: "end_turn"},
		{name: "choice of a tool", body: askHaiku("x", tools+`,"tool_choice":{"type":"tool","name":"mcp__s__b"}`), stop: "tool_use", tool: "mcp__s__b", input: `{"n":1}`},
		{name: "choice none wins over a directive", body: ask("[[tool=a]] x", tools+`,"tool_choice":{"type":"none"}`), text: "Echo: x", stop: "end_turn"},
		{name: "one call only", body: ask("[[tool=b tool=a]]", tools+`,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`), stop: "tool_use", tool: "mcp__s__b", input: `{"n":1}`},
		{name: "thinking is skipped for a forced call", body: askHaiku("[[think]]", tools+`,"tool_choice":{"type":"any"}`), stop: "tool_use", tool: "a", input: `{}`},
		{name: "tool by the end of its name", body: ask("[[tool=b]]", tools), stop: "tool_use", tool: "mcp__s__b", input: `{"n":1}`},
		{name: "tool with input", body: ask(`[[tool=a input={"k": 2}]]`, tools), stop: "tool_use", tool: "a", input: `{"k": 2}`},
		{name: "the CLI's structured output", stop: "tool_use", tool: "StructuredOutput", input: `{"ok":true}`,
			body: ask("x", `,"tools":[{"name":"StructuredOutput","input_schema":{"type":"object","required":["ok"],"properties":{"ok":{"type":"boolean"}}}}]`)},
		{name: "output_format", body: ask("x", `,"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"type":"array","items":{"type":"null"}}}}`), text: "[null]", stop: "end_turn"},
		{name: "image and document", text: "Echo: see", stop: "end_turn",
			body: `{"model":"claude-x","max_tokens":9,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"AA=="}},{"type":"document","source":{"type":"text","data":"x"}},{"type":"text","text":"see"}]}]}`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := answer200(t, post(t, New(Options{}), test.body))
			if len(got.Content) != 1 || got.StopReason != test.stop {
				t.Fatalf("%+v", got)
			}
			c := got.Content[0]
			if c.Text != test.text || c.Name != test.tool || string(c.Input) != test.input {
				t.Errorf("content %+v %s", c, c.Input)
			}
			if got.StopSequence == nil && test.sequence != "" || got.StopSequence != nil && *got.StopSequence != test.sequence {
				t.Errorf("stop sequence %v", got.StopSequence)
			}
		})
	}
}

func TestToolResultWithBlocks(t *testing.T) {
	body := `{"model":"claude-x","max_tokens":99,"messages":[{"role":"user","content":"q"},
		{"role":"assistant","content":[{"type":"tool_use","id":"t1","name":"x","input":{}},{"type":"tool_use","id":"t2","name":"x","input":{}}]},
		{"role":"user","content":[{"type":"tool_result","tool_use_id":"t2","content":"two"},
			{"type":"tool_result","tool_use_id":"t1","content":[{"type":"text","text":"one"},{"type":"image","source":{}}]}]}]}`
	got := answer200(t, post(t, New(Options{}), body))
	if got.Content[0].Text != "Tool result: two; one" || got.Usage.Input < imageTokens {
		t.Errorf("%+v", got)
	}
}

// TestThen answers the results of tools as the prompt says, whatever stands beside them.
func TestThen(t *testing.T) {
	prompt := `{"role":"user","content":[{"type":"text","text":"[[tool=a]] [[then]] [[tool=a text=second]] [[then]] [[text=third]]"},{"type":"text","text":"<system-reminder>x"}]}`
	call := func(id string) string {
		return `,{"role":"assistant","content":[{"type":"tool_use","id":"` + id + `","name":"a","input":{}}]},` +
			`{"role":"user","content":[{"type":"tool_result","tool_use_id":"` + id + `","content":"r"},{"type":"text","text":"<system-reminder>y"}]}`
	}
	for calls, want := range []struct{ stop, text string }{{"tool_use", ""}, {"tool_use", "second"}, {"end_turn", "third"}, {"end_turn", "Tool result: r"}} {
		messages := prompt
		for i := range calls {
			messages += call(string(rune('a' + i)))
		}
		got := answer200(t, post(t, New(Options{}), `{"model":"claude-x","max_tokens":99,"tools":[{"name":"a","input_schema":{"type":"object"}}],"messages":[`+messages+`]}`))
		if got.StopReason != want.stop || got.Content[0].Text != want.text {
			t.Errorf("after %d calls: %+v", calls, got)
		}
	}
}

func TestBetaMembersAreAccepted(t *testing.T) {
	r := newRequest(t, http.MethodPost, "/v1/messages?beta=true",
		`{"model":"claude-x","max_tokens":9,"context_management":{"edits":[]},"messages":[{"role":"user","content":"hi"},{"role":"system","content":"note","output_config":{"effort":"low"}}]}`)
	r.Header.Set("Anthropic-Beta", "some-2026-01-01")
	w := httptest.NewRecorder()
	New(Options{}).ServeHTTP(w, r)
	if got := answer200(t, w); got.Content[0].Text != "Echo: hi" {
		t.Errorf("%+v", got)
	}
}

func TestCacheUsage(t *testing.T) {
	s := New(Options{})
	conversation := func(turns string) string {
		return `{"model":"claude-x","max_tokens":9,"system":[{"type":"text","text":"0123456789012345","cache_control":{"type":"ephemeral"}}],"messages":[` + turns + `]}`
	}
	const (
		first       = `{"role":"user","content":[{"type":"text","text":"01234567"}]}`
		firstMarked = `{"role":"user","content":[{"cache_control":{"type":"ephemeral"} , "type":"text","text":"01234567"}]}`
		firstAtEnd  = `{"role":"user","content":[{"type":"text","text":"01234567","cache_control":{"type":"ephemeral"}}]}`
		reply       = `{"role":"assistant","content":"0123"}`
		lastMarked  = `{"role":"user","content":[{"type":"text","text":"0123","cache_control":{"type":"ephemeral"}}]}`
	)
	for _, step := range []struct {
		name, body            string
		input, create, reused int64
	}{
		{"system is written", conversation(first), 2, 4, 0},
		{"system is read", conversation(first), 2, 0, 4},
		{"the message is written", conversation(firstAtEnd), 0, 2, 4},
		{"the mark has moved on", conversation(first + "," + reply + "," + lastMarked), 0, 2, 6},
		{"everything is read", conversation(first + "," + reply + "," + lastMarked), 0, 0, 8},
		{"another order of members", conversation(firstMarked), 0, 2, 4},
		{"another model", strings.Replace(conversation(first), "claude-x", "claude-y", 1), 2, 4, 0},
		{"no mark at all", ask("01234567", ""), 2, 0, 0},
		{"the whole request", ask("01234567", `,"cache_control":{"type":"ephemeral"}`), 0, 2, 0},
		{"the whole request again", ask("01234567", `,"cache_control":{"type":"ephemeral"}`), 0, 0, 2},
	} {
		got := answer200(t, post(t, s, step.body)).Usage
		if got.Input != step.input || got.Creation != step.create || got.Read != step.reused {
			t.Errorf("%s: %+v", step.name, got)
		}
	}
	s.Reset()
	if got := answer200(t, post(t, s, conversation(first))).Usage; got.Creation != 4 {
		t.Errorf("after a reset: %+v", got)
	}
}

func TestBoundedForgetsTheOldest(t *testing.T) {
	b := newBounded(2)
	for key := range uint64(4) {
		b.set(key, int(key))
		b.set(key, int(key)) // again: takes no further place
	}
	if len(b.values) != 2 || b.values[2] != 2 || b.values[3] != 3 {
		t.Errorf("left %v", b.values)
	}
}

// TestThreads: a client that asks the API to hold the conversation is told, in
// the form that the SDKs know, that it must send all of it.
func TestThreads(t *testing.T) {
	const body = `{"model":"claude-haiku-5-5","max_tokens":10,"messages":[{"role":"user","content":"hi"}],"thread":`
	for _, test := range []struct {
		name, thread, beta, part string
		status                   int
	}{
		{"asked for", `{"type":"create"}`, "message-threads-2026-08-12", `"details":{"error_code":"thread_unsupported_request","unsupported":["simulator"]}},"request_id"`, 400},
		{"without its beta", `{"type":"create"}`, "", "thread: Extra inputs are not permitted", 400},
		{"null", `null`, "message-threads-2026-08-12", "Echo: hi", 200},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, r := httptest.NewRecorder(), newRequest(t, http.MethodPost, "/v1/messages", body+test.thread+"}")
			if test.beta != "" {
				r.Header.Set("Anthropic-Beta", test.beta)
			}
			New(Options{}).ServeHTTP(w, r)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.part) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
}
