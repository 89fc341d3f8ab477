package app

import (
	"net/http"
	"testing"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/pricing"
)

// TestChatIsTakenByEveryModel sends what a client of the Chat Completions API may
// ask of any model to each one. The simulated API refuses what that model does.
func TestChatIsTakenByEveryModel(t *testing.T) {
	c := settings(t)
	c.ToolPassthrough = true
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(t.Context()) })
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p", RequestsPerMinute: new(int)})
	if err != nil {
		t.Fatal(err)
	}
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const tool = `"tools":[{"type":"function","function":{"name":"w","strict":true,"parameters":{"type":"object","properties":{"n":{"type":"integer","minimum":1}},"required":["n"]}}}],`
	const behindACall = `"messages":[{"role":"user","content":"w?"},{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"w","arguments":"{\"n\":1}"}}]},{"role":"tool","tool_call_id":"c1","content":"sun"}]`
	const hi = `"messages":[{"role":"user","content":"hi"}]`
	requests := map[string]string{
		"plain":                      hi,
		"sampling":                   `"temperature":0.3,"top_p":0.5,"top_k":5,` + hi,
		"none":                       `"reasoning_effort":"none",` + hi,
		"minimal":                    `"reasoning_effort":"minimal",` + hi,
		"low":                        `"reasoning_effort":"low",` + hi,
		"medium":                     `"reasoning_effort":"medium",` + hi,
		"high":                       `"reasoning_effort":"high",` + hi,
		"xhigh":                      `"reasoning_effort":"xhigh",` + hi,
		"max":                        `"reasoning_effort":"max",` + hi,
		"effort and sampling":        `"reasoning_effort":"high","temperature":0.3,` + hi,
		"effort and a short limit":   `"reasoning_effort":"high","max_completion_tokens":50,` + hi,
		"effort and a limit":         `"reasoning_effort":"max","max_tokens":1000000,` + hi,
		"effort behind a tool call":  `"reasoning_effort":"low",` + tool + behindACall,
		"behind a tool call":         tool + behindACall,
		"tools":                      tool + hi,
		"required":                   `"tool_choice":"required",` + tool + hi,
		"a function":                 `"tool_choice":{"type":"function","function":{"name":"w"}},` + tool + hi,
		"a function and an effort":   `"reasoning_effort":"low","tool_choice":{"type":"function","function":{"name":"w"}},` + tool + hi,
		"required of allowed tools":  `"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[{"type":"function","function":{"name":"w"}}]}},` + tool + hi,
		"a schema":                   `"response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string","maxLength":3},"b":{"$ref":"#/$defs/b"}},"$defs":{"b":{"oneOf":[{"type":"null"},{"type":"integer","minimum":0}]}}}}},` + hi,
		"a schema and an effort":     `"reasoning_effort":"high","response_format":{"type":"json_schema","json_schema":{"name":"n","schema":{"type":"object","properties":{"a":{"type":"string"}}}}},` + hi,
		"JSON mode":                  `"response_format":{"type":"json_object"},` + hi,
		"a system prompt to cache":   `"messages":[{"role":"system","content":[{"type":"text","text":"be brief","cache_control":{"type":"ephemeral"}}]},{"role":"user","content":"hi"}]`,
		"a stream that thinks":       `"stream":true,"reasoning_effort":"low",` + hi,
		"a stream without a thought": `"stream":true,` + hi,
	}
	names := []string{"", "auto", "haiku", "sonnet", "opus"}
	for _, m := range catalogue.Models() {
		names = append(names, m.ID)
	}
	for _, model := range names {
		t.Run(model, func(t *testing.T) {
			for name, request := range requests {
				body := `{"model":"` + model + `",` + request + `}`
				if model == "" {
					body = "{" + request + "}"
				}
				if status, answer := ask(t, a, http.MethodPost, "/v1/chat/completions", key, body); status != http.StatusOK {
					t.Errorf("%s: %d %s", name, status, answer)
				}
			}
		})
	}
}
