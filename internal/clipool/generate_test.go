package clipool_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/latency"
)

func TestGenerate(t *testing.T) {
	p := newPool(t, nil)
	t.Run("plain", func(t *testing.T) {
		out := &collector{}
		call := newCall(t, "p", `{"model":"haiku","max_tokens":7,"system":"be brief","messages":[
			{"role":"user","content":"one"},{"role":"assistant","content":"two"},{"role":"user","content":[{"type":"text","text":"three","cache_control":{"type":"ephemeral"}}]}],
			"temperature":0.5,"service_tier":"auto","output_config":{"effort":"low"}}`)
		result, err := p.Generate(t.Context(), call, out)
		if err != nil {
			t.Fatal(err)
		}
		text := out.text.String()
		for _, want := range []string{`"type":"message"`, `"stop_reason":"end_turn"`, `system=\"be brief\"`, "max=7", "history=2", `"output_tokens":5`} {
			if !strings.Contains(text, want) {
				t.Errorf("answer lacks %s: %s", want, text)
			}
		}
		if strings.Contains(text, "cache_control") {
			t.Errorf("a cache marker reached the CLI: %s", text)
		}
		if result.Usage.OutputTokens != 5 || *result.CostMicroUSD != 25 {
			t.Errorf("result = %+v", result)
		}
		// What the protocol filled in by itself needs no warning.
		quiet := newCall(t, "p", `{"max_tokens":7,"temperature":0.7,"messages":[{"role":"user","content":"hi"}]}`)
		quiet.Defaults = []string{"temperature"}
		if _, err := p.Generate(t.Context(), quiet, &collector{}); err != nil || len(quiet.Warnings) > 0 {
			t.Errorf("warnings = %v, %v", quiet.Warnings, err)
		}
		if got := strings.Join(call.Warnings, "; "); len(call.Warnings) != 4 || !strings.Contains(got, "temperature") || !strings.Contains(got, "service_tier") || !strings.Contains(got, "output_config") {
			t.Errorf("warnings = %v", call.Warnings)
		}
		for _, stage := range []latency.Stage{latency.Queue, latency.Bind, latency.FirstByte} {
			if _, known := call.Clock.Took(stage); !known {
				t.Errorf("stage %s isn't known", stage)
			}
		}
	})
	t.Run("stream", func(t *testing.T) {
		out := &collector{}
		call := newCall(t, "p", `{"model":"haiku","max_tokens":7,"stream":true,"messages":[{"role":"user","content":"hi"}]}`)
		if _, err := p.Generate(t.Context(), call, out); err != nil || out.events != 6 {
			t.Errorf("%d events, %v", out.events, err)
		}
	})
}

func TestInvalidRequestsTakeNoWorker(t *testing.T) {
	p := clipool.New(clipool.Options{}) // has no worker to take: a request that got past the checks would wait
	t.Cleanup(p.Close)
	tests := []struct{ name, body, param string }{
		{"a tool that runs at the API", `{"messages":[{"role":"user","content":"x"}],"tools":[{"type":"web_search_20250305","name":"w"}]}`, "tools.0.type"},
		{"a tool's name", `{"messages":[{"role":"user","content":"x"}],"tools":[{"name":"a.b","input_schema":{"type":"object"}}]}`, "tools.0.name"},
		{"a choice of no tool", `{"messages":[{"role":"user","content":"x"}],"tools":[{"name":"a","input_schema":{}}],"tool_choice":{"type":"tool","name":"b"}}`, "tool_choice.name"},
		{"a server tool's block", `{"messages":[{"role":"user","content":[{"type":"server_tool_use"}]}]}`, "messages.0.content.0.type"},
		{"a result of no call", `{"messages":[{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, "messages.0.content"},
		{"a result of another call", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"b","name":"n","input":{}}]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"a"}]}]}`, "messages.1.content"},
		{"a call without a result", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"b","name":"n","input":{}}]},{"role":"user","content":"x"}]}`, "messages.1.content"},
		{"a call without a name", `{"messages":[{"role":"assistant","content":[{"type":"tool_use","id":"a","input":{}}]},{"role":"user","content":"x"}]}`, "messages.0.content.0.name"},
		{"MCP servers", `{"messages":[{"role":"user","content":"x"}],"mcp_servers":[{}]}`, "mcp_servers"},
		{"a conversation that the API holds", `{"messages":[{"role":"user","content":"x"}],"thread":{"type":"continue","previous_message_id":"msg_1"}}`, "thread"},
		{"text without a text", `{"messages":[{"role":"user","content":[{"type":"text"}]}]}`, "messages.0.content.0.text"},
		{"image without a source", `{"messages":[{"role":"user","content":[{"type":"image"}]}]}`, "messages.0.content.0.source"},
		{"blank", `{"messages":[{"role":"user","content":" \n"}]}`, "messages.0.content"},
		{"role", `{"messages":[{"role":"robot","content":"x"}]}`, "messages.0.role"},
		{"empty", `{"messages":[]}`, "messages"},
		{"assistant last", `{"messages":[{"role":"assistant","content":"x"}]}`, "messages"},
		{"content", `{"messages":[{"role":"user","content":5}]}`, "messages.0.content"},
		{"block", `{"messages":[{"role":"user","content":[{"text":"x"}]}]}`, "messages.0.content.0.type"},
		{"tool result", `{"messages":[{"role":"user","content":[{"type":"tool_result"}]}]}`, "messages.0.content.0.tool_use_id"},
		{"system", `{"messages":[{"role":"user","content":"x"}],"system":7}`, "system"},
		{"thinking", `{"messages":[{"role":"user","content":"x"}],"thinking":{"type":"enabled","budget_tokens":5}}`, "thinking.budget_tokens"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := p.Generate(t.Context(), newCall(t, "p", test.body), &collector{})
			if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest || e.Param != test.param {
				t.Errorf("err = %v, want bad_request about %s", err, test.param)
			}
		})
	}
}

// What an installed version can't do is refused or named, also when the request
// came before the probe had ended.
func TestWhatTheInstalledCLICannotDo(t *testing.T) {
	const format = `{"messages":[{"role":"user","content":"x"}],"output_config":{"format":{"type":"json_schema"}}}`
	const tools = `{"messages":[{"role":"user","content":"x"}],"tools":[{"name":"t","input_schema":{"type":"object"}}]}`
	for _, probed := range []bool{true, false} {
		for body, param := range map[string]string{format: "output_config.format", tools: "tools"} {
			t.Run(fmt.Sprintf("%s, probed: %t", param, probed), func(t *testing.T) {
				p := newUnstartedPool(t, nil)
				if probed {
					p.Start(rewinding)
				} else {
					go func() {
						waitFor(t, p, func(s clipool.Status) bool { return s.Queued == 1 })
						p.Start(rewinding)
					}()
				}
				_, err := p.Generate(t.Context(), newCall(t, "p", body), &collector{})
				if e := apierror.From(err); e == nil || e.Category != apierror.BadRequest || e.Param != param {
					t.Errorf("err = %v, want bad_request about %s", err, param)
				}
			})
		}
	}
}

func TestAnswersTogether(t *testing.T) {
	// Four prompts that each wait for a second on four workers: one after the
	// other they would take four seconds. The bound is far from both.
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.Starting = 4, 4 })
	for range 4 {
		mustAsk(t, p, "a", "s", "warm")
	}
	var wg sync.WaitGroup
	started := time.Now()
	for i := range 4 {
		wg.Go(func() {
			if _, err := ask(t, p, "a", "s", fmt.Sprintf("%d [[delay=1s]]", i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if took := time.Since(started); took > 3*time.Second {
		t.Errorf("four calls of 1 s took %v", took)
	}
}
