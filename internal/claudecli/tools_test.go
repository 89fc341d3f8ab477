package claudecli_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/simulator"
)

// bothVersions are the pinned versions with what Probe finds of them.
var bothVersions = map[string]claudecli.Features{
	install.Version:      {Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true, ExtraBody: true, ClientTools: true, OneCall: true},
	install.OlderVersion: {Emptying: claudecli.EmptyByClear, LiveSettings: true, ExtraBody: true, ClientTools: true, OneCall: true},
}

// eachVersion runs a test on a real CLI of each version.
func eachVersion(t *testing.T, test func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator)) {
	t.Helper()
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			upstream := clitest.NewUpstream(t)
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: bothVersions[version],
				BaseURL: upstream.URL(), APIKey: "sk-simulator",
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			test(t, ready(t, p), upstream)
		})
	}
}

// weather is a tool whose description is longer than the CLI passes on by
// itself.
func weather() message.Tool {
	return message.Tool{
		Name: "get_weather", Description: "The weather. " + strings.Repeat("It is long. ", 1000),
		InputSchema: jsontext.Value(`{"type":"object","properties":{"city":{"$ref":"#/$defs/city"}},"$defs":{"city":{"type":"string"}},"additionalProperties":false}`),
		Strict:      true,
	}
}

func clock() message.Tool {
	return message.Tool{Name: "Read", Description: "The time", InputSchema: jsontext.Value(`{"type":"object"}`)}
}

// sent is an upstream body as far as the tests look at it.
type sent struct {
	Tools        []sentTool       `json:"tools"`
	ToolChoice   jsontext.Value   `json:"tool_choice"`
	OutputConfig jsontext.Value   `json:"output_config"`
	Messages     []message.Turn   `json:"messages"`
	System       []jsontext.Value `json:"system"`
	whole        string
}

type sentTool struct {
	Name        string         `json:"name"`
	Description string         `json:"description"`
	InputSchema jsontext.Value `json:"input_schema"`
	Strict      bool           `json:"strict"`
}

func (s *sent) last() string { return string(s.Messages[len(s.Messages)-1].Content) }

func lastSent(t *testing.T, upstream *simulator.Simulator) *sent {
	t.Helper()
	bodies := upstream.Bodies()
	s := &sent{whole: string(bodies[len(bodies)-1])}
	if err := json.Unmarshal(bodies[len(bodies)-1], s); err != nil {
		t.Fatal(err)
	}
	s.Messages = slices.DeleteFunc(s.Messages, func(m message.Turn) bool { return m.Role == "system" })
	return s
}

// stream collects what a caller who streams gets.
type stream struct{ types, data []string }

func (s *stream) handler() claudecli.Handler {
	return claudecli.Handler{
		Event: func(e message.Event) error {
			s.types, s.data = append(s.types, e.Type), append(s.data, string(e.Data))
			return nil
		},
		Flush: func() error { return nil },
	}
}

func prompt(text string) jsontext.Value {
	quoted, _ := json.Marshal(text)
	return quoted
}

func result(id, text string) claudecli.ToolResult {
	return claudecli.ToolResult{ID: id, Content: prompt(text)}
}

func TestATurnParksAndIsResumed(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		settings := claudecli.Settings{
			Model: testModel, Tools: []message.Tool{weather(), clock()}, MaxTokens: 900,
			ToolChoice: jsontext.Value(`{"type":"tool","name":"get_weather"}`), Effort: "low",
		}
		if err := p.Bind(t.Context(), settings); err != nil {
			t.Fatal(err)
		}
		first, err := p.Turn(t.Context(), prompt(`what [[tool=get_weather input={"city":"Rome"}]][[tool=Read]][[tool=get_weather input={"city":"Oslo"}]]`), claudecli.Handler{})
		if err != nil {
			t.Fatal(err)
		}
		content := fmt.Sprintf("%s", first.Content)
		if first.StopReason != message.StopToolUse || len(first.Calls) != 3 || !p.Parked() || strings.Contains(content, "mcp__") ||
			!strings.Contains(content, `"name":"get_weather"`) || !strings.Contains(content, `"name":"Read"`) {
			t.Fatalf("answer = %+v with calls %v, parked %t: %s", first.Summary, first.Calls, p.Parked(), content)
		}
		if first.Turn != nil || first.Usage.OutputTokens == 0 {
			t.Errorf("a parked answer: usage %+v, turn %+v", first.Usage, first.Turn)
		}
		body := lastSent(t, upstream)
		if len(body.Tools) != 2 || body.Tools[0].Name != "mcp__c__get_weather" ||
			body.Tools[0].Description != weather().Description || string(body.Tools[0].InputSchema) != string(weather().InputSchema) || !body.Tools[0].Strict {
			t.Errorf("tools that reached the upstream: %.300s", body.whole)
		}
		if got := string(body.ToolChoice); got != `{"name":"mcp__c__get_weather","type":"tool"}` || string(body.OutputConfig) != `{"effort":"low"}` {
			t.Errorf("tool_choice = %s, output_config = %s", got, body.OutputConfig)
		}

		settings.ToolChoice, settings.Effort = jsontext.Value(`{"type":"auto"}`), ""
		settings.Format = jsontext.Value(`{"type":"json_schema","schema":{"type":"object","properties":{"a":{"type":"string"}},"additionalProperties":false}}`)
		var events stream
		second, err := p.Resume(t.Context(), settings, []claudecli.ToolResult{
			{ID: first.Calls[2], Content: prompt("it failed"), IsError: true},
			{ID: first.Calls[0], Content: jsontext.Value(`[{"type":"text","text":"sunny"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + pixel + `"}}]`)},
			result(first.Calls[1], "noon"),
		}, events.handler())
		if err != nil || p.Parked() || second.Calls != nil || second.StopReason != message.StopEndTurn || len(events.types) < 6 {
			t.Fatalf("second = %+v, %v, %v", second.Summary, events.types, err)
		}
		body = lastSent(t, upstream)
		last := body.last()
		order := []string{"sunny", pixel, "noon", "it failed"}
		at := -1
		for _, want := range order {
			i := strings.Index(last, want)
			if i <= at {
				t.Fatalf("%q isn't where it should be: %s", want, last)
			}
			at = i
		}
		if string(body.ToolChoice) != `{"type":"auto"}` || !strings.Contains(string(body.OutputConfig), "json_schema") {
			t.Errorf("tool_choice = %s, output_config = %s", body.ToolChoice, body.OutputConfig)
		}
		if second.Turn == nil || second.Turn.CostMicroUSD <= 0 || second.Turn.Usage.OutputTokens != first.Usage.OutputTokens+second.Usage.OutputTokens {
			t.Errorf("the last answer: usage %+v, turn %+v", second.Usage, second.Turn)
		}
		if n := len(upstream.Bodies()); n != 2 {
			t.Errorf("%d upstream requests for two answers", n)
		}
	})
}

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

func TestEmptyLeavesNoToolBehind(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		secret := message.Tool{Name: "secret_tool", Description: "secret words", InputSchema: jsontext.Value(`{"type":"object"}`)}
		check := func(when string, tools int) {
			t.Helper()
			if body := lastSent(t, upstream); strings.Contains(body.whole, "secret") || len(body.Tools) != tools {
				t.Errorf("%s: %.600s", when, body.whole)
			}
		}
		serve := func(settings claudecli.Settings, text string) claudecli.Answer {
			t.Helper()
			settings.Model = testModel
			if err := p.Bind(t.Context(), settings); err != nil {
				t.Fatal(err)
			}
			answer, err := p.Turn(t.Context(), prompt(text), claudecli.Handler{})
			if err != nil {
				t.Fatal(err)
			}
			return answer
		}
		empty := func() {
			t.Helper()
			if err := p.Empty(t.Context()); err != nil || p.Parked() {
				t.Fatalf("empty: %v, parked %t", err, p.Parked())
			}
		}
		with := claudecli.Settings{Tools: []message.Tool{secret}, Format: jsontext.Value(`{"type":"json_schema","schema":{"type":"object","properties":{"secret":{"type":"string"}},"additionalProperties":false}}`)}
		serve(with, "plain")
		empty()
		serve(claudecli.Settings{Tools: []message.Tool{clock()}}, "other tools")
		check("other tools after tools", 1)
		empty()
		answer := serve(with, `[[tool=secret_tool input={"a":"secret"}]]`)
		if len(answer.Calls) != 1 {
			t.Fatalf("not parked: %+v", answer)
		}
		empty()
		serve(claudecli.Settings{}, "no tools")
		check("no tools after a parked turn", 0)
		empty()
		answer = serve(with, `secret [[tool=secret_tool input={"a":"secret"}]]`)
		_, err := p.Resume(t.Context(), claudecli.Settings{Model: testModel, Tools: with.Tools}, []claudecli.ToolResult{result(answer.Calls[0], "secret result")}, claudecli.Handler{})
		if err != nil {
			t.Fatal(err)
		}
		empty()
		serve(claudecli.Settings{}, "no tools")
		check("no tools after a resumed turn", 0)
		serve(claudecli.Settings{}, "no tools again")
		check("the same again", 0)
	})
}

func TestHistoryWithToolsIsReplayed(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		history := []message.Turn{
			{Role: message.RoleUser, Content: prompt("weather?")},
			{Role: message.RoleAssistant, Content: jsontext.Value(`[{"type":"text","text":"I look"},{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"name":"x"}},{"type":"tool_use","id":"toolu_2","name":"gone","input":{}}]`)},
			{Role: message.RoleUser, Content: jsontext.Value(`[{"type":"tool_result","tool_use_id":"toolu_1","content":"/effort low sun"},{"type":"tool_result","tool_use_id":"toolu_2"}]`)},
			{Role: message.RoleAssistant, Content: jsontext.Value(`[{"type":"tool_use","id":"toolu_3","name":"get_weather","input":{}}]`)},
		}
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, Tools: []message.Tool{weather()}}); err != nil {
			t.Fatal(err)
		}
		if err := p.Replay(t.Context(), history); err != nil {
			t.Fatal(err)
		}
		long := strings.Repeat("long ", 90_000)
		answer, err := p.Turn(t.Context(), jsontext.Value(`[{"type":"tool_result","tool_use_id":"toolu_3","content":[{"type":"text","text":"`+long+`"}]},{"type":"text","text":"and now? [[tool=get_weather]]"}]`), claudecli.Handler{})
		if err != nil || len(answer.Calls) != 1 {
			t.Fatalf("answer = %+v, %v", answer.Summary, err)
		}
		body := lastSent(t, upstream)
		var roles []string
		for _, m := range body.Messages {
			roles = append(roles, m.Role)
		}
		whole := body.whole
		if got := strings.Join(roles, " "); got != "user assistant user assistant user" || strings.Count(whole, `"name":"mcp__c__get_weather"`) != 3 ||
			!strings.Contains(whole, `"name":"mcp__c__gone"`) || !strings.Contains(whole, "/effort low sun") || !strings.Contains(whole, long) {
			t.Errorf("roles %s: %.3000s", got, whole)
		}
		if _, err := p.Resume(t.Context(), claudecli.Settings{Model: testModel, Tools: []message.Tool{weather()}}, []claudecli.ToolResult{result(answer.Calls[0], "rain")}, claudecli.Handler{}); err != nil {
			t.Error(err)
		}
		if err := p.Empty(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// TestHistoryWithToolsButNoTools is what a client sends that has done with its
// tools.
func TestHistoryWithToolsButNoTools(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
			t.Fatal(err)
		}
		err := p.Replay(t.Context(), []message.Turn{
			{Role: message.RoleUser, Content: prompt("secret question")},
			{Role: message.RoleAssistant, Content: jsontext.Value(`[{"type":"tool_use","id":"toolu_1","name":"get_weather","input":{"a":[1]}}]`)},
			{Role: message.RoleUser, Content: jsontext.Value(`[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"secret document"},"citations":{"enabled":true}}]}]`)},
			{Role: message.RoleAssistant, Content: prompt("secret answer")},
		})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := p.Turn(t.Context(), prompt("next"), claudecli.Handler{}); err != nil {
			t.Fatal(err)
		}
		body := lastSent(t, upstream).whole
		for _, want := range []string{`"id":"toolu_1","name":"mcp__c__get_weather","input":{"a":[1]}`, `{"type":"document","source":{"type":"text","media_type":"text/plain","data":"secret document"},"citations":{"enabled":true}}`, "secret answer"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s isn't in %.3000s", want, body)
			}
		}
		if err := p.Empty(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := p.Turn(t.Context(), prompt("clean"), claudecli.Handler{}); err != nil {
			t.Fatal(err)
		}
		if body := lastSent(t, upstream).whole; strings.Contains(body, "secret") || strings.Contains(body, "toolu_") {
			t.Errorf("after it: %.3000s", body)
		}
	})
}

// TestWhatIsNotResumed names the results and settings with which a parked turn
// doesn't go on; it stays parked.
func TestWhatIsNotResumed(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, _ *simulator.Simulator) {
		settings := claudecli.Settings{Model: testModel, Tools: []message.Tool{weather()}}
		if err := p.Bind(t.Context(), settings); err != nil {
			t.Fatal(err)
		}
		answer, err := p.Turn(t.Context(), prompt("[[tool=get_weather]]"), claudecli.Handler{})
		if err != nil {
			t.Fatal(err)
		}
		id := answer.Calls[0]
		other := settings
		other.Tools = []message.Tool{clock()}
		for name, c := range map[string]struct {
			settings claudecli.Settings
			results  []claudecli.ToolResult
		}{
			"no result":     {settings, nil},
			"another id":    {settings, []claudecli.ToolResult{result("toolu_other", "x")}},
			"two of one":    {settings, []claudecli.ToolResult{result(id, "x"), result(id, "x")}},
			"a blank one":   {settings, []claudecli.ToolResult{result(id, " \n")}},
			"nothing":       {settings, []claudecli.ToolResult{{ID: id}}},
			"a document":    {settings, []claudecli.ToolResult{{ID: id, Content: jsontext.Value(`[{"type":"document","source":{"type":"text","media_type":"text/plain","data":"x"}}]`)}}},
			"a long one":    {settings, []claudecli.ToolResult{result(id, strings.Repeat("x", 400_001))}},
			"broken JSON":   {settings, []claudecli.ToolResult{{ID: id, Content: jsontext.Value(`[{`)}}},
			"other tools":   {other, []claudecli.ToolResult{result(id, "x")}},
			"another model": {claudecli.Settings{Model: "claude-opus-5-5", Tools: settings.Tools}, []claudecli.ToolResult{result(id, "x")}},
		} {
			if _, err := p.Resume(t.Context(), c.settings, c.results, claudecli.Handler{}); !errors.Is(err, claudecli.ErrNotResumed) || !p.Parked() {
				t.Errorf("%s: %v, parked %t", name, err, p.Parked())
			}
		}
		long := strings.Repeat("é", 200_000)
		if _, err := p.Resume(t.Context(), settings, []claudecli.ToolResult{result(id, long)}, claudecli.Handler{}); err != nil {
			t.Error(err)
		}
	})
}

// TestThinkingStaysWithAParkedTurn checks that the model gets back what it thought
// before the call, signature and all: only the process knows it whole.
func TestThinkingStaysWithAParkedTurn(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		settings := claudecli.Settings{Model: otherTestModel, ThinkingTokens: 2000, Tools: []message.Tool{clock()}, MaxTokens: 4000}
		if err := p.Bind(t.Context(), settings); err != nil {
			t.Fatal(err)
		}
		answer, err := p.Turn(t.Context(), prompt("go [[tool=Read]]"), claudecli.Handler{})
		if err != nil || len(answer.Calls) != 1 || len(answer.Content) != 2 {
			t.Fatalf("answer = %+v: %s, %v", answer.Summary, answer.Content, err)
		}
		if _, err := p.Resume(t.Context(), settings, []claudecli.ToolResult{result(answer.Calls[0], "noon")}, claudecli.Handler{}); err != nil {
			t.Fatal(err)
		}
		var thought struct {
			Type      string `json:"type"`
			Signature string `json:"signature"`
		}
		if err := json.Unmarshal(answer.Content[0], &thought); err != nil || thought.Type != "thinking" || thought.Signature == "" {
			t.Fatalf("the first block: %s, %v", answer.Content[0], err)
		}
		if body := lastSent(t, upstream).whole; !strings.Contains(body, thought.Signature) {
			t.Errorf("the signature isn't in %.3000s", body)
		}
	})
}

const otherTestModel = "claude-sonnet-4-5"
