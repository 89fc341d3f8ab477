package openaiapi

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

const hi = `"messages":[{"role":"user","content":"hi"}]`

// What models of three generations take.
var (
	older  = message.Rules{Thinking: []string{"enabled", "disabled"}, Efforts: []string{}, MaxOutputTokens: 32_000}
	oldest = message.Rules{Thinking: []string{"disabled"}, Efforts: []string{}, NoStructuredOutputs: true, MaxOutputTokens: 8_192}
	newer  = message.Rules{
		Thinking: []string{"adaptive", "between_tools"}, ThinksByDefault: true, ThinkingHidden: true,
		Efforts: []string{"low", "medium", "high", "xhigh", "max"}, NoSampling: true, NoForcedTools: true, MaxOutputTokens: 128_000,
	}
	optional = message.Rules{Thinking: []string{"adaptive", "disabled"}, ThinksByDefault: true, Efforts: []string{"low", "medium", "high"}, NoSampling: true}
	restless = message.Rules{Thinking: []string{"adaptive"}, ThinksByDefault: true, Efforts: []string{"low", "high"}}
)

func TestTranslate(t *testing.T) {
	const tool = `"tools":[{"type":"function","function":{"name":"w","description":"the weather","parameters":{"type":"object","properties":{"c":{"type":"string"}}}}}]`
	const toolWant = `"tools":[{"name":"w","description":"the weather","input_schema":{"type":"object","properties":{"c":{"type":"string"}}}}],`
	const two = `"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"b"}}]`
	const empty = `"input_schema":{"type":"object","properties":{}}`
	tests := []struct {
		name     string
		rules    message.Rules
		in, want string // members of the bodies; want without messages
		warnings string
	}{
		{name: "defaults", want: `"max_tokens":4096,`},
		{name: "nulls", in: `"model":null,"max_tokens":null,"temperature":null,"top_p":null,"top_k":null,"stop":null,"stream":null,"stream_options":null,"tools":null,"tool_choice":null,"user":null,"n":null,"response_format":null,"reasoning_effort":null,"thinking":null,"timeout":null,"modalities":null,"parallel_tool_calls":null`, want: `"max_tokens":4096,`},
		{name: "model and limits", in: `"model":"haiku","max_tokens":7`, want: `"model":"haiku","max_tokens":7,`},
		{name: "max_completion_tokens wins", in: `"max_tokens":7,"max_completion_tokens":8`, want: `"max_tokens":8,`},
		{name: "more than the model writes", rules: older, in: `"max_tokens":9223372036854775807`, want: `"max_tokens":32000,`, warnings: "max_tokens: the model writes at most 32000 tokens"},
		{name: "sampling", in: `"temperature":0.2`, want: `"max_tokens":4096,"temperature":0.2,`},
		{name: "top_p", in: `"top_p":0.9`, want: `"max_tokens":4096,"top_p":0.9,`},
		{name: "top_k", in: `"top_k":40`, want: `"max_tokens":4096,"top_k":40,`},
		{name: "no top_k", in: `"top_k":-1`, want: `"max_tokens":4096,`},
		{name: "defaults of sampling", in: `"temperature":1,"top_p":1.0`, want: `"max_tokens":4096,`},
		{name: "temperature is clamped", in: `"temperature":1.5`, want: `"max_tokens":4096,`, warnings: "temperature: is at most 1 here, and was set to 1"},
		{name: "one of both", in: `"temperature":0,"top_p":0.5`, want: `"max_tokens":4096,"temperature":0,`, warnings: "top_p: can't be set beside temperature"},
		{name: "a model without sampling", rules: newer, in: `"temperature":0,"top_p":0.5,"top_k":3`, want: `"thinking":{"type":"between_tools"},"max_tokens":4096,`,
			warnings: "temperature: the model doesn't take it top_p: the model doesn't take it top_k: the model doesn't take it"},
		{name: "stop string", in: `"stop":"END"`, want: `"max_tokens":4096,"stop_sequences":["END"],`},
		{name: "stop array", in: `"stop":["a","\n","b"]`, want: `"max_tokens":4096,"stop_sequences":["a","b"],`, warnings: "stop: a sequence of nothing but white space can't be used"},
		{name: "stream", in: `"stream":true,"stream_options":{"include_usage":true,"include_obfuscation":false}`, want: `"max_tokens":4096,"stream":true,`},
		{name: "user", in: `"user":"u\u00e4"`, want: `"max_tokens":4096,"metadata":{"user_id":"u\u00e4"},`},
		{name: "safety_identifier", in: `"user":"u","safety_identifier":"s"`, want: `"max_tokens":4096,"metadata":{"user_id":"s"},`},
		{name: "long user", in: `"user":"` + strings.Repeat("u", 257) + `"`, want: `"max_tokens":4096,`, warnings: "user: is longer than 256 bytes and isn't sent on"},

		{name: "effort", rules: newer, in: `"reasoning_effort":"low"`, want: `"thinking":{"type":"adaptive","display":"summarized"},"max_tokens":6144,"output_config":{"effort":"low"},`},
		{name: "effort and a limit for both", rules: newer, in: `"reasoning_effort":"max","max_completion_tokens":500`, want: `"thinking":{"type":"adaptive","display":"summarized"},"max_tokens":500,"output_config":{"effort":"max"},`},
		{name: "effort and a limit for the text", rules: newer, in: `"reasoning_effort":"high","max_tokens":120000`, want: `"thinking":{"type":"adaptive","display":"summarized"},"max_tokens":128000,"output_config":{"effort":"high"},`},
		{name: "effort that the model doesn't know", rules: optional, in: `"reasoning_effort":"xhigh"`, want: `"thinking":{"type":"adaptive"},"max_tokens":36095,"output_config":{"effort":"high"},`, warnings: "reasoning_effort: the model doesn't know xhigh; it was set to high"},
		{name: "effort, unknown model", in: `"reasoning_effort":"medium"`, want: `"thinking":{"type":"adaptive"},"max_tokens":12288,"output_config":{"effort":"medium"},`},
		{name: "effort off", in: `"reasoning_effort":"minimal"`, want: `"max_tokens":4096,`},
		{name: "effort off where it is on by itself", rules: optional, in: `"reasoning_effort":"none"`, want: `"thinking":{"type":"disabled"},"max_tokens":4096,`},
		{name: "effort not asked where it is on by itself", rules: optional, want: `"thinking":{"type":"disabled"},"max_tokens":4096,`},
		{name: "effort off where it is always on", rules: restless, in: `"reasoning_effort":"none"`, want: `"max_tokens":6144,"output_config":{"effort":"low"},`, warnings: "reasoning_effort: the model always thinks; it was asked to think little"},
		{name: "budget", rules: older, in: `"reasoning_effort":"low","max_tokens":100`, want: `"thinking":{"type":"enabled","budget_tokens":2048},"max_tokens":2148,`},
		{name: "budget and the model's limit", rules: older, in: `"reasoning_effort":"high","max_tokens":20000`, want: `"thinking":{"type":"enabled","budget_tokens":24576},"max_tokens":32000,`},
		{name: "budget and an endless answer", rules: message.Rules{Thinking: []string{"enabled"}}, in: `"reasoning_effort":"xhigh","max_tokens":9223372036854775807`, want: `"thinking":{"type":"enabled","budget_tokens":31999},"max_tokens":9223372036854775807,`},
		{name: "budget within a limit for both", rules: older, in: `"reasoning_effort":"high","max_completion_tokens":10000`, want: `"thinking":{"type":"enabled","budget_tokens":5000},"max_tokens":10000,`},
		{name: "no room for a budget", rules: older, in: `"reasoning_effort":"high","max_completion_tokens":2000`, want: `"max_tokens":2000,`, warnings: "reasoning_effort: there is no room for thinking in so short an answer"},
		{name: "a model that doesn't think", rules: oldest, in: `"reasoning_effort":"low"`, want: `"max_tokens":4096,`, warnings: "reasoning_effort: the model doesn't think"},
		{name: "effort and sampling", rules: older, in: `"reasoning_effort":"high","temperature":0.5,"top_k":3`, want: `"thinking":{"type":"enabled","budget_tokens":24576},"max_tokens":28672,`, warnings: "temperature: can't be set beside reasoning top_k: can't be set beside reasoning"},
		{name: "effort and a forced tool", rules: optional, in: `"reasoning_effort":"low","tool_choice":"required",` + tool, want: `"thinking":{"type":"disabled"},"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"any"},`, warnings: "reasoning_effort: is off where tool_choice forces a tool"},
		{name: "thinking passes", rules: newer, in: `"thinking":{"type":"adaptive", "display":"omitted"},"reasoning_effort":"low"`, want: `"thinking":{"type":"adaptive", "display":"omitted"},"max_tokens":6144,"output_config":{"effort":"low"},`},
		{name: "thinking without an effort", rules: newer, in: `"thinking":{"type":"adaptive"}`, want: `"thinking":{"type":"adaptive"},"max_tokens":28672,`},
		{name: "thinking with a budget", rules: older, in: `"thinking":{"type":"enabled","budget_tokens":2000},"temperature":0`, want: `"thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":6096,`, warnings: "temperature: can't be set beside reasoning"},
		{name: "thinking with a budget and a limit", rules: older, in: `"thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":2500`, want: `"thinking":{"type":"enabled","budget_tokens":2000},"max_tokens":2500,`},
		{name: "thinking off", rules: optional, in: `"thinking":{"type":"disabled"},"tool_choice":"required",` + tool, want: `"thinking":{"type":"disabled"},"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"any"},`},
		{name: "thinking and a forced tool", rules: older, in: `"thinking":{"type":"enabled","budget_tokens":2000},"tool_choice":"required",` + tool, want: `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"any"},`, warnings: "thinking: is off where tool_choice forces a tool"},

		{name: "tools", in: tool, want: `"max_tokens":4096,` + toolWant},
		{name: "tool without parameters", in: `"tools":[{"type":"function","function":{"name":"n"}},{"type":"function","function":{"name":"m","parameters":{}}}]`,
			want: `"max_tokens":4096,"tools":[{"name":"n",` + empty + `},{"name":"m",` + empty + `}],`},
		{name: "strict tool", in: `"tools":[{"type":"function","function":{"name":"n","strict":true,"parameters":{"type":"object","properties":{"a":{"type":"integer","minimum":1}}}}}]`,
			want:     `"max_tokens":4096,"tools":[{"name":"n","input_schema":{"type":"object","properties":{"a":{"type":"integer","description":"{minimum: 1}"}},"additionalProperties":false},"strict":true}],`,
			warnings: "tools.0.function.parameters: can't be enforced and stand in descriptions: minimum"},
		{name: "strict tool of an old model", rules: oldest, in: `"tools":[{"type":"function","function":{"name":"n","strict":true}}]`,
			want: `"max_tokens":4096,"tools":[{"name":"n",` + empty + `}],`, warnings: "tools.0.function.parameters: the model can't be held to a strict schema"},
		{name: "cached tools", in: `"tools":[{"type":"function","function":{"name":"a"},"cache_control":{"type":"ephemeral"}},{"type":"function","function":{"name":"b","cache_control":{"type":"ephemeral","ttl":"1h"}}}]`,
			want: `"max_tokens":4096,"tools":[{"name":"a",` + empty + `,"cache_control":{"type":"ephemeral"}},{"name":"b",` + empty + `,"cache_control":{"type":"ephemeral","ttl":"1h"}}],`},
		{name: "choice auto", in: `"tool_choice":"auto",` + tool, want: `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"auto"},`},
		{name: "choice none", in: `"tool_choice":"none","parallel_tool_calls":false,` + tool, want: `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"none"},`},
		{name: "choice function", in: `"parallel_tool_calls":false,"tool_choice":{"type":"function","function":{"name":"w"}},` + tool, want: `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"tool","name":"w","disable_parallel_tool_use":true},`},
		{name: "choice with nulls", in: `"tool_choice":{"type":"function","function":{"name":"w"},"allowed_tools":null},` + tool, want: `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"tool","name":"w"},`},
		{name: "one call at a time", in: `"parallel_tool_calls":false,` + tool, want: `"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"auto","disable_parallel_tool_use":true},`},
		{name: "choice without tools", in: `"tool_choice":"auto","tools":[]`, want: `"max_tokens":4096,`},
		{name: "allowed tools", in: `"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"function","function":{"name":"\u0062"}}]}},` + two,
			want: `"max_tokens":4096,"tools":[{"name":"b",` + empty + `}],"tool_choice":{"type":"auto"},`},
		{name: "allowed tools, one required", in: `"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"function":{"name":"a"}},{"function":{"name":"b"}}]}},` + two,
			want: `"max_tokens":4096,"tools":[{"name":"a",` + empty + `},{"name":"b",` + empty + `}],"tool_choice":{"type":"any"},`},
		{name: "no allowed tools", in: `"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[]}},` + two, want: `"max_tokens":4096,`},
		{name: "required of a model that can't be forced", rules: newer, in: `"tool_choice":"required",` + tool, want: `"thinking":{"type":"between_tools"},"max_tokens":4096,` + toolWant + `"tool_choice":{"type":"auto"},"system":"Answer by calling one of the tools.",`,
			warnings: "tool_choice: the model can't be forced to call a tool; it was asked to"},
		{name: "a function of a model that can't be forced", rules: newer, in: `"reasoning_effort":"low","tool_choice":{"type":"function","function":{"name":"w"}},` + tool,
			want:     `"thinking":{"type":"adaptive","display":"summarized"},"max_tokens":6144,` + toolWant + `"tool_choice":{"type":"auto"},"output_config":{"effort":"low"},"system":"Answer by calling the tool w.",`,
			warnings: "tool_choice: the model can't be forced to call a tool; it was asked to"},

		{name: "json_schema", in: `"response_format":{"type":"json_schema","json_schema":{"name":"n","strict":true,"schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}}`,
			want: `"max_tokens":4096,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"string"}},"required":["a"],"additionalProperties":false}}},`},
		{name: "json_schema with what can't be enforced, and an effort", in: `"reasoning_effort":"low","response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"type":"object","properties":{"a":{"type":"string","minLength":2},"b":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":"number","maximum":9}}}}}`,
			want:     `"thinking":{"type":"adaptive"},"max_tokens":6144,"output_config":{"effort":"low","format":{"type":"json_schema","schema":{"description":"d","type":"object","properties":{"a":{"type":"string","description":"{minLength: 2}"},"b":{"$ref":"#/$defs/b"}},"$defs":{"b":{"type":"number","description":"{maximum: 9}"}},"additionalProperties":false}}},`,
			warnings: "response_format.json_schema.schema: can't be enforced and stand in descriptions: minLength, maximum"},
		{name: "json_schema of an old model", rules: oldest, in: `"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object"}}}`,
			want: `"max_tokens":4096,"system":"` + protocol.JSONInstruction + ` It must be valid under this JSON schema:\n{\"type\":\"object\"}",`, warnings: "response_format.json_schema.schema: the model can't be held to a schema; it was asked to keep to it"},
		{name: "json_object", in: `"response_format":{"type":"json_object"}`, want: `"max_tokens":4096,"system":"` + protocol.JSONInstruction + `",`},

		{name: "what asks for nothing", in: `"n":1,"logprobs":false,"top_logprobs":0,"modalities":[ "text" ],"response_format":{"type":"text"},"seed":null,"logit_bias":{},"store":false,"frequency_penalty":0,"service_tier":"auto","verbosity":"medium","audio":null,"functions":[],"x_unknown":null`, want: `"max_tokens":4096,`},
		{name: "what has no effect", in: `"seed":1,"frequency_penalty":1,"presence_penalty":0.5,"logit_bias":{"1":2},"store":true,"metadata":{"a":"b"},"prediction":{"type":"content"},"web_search_options":{"search_context_size":"low"},"moderation":{"model":"m"},"prompt_cache_key":"k","prompt_cache_retention":"24h","prompt_cache_options":{"ttl":"30m"},"service_tier":"flex","verbosity":"low"`, want: `"max_tokens":4096,`,
			warnings: "seed frequency_penalty presence_penalty logit_bias store metadata prediction web_search_options moderation prompt_cache_key prompt_cache_retention prompt_cache_options service_tier verbosity"},
		{name: "what asks for an agent", in: `"allowed_tools":["Read"],"working_directory":"/x"`, want: `"max_tokens":4096,`},
		{name: "unknown members", in: `"guided_json":{"a":1},"stream_options":{"x":1},"response_format":{"type":"text","y":2},` + `"tools":[{"type":"function","z":1,"function":{"name":"n","w":1}}]`,
			want:     `"max_tokens":4096,"tools":[{"name":"n",` + empty + `}],`,
			warnings: "guided_json: isn't known here stream_options.x: isn't known here response_format.y: isn't known here tools.z: isn't known here tools.function.w: isn't known here"},
		{name: "many unknown members", in: `"a1":1,"a2":1,"a3":1,"a4":1,"a5":1,"a6":1,"a7":1,"` + strings.Repeat("a", 100) + `":1,"a9":1,"a10":1`, want: `"max_tokens":4096,`,
			warnings: "a1: isn't known here a2: isn't known here a3: isn't known here a4: isn't known here a5: isn't known here a6: isn't known here a7: isn't known here " + strings.Repeat("a", 64) + ": isn't known here 2 more unknown members"},
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
			request, err := c.translate(tt.rules, len(body))
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

func TestMessagesAreNamedInWarnings(t *testing.T) {
	c, err := decode(protocol.NewScanner([]byte(`{"messages":[{"role":"user","name":"ann","content":"hi"}]}`)))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.warnings, " "); got != "messages.name: has no effect here" {
		t.Errorf("warnings = %q", got)
	}
}

func TestThinkingBehindToolCalls(t *testing.T) {
	body := `{"reasoning_effort":"low","messages":[{"role":"user","content":"w?"},{"role":"assistant","tool_calls":[{"id":"c","function":{"name":"w","arguments":"{}"}}]},{"role":"tool","tool_call_id":"c","content":"sun"}]}`
	for _, tt := range []struct {
		name     string
		rules    message.Rules
		thinks   bool
		warnings int
	}{{"a budget", older, false, 1}, {"adaptive", newer, true, 0}} {
		t.Run(tt.name, func(t *testing.T) {
			c, err := decode(protocol.NewScanner([]byte(body)))
			if err != nil {
				t.Fatal(err)
			}
			request, err := c.translate(tt.rules, len(body))
			if err != nil {
				t.Fatal(err)
			}
			if strings.Contains(string(request.Body()), `"thinking"`) != tt.thinks || len(c.warnings) != tt.warnings {
				t.Errorf("body %s, warnings %q", request.Body(), c.warnings)
			}
		})
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
		{"effort", hi + `,"reasoning_effort":"huge"`, "reasoning_effort"},
		{"effort no string", hi + `,"reasoning_effort":1`, "reasoning_effort"},
		{"thinking no object", hi + `,"thinking":"on"`, "thinking"},
		{"thinking without type", hi + `,"thinking":{}`, "thinking.type"},
		{"thinking with a small budget", hi + `,"thinking":{"type":"enabled","budget_tokens":10}`, "thinking.budget_tokens"},
		{"top_k", hi + `,"top_k":1.5`, "top_k"},
		{"timeout", hi + `,"timeout":-1`, "timeout"},
		{"timeout no number", hi + `,"timeout":"1s"`, "timeout"},
		{"messages null", `"messages":null`, "messages"},
		{"uploaded file", `"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"f"}}]}]`, "messages.0.content.0.file.file_id"},
		{"input_audio", `"messages":[{"role":"user","content":[{"type":"input_audio","input_audio":{}}]}]`, "messages.0.content.0.type"},
		{"n", hi + `,"n":2`, "n"},
		{"n zero", hi + `,"n":0`, "n"},
		{"logprobs", hi + `,"logprobs":true`, "logprobs"},
		{"top_logprobs", hi + `,"top_logprobs":3`, "top_logprobs"},
		{"audio", hi + `,"audio":{"voice":"x"}`, "audio"},
		{"modalities", hi + `,"modalities":["text","audio"]`, "modalities"},
		{"functions", hi + `,"functions":[{"name":"x"}]`, "functions"},
		{"function_call", hi + `,"function_call":"auto"`, "function_call"},
		{"response_format", hi + `,"response_format":{"type":"grammar"}`, "response_format.type"},
		{"response_format without type", hi + `,"response_format":{}`, "response_format.type"},
		{"json_schema absent", hi + `,"response_format":{"type":"json_schema"}`, "response_format.json_schema"},
		{"json_schema without name", hi + `,"response_format":{"type":"json_schema","json_schema":{"schema":{}}}`, "response_format.json_schema.name"},
		{"json_schema without schema", hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"n"}}`, "response_format.json_schema.schema"},
		{"json_schema of a wrong kind", hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":[]}}`, "response_format.json_schema.schema"},
		{"json_schema nested too deeply", hi + `,"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":` + strings.Repeat(`{"items":`, 70) + `{}` + strings.Repeat(`}`, 70) + `}}`, "response_format.json_schema.schema"},
		{"response_format no object", hi + `,"response_format":"json"`, "response_format"},
		{"custom tool", hi + `,"tools":[{"type":"custom","custom":{"name":"x"}}]`, "tools.0.type"},
		{"tool without name", hi + `,"tools":[{"type":"function","function":{}}]`, "tools.0.function.name"},
		{"parameters no object", hi + `,"tools":[{"type":"function","function":{"name":"x","parameters":1}}]`, "tools.0.function.parameters"},
		{"choice", hi + `,"tool_choice":"any"`, "tool_choice"},
		{"choice of a type", hi + `,"tool_choice":{"type":"custom","custom":{"name":"x"}}`, "tool_choice.type"},
		{"choice without a type", hi + `,"tool_choice":{}`, "tool_choice.type"},
		{"choice of no function", hi + `,"tools":[{"type":"function","function":{"name":"x"}}],"tool_choice":{"type":"function","function":{"name":"y"}}`, "tool_choice.function.name"},
		{"allowed tools absent", hi + `,"tool_choice":{"type":"allowed_tools"}`, "tool_choice.allowed_tools"},
		{"allowed tools without mode", hi + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"tools":[]}}`, "tool_choice.allowed_tools.mode"},
		{"allowed tools of a mode", hi + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"none","tools":[]}}`, "tool_choice.allowed_tools.mode"},
		{"allowed tools of no function", hi + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"function":{"name":"y"}}]}}`, "tool_choice.allowed_tools.tools"},
		{"allowed tools of a type", hi + `,"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[{"type":"mcp","function":{"name":"y"}}]}}`, "tool_choice.allowed_tools.tools.0.type"},
		{"cache_control", hi + `,"tools":[{"type":"function","cache_control":1,"function":{"name":"x"}}]`, "tools.0.cache_control"},
		{"choice without name", hi + `,"tool_choice":{"type":"function"}`, "tool_choice.function.name"},
		{"forced without tools", hi + `,"tool_choice":"required"`, "tool_choice"},
		{"use_cli", hi + `,"use_cli":1`, "use_cli"},
		{"project_id", hi + `,"project_id":1`, "project_id"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := decode(protocol.NewScanner([]byte("{" + tt.in + "}")))
			if err == nil {
				_, err = c.translate(message.Rules{}, 0)
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
	f.Add([]byte(`{"response_format":{"type":"json_schema","json_schema":{"name":"n","description":"d","schema":{"oneOf":[{"minimum":1}]}}},"thinking":{"type":"enabled","budget_tokens":2000},"max_completion_tokens":9223372036854775807,` + hi + `}`))
	f.Add([]byte(`{"tools":[{"type":"function","function":{"name":"a","strict":true,"parameters":{"type":"object"}},"cache_control":{}}],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"function":{"name":"a"}}]}},"timeout":1e-9,"top_k":-1,` + hi + `}`))
	f.Add([]byte(`{"mess\u0061ges":[],"messages":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		c, err := decode(protocol.NewScanner(body))
		var request *message.Request
		if err == nil {
			request, err = c.translate(newer, len(body))
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
