package simulator

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// askOf is ask for another model.
func askOf(model, more string) string {
	return strings.Replace(ask("hi", more), "claude-sonnet-5-5", model, 1)
}

func TestRulesOfModels(t *testing.T) {
	const (
		fifty5    = "claude-opus-5-5"
		sonnet55  = "claude-sonnet-5-5"
		haiku55   = "claude-haiku-5-5"
		opus5     = "claude-opus-5"
		opus47    = "claude-opus-4-7"
		sonnet46  = "claude-sonnet-4-6"
		haiku45   = "claude-haiku-4-5-20251001"
		old       = "claude-3-5-haiku-20241022"
		unknown   = "claude-of-tomorrow"
		tools     = `,"tools":[{"name":"a","input_schema":{"type":"object"}}]`
		forced    = tools + `,"tool_choice":{"type":"any"}`
		format    = `,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","additionalProperties":false}}}`
		enabled   = `,"thinking":{"type":"enabled","budget_tokens":1024},"max_tokens":2000`
		adaptive  = `,"thinking":{"type":"adaptive"}`
		disabled  = `,"thinking":{"type":"disabled"}`
		between   = `,"thinking":{"type":"between_tools"}`
		ok        = ""
		adaptiveI = `Use "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`
	)
	for _, test := range []struct{ name, model, more, fault string }{
		{"temperature", fifty5, `,"temperature":0.5`, "`temperature` is deprecated for this model."},
		{"the default temperature", fifty5, `,"temperature":1.0`, ok},
		{"top_p", haiku55, `,"top_p":0.9`, "`top_p` is deprecated for this model."},
		{"the default top_p", haiku55, `,"top_p":0.99`, ok},
		{"top_k", opus47, `,"top_k":5`, "`top_k` is deprecated for this model."},
		{"null sampling", opus47, `,"top_k":null,"top_p":null,"temperature":null`, ok},
		{"sampling of older ones", sonnet46, `,"temperature":0.5,"top_p":0.9,"top_k":5`, ok},
		{"sampling of an unknown one", unknown, `,"temperature":0.5,"top_k":5`, ok},

		{"enabled on opus 5.5", fifty5, enabled, `"thinking.type.enabled" is not supported for this model. ` + adaptiveI},
		{"disabled on opus 5.5", fifty5, disabled, `"thinking.type.disabled" is not supported for this model. ` + adaptiveI},
		{"disabled on sonnet 5.5", sonnet55, disabled, `"thinking.type.disabled" is not supported for this model. Use "thinking.type.between_tools" for the lowest thinking setting, or "thinking.type.adaptive" and "output_config.effort" to control thinking behavior.`},
		{"between tools on sonnet 5.5", sonnet55, between, ok},
		{"between tools on haiku 5.5", haiku55, between, `"thinking.type.between_tools" is not supported`},
		{"adaptive on opus 5.5", fifty5, adaptive, ok},
		{"disabled on haiku 5.5", haiku55, disabled, ok},
		{"disabled on haiku 5.5 at high", haiku55, disabled + `,"output_config":{"effort":"high"}`, ok},
		{"disabled on haiku 5.5 at max", haiku55, disabled + `,"output_config":{"effort":"max"}`, `"thinking.type.disabled" is not supported with "output_config.effort" of "max"`},
		{"disabled on opus 5 at xhigh", opus5, disabled + `,"output_config":{"effort":"xhigh"}`, `"thinking.type.disabled" is not supported with`},
		{"disabled on opus 4.7 at max", opus47, disabled + `,"output_config":{"effort":"max"}`, ok},
		{"enabled on opus 4.7", opus47, enabled, `"thinking.type.enabled" is not supported`},
		{"enabled on sonnet 4.6", sonnet46, enabled, ok},
		{"adaptive on haiku 4.5", haiku45, adaptive, "adaptive thinking is not supported on this model"},
		{"enabled on an old one", old, enabled, `"thinking.type.enabled" is not supported for this model.`},

		{"effort on haiku 4.5", haiku45, `,"output_config":{"effort":"low"}`, "This model does not support the effort parameter."},
		{"xhigh on sonnet 4.6", sonnet46, `,"output_config":{"effort":"xhigh"}`, "output_config.effort: 'xhigh' is not supported"},
		{"effort unheard of", fifty5, `,"output_config":{"effort":"huge"}`, "output_config.effort: Input should be"},
		{"a null effort", haiku45, `,"output_config":{"effort":null}`, ok},

		{"forced on opus 5.5", fifty5, forced, `tool_choice: type "tool" and "any" are not supported for this model.`},
		{"forced on haiku 5.5", haiku55, forced, ok},
		{"forced while thinking", sonnet46, forced + adaptive, "Thinking may not be enabled when tool_choice forces tool use."},
		{"auto on opus 5.5", fifty5, tools + `,"tool_choice":{"type":"auto"}`, ok},
		{"a null choice", fifty5, tools + `,"tool_choice":null`, ok},

		{"format", fifty5, format, ok},
		{"format on an old one", old, format, "'claude-3-5-haiku-20241022' does not support output format."},
	} {
		t.Run(test.name, func(t *testing.T) {
			body := askOf(test.model, test.more)
			if strings.Contains(test.more, "max_tokens") {
				body = strings.Replace(body, `"max_tokens":1000,`, "", 1)
			}
			checkFault(t, post(t, New(Options{}), body), test.fault)
		})
	}
}

func checkFault(t *testing.T, w *httptest.ResponseRecorder, fault string) {
	t.Helper()
	if fault == "" {
		if w.Code != http.StatusOK {
			t.Errorf("%d %s", w.Code, w.Body)
		}
		return
	}
	if e := readError(t, w); w.Code != http.StatusBadRequest || !strings.Contains(e.Error.Message, fault) {
		t.Errorf("%d %s", w.Code, e.Error.Message)
	}
}

func TestPrefillAndMaxTokens(t *testing.T) {
	turns := func(model, more string) string {
		return `{"model":"` + model + `","max_tokens":100,"messages":[{"role":"user","content":"hi"}` + more + `]}`
	}
	const prefill = `,{"role":"assistant","content":"{"}`
	for _, test := range []struct{ name, body, fault string }{
		{"prefill", turns("claude-opus-5-5", prefill), "This model does not support assistant message prefill. The conversation must end with a user message."},
		{"prefill and a note", turns("claude-opus-5-5", prefill+`,{"role":"system","content":"note"}`), "assistant message prefill"},
		{"a note behind the user", turns("claude-opus-5-5", `,{"role":"system","content":"note"}`), ""},
		{"prefill on an older one", turns("claude-haiku-4-5", prefill), ""},
		{"too many tokens", strings.Replace(turns("claude-haiku-4-5", ""), ":100,", ":64001,", 1),
			"max_tokens: 64001 > 64000, which is the maximum allowed number of output tokens for claude-haiku-4-5"},
		{"all the tokens", strings.Replace(turns("claude-haiku-4-5", ""), ":100,", ":64000,", 1), ""},
	} {
		t.Run(test.name, func(t *testing.T) { checkFault(t, post(t, New(Options{}), test.body), test.fault) })
	}
}

func TestSchemas(t *testing.T) {
	const closed = `"additionalProperties":false`
	for _, test := range []struct{ name, schema, fault string }{
		{"closed", `{"type":"object",` + closed + `,"properties":{"a":{"type":"string","format":"date"}},"required":["a"]}`, ""},
		{"open", `{"type":"object","properties":{}}`, "For 'object' type, 'additionalProperties' must be explicitly set to false"},
		{"open inside", `{"type":"object",` + closed + `,"properties":{"a":{"type":"array","items":{"type":"object"}}}}`, "'additionalProperties' must be"},
		{"open behind a reference", `{"$defs":{"n":{"type":"object"}},"type":"object",` + closed + `,"properties":{"a":{"$ref":"#/$defs/n"}}}`, "'additionalProperties' must be"},
		{"open in a choice", `{"anyOf":[{"type":"null"},{"type":"object"}]}`, "'additionalProperties' must be"},
		{"bounds", `{"type":"integer","minimum":1,"maximum":3}`, "For 'integer' type, properties maximum, minimum are not supported"},
		{"lengths", `{"type":"string","maxLength":3}`, "For 'string' type, properties maxLength are not supported"},
		{"few items", `{"type":"array","items":{"type":"null"},"minItems":1}`, ""},
		{"many items", `{"type":"array","items":{"type":"null"},"minItems":2}`, "'minItems' values other than 0 or 1"},
		{"a circle", `{"$defs":{"n":{"type":"object",` + closed + `,"properties":{"n":{"$ref":"#/$defs/n"}}}},"$ref":"#/$defs/n"}`, "Recursive schemas are not supported"},
		{"used twice is no circle", `{"$defs":{"n":{"type":"null"}},"type":"object",` + closed + `,"properties":{"a":{"$ref":"#/$defs/n"},"b":{"$ref":"#/$defs/n"}}}`, ""},
		{"a reference to nothing", `{"$ref":"#/nothing"}`, "Reference '#/nothing' can't be resolved"},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkFault(t, post(t, New(Options{}), ask("x", `,"output_config":{"format":{"type":"json_schema","schema":`+test.schema+`}}`)), test.fault)
			w := post(t, New(Options{}), ask("x", `,"tools":[{"name":"a","strict":true,"input_schema":`+test.schema+`}]`))
			checkFault(t, w, test.fault)
			if test.fault != "" && !strings.Contains(w.Body.String(), "tools.0.custom: ") {
				t.Errorf("strict tool: %s", w.Body)
			}
		})
	}
	for _, test := range []struct{ name, format, fault string }{
		{"another form", `{"type":"text"}`, "output_config.format: Input should be"},
		{"no schema", `{"type":"json_schema"}`, "output_config.format.schema: Field required"},
		{"null", `null`, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			checkFault(t, post(t, New(Options{}), ask("x", `,"output_config":{"format":`+test.format+`}`)), test.fault)
		})
	}
}

func TestSchemaThatBranchesWithoutEnd(t *testing.T) {
	schema := `{"$defs":{"d0":{"type":"null"}`
	for i := range 40 {
		below := fmt.Sprintf(`{"$ref":"#/$defs/d%d"}`, i)
		schema += fmt.Sprintf(`,"d%d":{"anyOf":[%s,%s]}`, i+1, below, below)
	}
	schema += `},"$ref":"#/$defs/d40"}`
	checkFault(t, post(t, New(Options{}), ask("x", `,"output_config":{"format":{"type":"json_schema","schema":`+schema+`}}`)), "Schema is too complex")
}

func TestThinkingShown(t *testing.T) {
	const why = "Thinking about: why"
	for _, test := range []struct {
		name, model, prompt, more string
		block                     bool
		text                      string
	}{
		{"nobody says anything", "claude-opus-5-5", "why", "", false, ""},
		{"hidden by default", "claude-opus-5-5", "why", `,"thinking":{"type":"adaptive"}`, true, ""},
		{"summarized", "claude-opus-5-5", "why", `,"thinking":{"type":"adaptive","display":"summarized"}`, true, why},
		{"shown by older ones", "claude-sonnet-4-6", "why", `,"thinking":{"type":"adaptive"}`, true, why},
		{"omitted", "claude-sonnet-4-6", "why", `,"thinking":{"type":"adaptive","display":"omitted"}`, true, ""},
		{"by directive", "claude-haiku-5-5", "[[think]] why", "", true, ""},
		{"the directive can't make a model think that doesn't", "claude-sonnet-4-6", "[[think]] why", "", false, ""},
		{"disabled wins over the directive", "claude-haiku-5-5", "[[think]] why", `,"thinking":{"type":"disabled"}`, false, ""},
		{"between tools", "claude-sonnet-5-5", "why", `,"thinking":{"type":"between_tools"}`, false, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := answer200(t, post(t, New(Options{}), strings.Replace(ask(test.prompt, test.more), "claude-sonnet-5-5", test.model, 1)))
			first := got.Content[0]
			if (first.Type == "thinking") != test.block || first.Thinking != test.text || got.Content[len(got.Content)-1].Text != "Echo: why" {
				t.Errorf("%+v", got.Content)
			}
		})
	}
}

func TestCountTokensFollowsTheRules(t *testing.T) {
	count := func(body string) *httptest.ResponseRecorder {
		w := httptest.NewRecorder()
		New(Options{}).ServeHTTP(w, newRequest(t, http.MethodPost, "/v1/messages/count_tokens", body))
		return w
	}
	const body = `{"model":"claude-sonnet-4-6","thinking":{"type":"enabled","budget_tokens":2048},"messages":[{"role":"user","content":"12345678"}]}`
	if w := count(body); w.Code != http.StatusOK || w.Body.String() != `{"input_tokens":2}` {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	checkFault(t, count(strings.Replace(body, "sonnet-4-6", "opus-5-5", 1)), `"thinking.type.enabled" is not supported`)
}

func TestDocuments(t *testing.T) {
	ask := func(document, more string) string {
		return `{"model":"claude-haiku-5-5","max_tokens":99,"messages":[{"role":"user","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"one"}},` +
			document + `,{"type":"text","text":"see"}]}]` + more + `}`
	}
	for _, test := range []struct{ name, document, want string }{
		{"text", `{"type":"document","title":"T","citations":{"enabled":true},"source":{"type":"text","media_type":"text/plain","data":"Grüße an alle"}}`,
			`"citations":[{"type":"char_location","cited_text":"Grüße an alle","document_index":1,"document_title":"T","start_char_index":0,"end_char_index":13,"file_id":null}]`},
		{"PDF", `{"type":"document","citations":{"enabled":true},"source":{"type":"base64","media_type":"application/pdf","data":"JVBERi0="}}`,
			`"citations":[{"type":"page_location","cited_text":"the first page","document_index":1,"document_title":null,"start_page_number":1,"end_page_number":2,"file_id":null}]`},
		{"blocks", `{"type":"document","citations":{"enabled":true},"source":{"type":"content","content":[{"type":"text","text":"a"}]}}`,
			`"citations":[{"type":"content_block_location","cited_text":"the first block","document_index":1,"document_title":null,"start_block_index":0,"end_block_index":1,"file_id":null}]`},
		{"not enabled", `{"type":"document","citations":{"enabled":false},"source":{"type":"text","media_type":"text/plain","data":"x"}}`, `"text":"Echo: see"}]`},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := post(t, New(Options{}), ask(test.document, ""))
			if w.Code != http.StatusOK || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("%d %s", w.Code, w.Body)
			}
		})
	}
	checkFault(t, post(t, New(Options{}), ask(`{"type":"document"}`, "")), "messages.0.content.1.document.source: Field required")
	checkFault(t, post(t, New(Options{}), ask(`{"type":"document","citations":{"enabled":true},"source":{"type":"text","data":"x"}}`,
		`,"output_config":{"format":{"type":"json_schema","schema":{"type":"string"}}}`)), "together with citations")
}

func TestWebSearch(t *testing.T) {
	w := post(t, New(Options{}), ask("[[tool=web_search]] news?", `,"tools":[{"type":"web_search_20260209","name":"web_search","max_uses":2},{"name":"a","input_schema":{"type":"object"}}]`))
	got := answer200(t, w)
	if len(got.Content) != 3 || got.Content[0].Type != "server_tool_use" || string(got.Content[0].Input) != `{"query":"simulator"}` ||
		got.Content[1].Type != "web_search_tool_result" || got.Content[2].Text != "Echo: news?" || got.StopReason != "end_turn" {
		t.Errorf("%s", w.Body)
	}
	if !strings.Contains(w.Body.String(), `"server_tool_use":{"web_search_requests":1}`) {
		t.Errorf("usage: %s", w.Body)
	}
}
