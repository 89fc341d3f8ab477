package responsesapi

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// translated decodes a body and gives its Messages request.
func translated(body string, rules message.Rules) (*request, string, error) {
	c := &request{}
	if err := c.decode(protocol.NewScanner([]byte(body))); err != nil {
		return nil, "", err
	}
	talk, err := c.join(nil, c.input.items)
	if err != nil {
		return nil, "", err
	}
	r, _, err := c.translate(&talk, &rules)
	if err != nil {
		return nil, "", err
	}
	return c, string(r.Body()), nil
}

const hi = `"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]}]}`

func TestTranslate(t *testing.T) {
	newest := message.Rules{
		Thinking: []string{"adaptive", "between_tools"}, ThinksByDefault: true, Efforts: []string{"low", "medium", "high", "xhigh", "max"},
		NoSampling: true, NoForcedTools: true, MaxOutputTokens: 10_000,
	}
	old := message.Rules{Thinking: []string{"enabled", "disabled"}, Efforts: []string{}}
	const tools = `"tools":[{"type":"function","name":"a","parameters":{"type":"object"}},{"type":"function","name":"b"}]`
	const asTools = `"tools":[{"name":"a","input_schema":{"type":"object"}},{"name":"b","input_schema":{"type":"object","properties":{}}}],`
	for _, tt := range []struct {
		name, body string
		rules      message.Rules
		want       string
		warned     string // the fields, in order
	}{
		{"a text", `{"input":"hi"}`, message.Rules{}, `{"max_tokens":4096,` + hi, ""},
		{"a model and what it thinks by itself", `{"model":"sonnet","input":"hi"}`, newest, `{"model":"sonnet","thinking":{"type":"between_tools"},"max_tokens":4096,` + hi, ""},
		{"all that is simple", `{"model":"m","input":"hi","instructions":"be \"brief\"","max_output_tokens":7,"temperature":0.5,"stream":true,"user":"u","parallel_tool_calls":true}`, message.Rules{},
			`{"model":"m","max_tokens":7,"temperature":0.5,"stream":true,"metadata":{"user_id":"u"},"system":"be \"brief\"",` + hi, ""},
		{"the safety identifier wins", `{"input":"hi","user":"u","safety_identifier":"s"}`, message.Rules{}, `{"max_tokens":4096,"metadata":{"user_id":"s"},` + hi, ""},
		{"a long user", `{"input":"hi","user":"` + strings.Repeat("u", 257) + `"}`, message.Rules{}, `{"max_tokens":4096,` + hi, "user"},
		{"an effort", `{"input":"hi","reasoning":{"effort":"high","summary":"auto"}}`, newest,
			`{"thinking":{"type":"adaptive","display":"summarized"},"max_tokens":10000,"output_config":{"effort":"high"},` + hi, ""},
		{"an effort as a budget", `{"input":"hi","reasoning":{"effort":"low"}}`, old, `{"thinking":{"type":"enabled","budget_tokens":2048},"max_tokens":6144,` + hi, ""},
		{"a budget within max_output_tokens", `{"input":"hi","max_output_tokens":2500,"reasoning":{"effort":"high"}}`, old, `{"thinking":{"type":"enabled","budget_tokens":1476},"max_tokens":2500,` + hi, ""},
		{"no room for a budget", `{"input":"hi","max_output_tokens":2000,"reasoning":{"effort":"high"}}`, old, `{"max_tokens":2000,` + hi, "reasoning.effort"},
		{"sampling beside thinking", `{"input":"hi","temperature":0.5,"reasoning":{"effort":"low"}}`, old, `{"thinking":{"type":"enabled","budget_tokens":2048},"max_tokens":6144,` + hi, "temperature"},
		{"no sampling", `{"input":"hi","temperature":0.5,"top_p":0.5}`, newest, `{"thinking":{"type":"between_tools"},"max_tokens":4096,` + hi, "temperature top_p"},
		{"tools", `{"input":"hi",` + tools + `}`, message.Rules{}, `{"max_tokens":4096,` + asTools + hi, ""},
		{"one call at a time", `{"input":"hi","parallel_tool_calls":false,` + tools + `}`, message.Rules{}, `{"max_tokens":4096,` + asTools + `"tool_choice":{"type":"auto","disable_parallel_tool_use":true},` + hi, ""},
		{"any tool", `{"input":"hi","tool_choice":"required",` + tools + `}`, message.Rules{}, `{"max_tokens":4096,` + asTools + `"tool_choice":{"type":"any"},` + hi, ""},
		{"no tool", `{"input":"hi","tool_choice":"none","parallel_tool_calls":false,` + tools + `}`, message.Rules{}, `{"max_tokens":4096,` + asTools + `"tool_choice":{"type":"none"},` + hi, ""},
		{"a tool by name, and so no thinking", `{"input":"hi","reasoning":{"effort":"low"},"tool_choice":{"type":"function","name":"b"},` + tools + `}`, old,
			`{"max_tokens":4096,` + asTools + `"tool_choice":{"type":"tool","name":"b"},` + hi, "reasoning.effort"},
		{"a tool by name for a model that can't be forced", `{"input":"hi","tool_choice":{"type":"function","name":"b"},` + tools + `}`, newest,
			`{"thinking":{"type":"between_tools"},"max_tokens":4096,"tools":[{"name":"b","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"auto"},` + hi, "tool_choice"},
		{"allowed tools", `{"input":"hi","tool_choice":{"type":"allowed_tools","mode":"required","tools":[{"type":"function","name":"b"}]},` + tools + `}`, message.Rules{},
			`{"max_tokens":4096,"tools":[{"name":"b","input_schema":{"type":"object","properties":{}}}],"tool_choice":{"type":"any"},` + hi, ""},
		{"a strict tool", `{"input":"hi","tools":[{"type":"function","name":"a","description":"d","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer","minimum":1}}}}]}`, message.Rules{},
			`{"max_tokens":4096,"tools":[{"name":"a","description":"d","input_schema":{"type":"object","properties":{"n":{"type":"integer","description":"{minimum: 1}"}},"additionalProperties":false},"strict":true}],` + hi, "tools.0.parameters"},
		{"a schema", `{"input":"hi","text":{"format":{"type":"json_schema","name":"n","schema":{"type":"object","properties":{"a":{"type":"string"}}}}}}`, message.Rules{},
			`{"max_tokens":4096,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}}},` + hi, ""},
		{"JSON in the system prompt", `{"input":"hi","instructions":"x","text":{"format":{"type":"json_object"}}}`, message.Rules{},
			`{"max_tokens":4096,"system":"x\n\n` + protocol.JSONInstruction + `",` + hi, ""},
		{"what has no effect", `{"input":"hi","truncation":"auto","service_tier":"flex","max_tool_calls":3,"text":{"verbosity":"low"},"include":["file_search_call.results"],"stream_options":{"include_obfuscation":true},"reasoning":{"context":"all_turns"},"x":1,"project_id":"p"}`, message.Rules{},
			`{"max_tokens":4096,` + hi, "truncation service_tier max_tool_calls text.verbosity include stream_options.include_obfuscation reasoning.context x project_id"},
		{"what asks for nothing", `{"input":"hi","truncation":"disabled","service_tier":"auto","max_tool_calls":null,"text":{"verbosity":"medium","format":{"type":"text"}},"include":[],"background":false,"conversation":null,"top_logprobs":0,"prompt":null,"x":null,"reasoning":null,"tools":[],"tool_choice":null,"metadata":null}`, message.Rules{},
			`{"max_tokens":4096,` + hi, ""},
		{"images and files", `{"input":[{"role":"user","content":[{"type":"input_image","image_url":"https:\/\/x.test\/a.png","detail":"low"},{"type":"input_image","image_url":"data:image/png;base64,aGk="},` +
			`{"type":"input_file","filename":"a.pdf","file_data":"data:application/pdf;base64,JVBERi0x"},{"type":"input_file","file_url":"https://x.test/a.pdf"}]}]}`, message.Rules{},
			`{"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}},` +
				`{"type":"document","source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0x"},"title":"a.pdf"},{"type":"document","source":{"type":"url","url":"https://x.test/a.pdf"}}]}]}`, "input.content.detail"},
		{"turns are joined, empty texts left out", `{"input":[{"role":"system","content":"s"},{"role":"user","content":"a"},{"role":"user","content":[{"type":"input_text","text":"b"},{"type":"input_text","text":""}]},` +
			`{"type":"message","role":"assistant","content":[{"type":"output_text","text":"","annotations":[]}]},{"type":"function_call","call_id":"c1","name":"f","arguments":""},{"type":"function_call","call_id":"c2","name":"f","arguments":"{\"a\":1}"},` +
			`{"type":"function_call_output","call_id":"c1","output":""},{"type":"function_call_output","call_id":"c2","output":[{"type":"input_text","text":"r"},{"type":"input_image","image_url":"https://x.test/a.png"}]},` +
			`{"role":"developer","content":[{"type":"input_text","text":"d"},{"type":"input_text","text":"e"}]},{"role":"user","content":"c"}]}`, message.Rules{},
			`{"max_tokens":4096,"system":"s\n\nd\n\ne","messages":[{"role":"user","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},` +
				`{"role":"assistant","content":[{"type":"tool_use","id":"c1","name":"f","input":{}},{"type":"tool_use","id":"c2","name":"f","input":{"a":1}}]},` +
				`{"role":"user","content":[{"type":"tool_result","tool_use_id":"c1"},{"type":"tool_result","tool_use_id":"c2","content":[{"type":"text","text":"r"},{"type":"image","source":{"type":"url","url":"https://x.test/a.png"}}]},{"type":"text","text":"c"}]}]}`, ""},
		{"no thinking behind calls without theirs", `{"reasoning":{"effort":"low"},"input":[{"role":"user","content":"hi"},{"type":"function_call","call_id":"c","name":"f","arguments":"{}"},{"type":"function_call_output","call_id":"c","output":"r"}]}`, old,
			`{"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":[{"type":"tool_use","id":"c","name":"f","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"c","content":[{"type":"text","text":"r"}]}]}]}`, "reasoning.effort"},
		{"another service's reasoning", `{"input":[{"role":"user","content":"hi"},{"type":"reasoning","id":"rs_1","summary":[{"type":"summary_text","text":"x"}],"content":[{"type":"reasoning_text","text":"x"}],"encrypted_content":"gAAAA"}]}`, message.Rules{},
			`{"max_tokens":4096,` + hi, "input.content.reasoning_text input.reasoning"},
		{"a schema with a description, and what isn't known", `{"input":"hi","text":{"format":{"type":"json_schema","name":"n","description":"d","x":1,"schema":{"type":"string"}}},"tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"allowed_tools","mode":"auto","x":1,"tools":[{"type":"function","name":"f","y":1}]}}`, message.Rules{},
			`{"max_tokens":4096,"output_config":{"format":{"type":"json_schema","schema":{"description":"d","type":"string"}}},"tools":[{"name":"f","input_schema":{"type":"object","properties":{}}}],` + hi, "text.format.x tool_choice.x tool_choice.tools.y"},
		{"a schema for a model that can't be held to one", `{"input":"hi","text":{"format":{"type":"json_schema","schema":{"type":"string"}}}}`, message.Rules{NoStructuredOutputs: true},
			`{"max_tokens":4096,"system":"` + protocol.JSONInstruction + ` It must be valid under this JSON schema:\n{\"type\":\"string\"}",` + hi, "text.format.schema"},
		{"a strict tool for a model that can't be held to one", `{"input":"hi","tools":[{"type":"function","name":"a","strict":true,"parameters":{"type":"object","properties":{"n":{"minimum":1}}}}]}`, message.Rules{NoStructuredOutputs: true},
			`{"max_tokens":4096,"tools":[{"name":"a","input_schema":{"type":"object","properties":{"n":{"minimum":1}}}}],` + hi, "tools.0.parameters"},
		{"a turn of thinking alone", `{"input":[{"role":"user","content":"hi"},{"type":"reasoning","encrypted_content":` + string(sealThinking(nil, []byte(`{"type":"thinking","thinking":"x","signature":"s"}`))) + `},{"role":"user","content":"go on"}]}`, message.Rules{},
			`{"max_tokens":4096,"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"user","content":[{"type":"text","text":"go on"}]}]}`, ""},
		{"members of items", `{"input":[{"role":"user","content":[{"type":"input_text","text":"hi","prompt_cache_breakpoint":{"mode":"explicit"}}],"phase":"commentary"}]}`, message.Rules{},
			`{"max_tokens":4096,` + hi, "input.content.prompt_cache_breakpoint input.phase"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, got, err := translated(tt.body, tt.rules)
			if err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
			var warned []string
			for _, w := range c.warnings {
				field, _, _ := strings.Cut(w, ":")
				warned = append(warned, field)
			}
			if strings.Join(warned, " ") != tt.warned {
				t.Errorf("warnings are %q", c.warnings)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct{ name, body, param, text string }{
		{"no object", `[]`, "", "must be a JSON object"},
		{"no input", `{"model":"haiku"}`, "input", "at least one item"},
		{"a blank input", `{"input":" \n"}`, "input", "blank"},
		{"an input of the wrong kind", `{"input":1}`, "input", "must be an array"},
		{"only the system's", `{"input":[{"role":"system","content":"x"}]}`, "input", "at least one item"},
		{"only thinking", `{"input":[{"type":"reasoning","encrypted_content":` + string(sealThinking(nil, []byte(`{"type":"redacted_thinking","data":"x"}`))) + `}]}`, "input", "at least one item"},
		{"a role", `{"input":[{"role":"tool","content":"x"}]}`, "input.0.role", "must be user"},
		{"no role", `{"input":[{"content":"x"}]}`, "input.0.role", "required"},
		{"no content", `{"input":[{"role":"user"}]}`, "input.0.content", "required"},
		{"content of a wrong kind", `{"input":[{"role":"user","content":1}]}`, "input.0.content", "must be a string"},
		{"a part of OpenAI's", `{"input":[{"role":"user","content":[{"type":"input_audio"}]}]}`, "input.0.content.0.type", "isn't supported"},
		{"a part without text", `{"input":[{"role":"user","content":[{"type":"input_text"}]}]}`, "input.0.content.0.text", "required"},
		{"an uploaded image", `{"input":[{"role":"user","content":[{"type":"input_image","file_id":"f"}]}]}`, "input.0.content.0.file_id", "uploaded"},
		{"an image without TLS", `{"input":[{"role":"user","content":[{"type":"input_image","image_url":"http://x.test/a.png"}]}]}`, "input.0.content.0.image_url", "https:"},
		{"an image of the assistant's", `{"input":[{"role":"assistant","content":[{"type":"input_image","image_url":"https://x.test/a.png"}]}]}`, "input.0.content", "only text"},
		{"an uploaded file", `{"input":[{"role":"user","content":[{"type":"input_file","file_id":"f"}]}]}`, "input.0.content.0.file_id", "uploaded"},
		{"a file that is no PDF", `{"input":[{"role":"user","content":[{"type":"input_file","file_data":"aGk="}]}]}`, "input.0.content.0.file_data", "PDF"},
		{"an item of OpenAI's", `{"input":[{"type":"web_search_call","id":"x"}]}`, "input.0.type", "web_search_call aren't supported"},
		{"a call without an id", `{"input":[{"type":"function_call","name":"f","arguments":"{}"}]}`, "input.0.call_id", "required"},
		{"a call without a name", `{"input":[{"type":"function_call","call_id":"c","arguments":"{}"}]}`, "input.0.name", "required"},
		{"arguments that are no object", `{"input":[{"type":"function_call","call_id":"c","name":"f","arguments":"[1]"}]}`, "input.0.arguments", "JSON object"},
		{"a result without an id", `{"input":[{"type":"function_call_output","output":"x"}]}`, "input.0.call_id", "required"},
		{"a result without one", `{"input":[{"type":"function_call_output","call_id":"c"}]}`, "input.0.output", "required"},
		{"a reference to nothing", `{"input":[{"type":"item_reference"}]}`, "input.0.id", "required"},
		{"the background", `{"input":"x","background":true}`, "background", "background"},
		{"a conversation", `{"input":"x","conversation":"c"}`, "conversation", "previous_response_id"},
		{"a prompt", `{"input":"x","prompt":{"id":"p"}}`, "prompt", "templates"},
		{"log probabilities", `{"input":"x","top_logprobs":1}`, "top_logprobs", "aren't supported"},
		{"log probabilities by include", `{"input":"x","include":["message.output_text.logprobs"]}`, "include.0", "aren't supported"},
		{"a tool of OpenAI's", `{"input":"x","tools":[{"type":"web_search"}]}`, "tools.0.type", "web_search aren't supported"},
		{"a tool without a name", `{"input":"x","tools":[{"type":"function"}]}`, "tools.0.name", "required"},
		{"parameters that are no object", `{"input":"x","tools":[{"type":"function","name":"f","parameters":[]}]}`, "tools.0.parameters", "object"},
		{"a choice", `{"input":"x","tool_choice":"any"}`, "tool_choice", "must be none"},
		{"a choice of a tool of OpenAI's", `{"input":"x","tool_choice":{"type":"file_search"}}`, "tool_choice.type", "must be function"},
		{"a choice without tools", `{"input":"x","tool_choice":"required"}`, "tool_choice", "there is none"},
		{"a choice of no function", `{"input":"x","tools":[{"type":"function","name":"f"}],"tool_choice":{"type":"function","name":"g"}}`, "tool_choice", "no function g"},
		{"an allowed function that isn't there", `{"input":"x","tool_choice":{"type":"allowed_tools","mode":"auto","tools":[{"type":"function","name":"g"}]}}`, "tool_choice", "no function g"},
		{"a mode of allowed_tools", `{"input":"x","tool_choice":{"type":"allowed_tools","mode":"x","tools":[]}}`, "tool_choice.mode", "auto or required"},
		{"a format", `{"input":"x","text":{"format":{"type":"grammar"}}}`, "text.format.type", "must be text"},
		{"a schema that is missing", `{"input":"x","text":{"format":{"type":"json_schema","name":"n"}}}`, "text.format.schema", "required"},
		{"an effort", `{"input":"x","reasoning":{"effort":"huge"}}`, "reasoning.effort", "must be none"},
		{"a temperature", `{"input":"x","temperature":3}`, "temperature", "from 0 to 2"},
		{"a truncation", `{"input":"x","truncation":"x"}`, "truncation", "auto or disabled"},
		{"metadata", `{"input":"x","metadata":{"a":1}}`, "metadata.a", "string"},
		{"a member twice", `{"input":"x","input":"y"}`, "input", "twice"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, got, err := translated(tt.body, message.Rules{})
			e := apierror.From(err)
			if e == nil {
				t.Fatalf("taken: %s", got)
			}
			if e.Category != apierror.BadRequest || e.Param != tt.param || !strings.Contains(e.Message, tt.text) {
				t.Errorf("error is %v (%q)", e, e.Param)
			}
		})
	}
}

func TestOpenThinking(t *testing.T) {
	seal := func(block string) []byte { return sealThinking(nil, []byte(block)) }
	for name, c := range map[string]struct {
		sealed []byte
		ok     bool
	}{
		"thinking":            {seal(`{"type":"thinking","thinking":"","signature":"s"}`), true},
		"redacted":            {seal(`{"type":"redacted_thinking","data":"x"}`), true},
		"no signature":        {seal(`{"type":"thinking","thinking":"x","signature":""}`), false},
		"another block":       {seal(`{"type":"text","text":"x"}`), false},
		"another member":      {seal(`{"type":"thinking","thinking":"x","signature":"s","cache_control":{}}`), false},
		"both":                {seal(`{"type":"thinking","thinking":"x","signature":"s","data":"x"}`), false},
		"more than one value": {seal(`{"type":"redacted_thinking","data":"x"},{"type":"text","text":"x"}`), false},
		"no JSON":             {seal(`x`), false},
		"no base64":           {[]byte(`"` + sealMark + `!"`), false},
		"another service's":   {[]byte(`"gAAAA"`), false},
		"nothing":             {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if block, ok := openThinking(c.sealed); ok != c.ok {
				t.Errorf("openThinking = %s, %v", block, ok)
			}
		})
	}
}

func TestItemIDs(t *testing.T) {
	response := newID()
	if len(response) != idLength || newID() == response {
		t.Errorf("the id is %s", response)
	}
	for _, kind := range []string{kindMessage, kindCall, kindReasoning} {
		if id := itemID(kind, response, 0xabc); !strings.HasSuffix(id, "0abc") || responseOf(id) != responsePrefix+response {
			t.Errorf("the item %s is of %s", id, responseOf(id))
		}
	}
	for _, id := range []string{"", "msg_1", "xx_" + response + "0000", "msg_" + response} {
		if got := responseOf(id); got != "" {
			t.Errorf("%q is of %s", id, got)
		}
	}
}
