package openaiapi

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

const hi = `"messages":[{"role":"user","content":"hi"}]`

func TestTranslate(t *testing.T) {
	const tool = `"tools":[{"type":"function","function":{"name":"w","description":"the weather","parameters":{"type":"object","properties":{"c":{"type":"string"}}}}}]`
	const toolWant = `"tools":[{"name":"w","description":"the weather","input_schema":{"type":"object","properties":{"c":{"type":"string"}}}}],`
	tests := []struct {
		name, in, want string // members of the bodies; want without messages
		warnings       string
	}{
		{"defaults", ``, `"max_tokens":4096,`, ""},
		{"nulls", `"model":null,"max_tokens":null,"temperature":null,"top_p":null,"stop":null,"stream":null,"stream_options":null,"tools":null,"tool_choice":null,"user":null,"n":null,"response_format":null`, `"max_tokens":4096,`, ""},
		{"model and limits", `"model":"haiku","max_tokens":7`, `"model":"haiku","max_tokens":7,`, ""},
		{"max_completion_tokens wins", `"max_tokens":7,"max_completion_tokens":8`, `"max_tokens":8,`, ""},
		{"sampling", `"temperature":0.2`, `"max_tokens":4096,"temperature":0.2,`, ""},
		{"top_p", `"top_p":0.9`, `"max_tokens":4096,"top_p":0.9,`, ""},
		{"defaults of sampling", `"temperature":1,"top_p":1.0`, `"max_tokens":4096,`, ""},
		{"temperature is clamped", `"temperature":1.5`, `"max_tokens":4096,`, "temperature: is at most 1 here, and was set to 1"},
		{"one of both", `"temperature":0,"top_p":0.5`, `"max_tokens":4096,"temperature":0,`, "top_p: can't be set beside temperature or reasoning_effort"},
		{"stop string", `"stop":"END"`, `"max_tokens":4096,"stop_sequences":["END"],`, ""},
		{"stop array", `"stop":["a","\n","b"]`, `"max_tokens":4096,"stop_sequences":["a","b"],`, "stop: a sequence of nothing but white space can't be used"},
		{"stream", `"stream":true`, `"max_tokens":4096,"stream":true,`, ""},
		{"user", `"user":"u\u00e4"`, `"max_tokens":4096,"metadata":{"user_id":"u\u00e4"},`, ""},
		{"long user", `"user":"` + strings.Repeat("u", 257) + `"`, `"max_tokens":4096,`, "user: is longer than 256 bytes and isn't sent on"},
		{"effort", `"reasoning_effort":"low","max_tokens":100`, `"thinking":{"type":"enabled","budget_tokens":2048},"max_tokens":2148,`, ""},
		{"effort off", `"reasoning_effort":"minimal"`, `"max_tokens":4096,`, ""},
		{"effort and sampling", `"reasoning_effort":"high","temperature":0.5`, `"thinking":{"type":"enabled","budget_tokens":24576},"max_tokens":28672,`, "temperature: can't be set beside reasoning_effort"},
		{"effort and a forced tool", `"reasoning_effort":"low","tool_choice":"required",` + tool, `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"any"},`, "reasoning_effort: is off where tool_choice forces a tool"},
		{"tools", tool, `"max_tokens":4096,` + toolWant, ""},
		{"tool without parameters", `"tools":[{"type":"function","function":{"name":"n","strict":true}},{"type":"function","function":{"name":"m","parameters":{}}}]`,
			`"max_tokens":4096,"tools":[{"name":"n","input_schema":{"type":"object","properties":{}},"strict":true},{"name":"m","input_schema":{"type":"object","properties":{}}}],`, ""},
		{"choice auto", `"tool_choice":"auto",` + tool, `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"auto"},`, ""},
		{"choice none", `"tool_choice":"none","parallel_tool_calls":false,` + tool, `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"none"},`, ""},
		{"choice function", `"parallel_tool_calls":false,"tool_choice":{"type":"function","function":{"name":"w"}},` + tool, `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"tool","name":"w","disable_parallel_tool_use":true},`, ""},
		{"one call at a time", `"parallel_tool_calls":false,` + tool, `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"auto","disable_parallel_tool_use":true},`, ""},
		{"choice without tools", `"tool_choice":"auto","tools":[]`, `"max_tokens":4096,`, ""},
		{"harmless extras", `"n":1,"logprobs":false,"top_logprobs":0,"modalities":[ "text" ],"response_format":{"type":"text"},"seed":null,"logit_bias":{},"store":false,"frequency_penalty":0,"service_tier":"auto","x_unknown":{"a":[1]}`, `"max_tokens":4096,`, ""},
		{"extras without effect", `"seed":1,"presence_penalty":0.5,"logit_bias":{"1":2},"store":true,"metadata":{"a":"b"},"service_tier":"flex","working_directory":"/x"`, `"max_tokens":4096,`,
			"seed presence_penalty logit_bias store metadata service_tier working_directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			body := "{" + tt.in
			if tt.in != "" {
				body += ","
			}
			body += hi + "}"
			c, err := decode(protocol.NewScanner([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			request, err := c.translate(len(body))
			if err != nil {
				t.Fatal(err)
			}
			if got, want := string(request.Body()), "{"+tt.want+hi+"}"; got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
			warnings := strings.ReplaceAll(strings.Join(c.warnings, " "), ": has no effect here", "")
			if warnings != tt.warnings {
				t.Errorf("warnings = %q, want %q", warnings, tt.warnings)
			}
		})
	}
}

func TestThinkingIsOffBehindToolCalls(t *testing.T) {
	body := `{"reasoning_effort":"low","messages":[{"role":"user","content":"w?"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"sun"}]}`
	c, err := decode(protocol.NewScanner([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	request, err := c.translate(len(body))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(request.Body()), "thinking") || len(c.warnings) != 1 {
		t.Errorf("body %s, warnings %q", request.Body(), c.warnings)
	}
}

func TestRefusals(t *testing.T) {
	tests := []struct{ name, in, param string }{
		{"no messages", `"model":"haiku"`, "messages"},
		{"messages empty", `"messages":[]`, "messages"},
		{"only system", `"messages":[{"role":"system","content":"x"}]`, "messages"},
		{"messages twice", hi + "," + hi, "messages"},
		{"unknown role", `"messages":[{"role":"robot","content":"x"}]`, "messages.0.role"},
		{"model no string", hi + `,"model":1`, "model"},
		{"max_tokens", hi + `,"max_tokens":0`, "max_tokens"},
		{"max_completion_tokens", hi + `,"max_completion_tokens":1.5`, "max_completion_tokens"},
		{"temperature", hi + `,"temperature":2.1`, "temperature"},
		{"temperature no number", hi + `,"temperature":"hot"`, "temperature"},
		{"top_p", hi + `,"top_p":-0.1`, "top_p"},
		{"stop of a wrong kind", hi + `,"stop":[1]`, "stop.0"},
		{"too many stops", hi + `,"stop":["a","b","c","d","e"]`, "stop"},
		{"stream no boolean", hi + `,"stream":"yes"`, "stream"},
		{"stream_options", hi + `,"stream_options":{"include_usage":1}`, "stream_options.include_usage"},
		{"effort", hi + `,"reasoning_effort":"max"`, "reasoning_effort"},
		{"n", hi + `,"n":2`, "n"},
		{"n zero", hi + `,"n":0`, "n"},
		{"logprobs", hi + `,"logprobs":true`, "logprobs"},
		{"top_logprobs", hi + `,"top_logprobs":3`, "top_logprobs"},
		{"audio", hi + `,"audio":{"voice":"x"}`, "audio"},
		{"modalities", hi + `,"modalities":["text","audio"]`, "modalities"},
		{"functions", hi + `,"functions":[{"name":"x"}]`, "functions"},
		{"function_call", hi + `,"function_call":"auto"`, "function_call"},
		{"response_format", hi + `,"response_format":{"type":"json_object"}`, "response_format.type"},
		{"response_format no object", hi + `,"response_format":"json"`, "response_format"},
		{"custom tool", hi + `,"tools":[{"type":"custom","custom":{"name":"x"}}]`, "tools.0.type"},
		{"tool without name", hi + `,"tools":[{"type":"function","function":{}}]`, "tools.0.function.name"},
		{"parameters no object", hi + `,"tools":[{"type":"function","function":{"name":"x","parameters":1}}]`, "tools.0.function.parameters"},
		{"choice", hi + `,"tool_choice":"any"`, "tool_choice"},
		{"choice of a type", hi + `,"tool_choice":{"type":"allowed_tools"}`, "tool_choice.type"},
		{"choice without name", hi + `,"tool_choice":{"type":"function"}`, "tool_choice.function.name"},
		{"forced without tools", hi + `,"tool_choice":"required"`, "tool_choice"},
		{"use_cli", hi + `,"use_cli":1`, "use_cli"},
		{"project_id", hi + `,"project_id":1`, "project_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := decode(protocol.NewScanner([]byte("{" + tt.in + "}")))
			if err == nil {
				_, err = c.translate(0)
			}
			e := apierror.From(err)
			if e == nil || e.Category != apierror.BadRequest || e.Param != tt.param || !strings.HasPrefix(e.Message, tt.param) {
				t.Errorf("err = %v, want it to name %s", err, tt.param)
			}
		})
	}
}

// Whatever is accepted becomes a Messages request; nothing else may come out
// than a bad_request.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"model":"haiku",` + hi + `}`))
	f.Add([]byte(`{"temperature":1e-9,"top_p":0.5,"stop":["a","\""],"user":"\\","reasoning_effort":"low","tools":[{"type":"function","function":{"name":"w","description":"\n","parameters":{"a":[]}}}],"tool_choice":{"type":"function","function":{"name":"w"}},` + hi + `}`))
	f.Add([]byte(`{"messages":[{"role":"developer","content":"a"},{"role":"user","content":[{"type":"text","text":"b"},{"type":"image_url","image_url":{"url":"https://x.test/\""}}]}],"stream":true,"stream_options":{"include_usage":true},"response_format":{"type":"text"}}`))
	f.Add([]byte(`{"mess\u0061ges":[],"messages":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decode(protocol.NewScanner(body))
		var request *message.Request
		if err == nil {
			request, err = c.translate(len(body))
		}
		if err != nil {
			if e := apierror.From(err); e.Category != apierror.BadRequest {
				t.Fatalf("category of %v", err)
			}
			return
		}
		if request.Stream != c.stream || request.MaxTokens < 1 {
			t.Fatalf("%s became %s", body, request.Body())
		}
	})
}
