package claudecli_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/message"
)

var withTools = claudecli.Features{Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true, ExtraBody: true, ClientTools: true}

// parkFake has the scripted CLI wait for the result of a call.
func parkFake(t *testing.T, change func(*claudecli.Options), script ...string) (*claudecli.Process, claudecli.Answer) {
	t.Helper()
	p := ready(t, startFake(t, func(o *claudecli.Options) {
		o.Features = withTools
		if change != nil {
			change(o)
		}
	}, script...))
	if err := p.Bind(t.Context(), withClock); err != nil {
		t.Fatal(err)
	}
	_, answer, err := ask(t.Context(), p, "[[tool=Read]]")
	if err != nil || len(answer.Calls) != 1 || !p.Parked() {
		t.Fatalf("answer = %+v, calls %v, %v", answer.Summary, answer.Calls, err)
	}
	return p, answer
}

func TestResumeGivesUsageAndCostsApart(t *testing.T) {
	p, first := parkFake(t, nil)
	if first.Usage != each || first.Turn != nil {
		t.Errorf("parked: %+v, turn %+v", first.Usage, first.Turn)
	}
	settings := withClock
	settings.ToolChoice = jsontext.Value(`{"type":"none"}`)
	last, err := p.Resume(t.Context(), settings, []claudecli.ToolResult{result(first.Calls[0], "noon")}, claudecli.Handler{})
	if err != nil {
		t.Fatal(err)
	}
	if last.Usage != each || last.Turn == nil || last.Turn.CostMicroUSD != 50 || last.Turn.Usage.OutputTokens != 10 {
		t.Errorf("the last: %+v, turn %+v", last.Usage, last.Turn)
	}
	text := string(last.Content[0])
	for _, want := range []string{`noon`, `servers=1`, `tool_choice`, `none`} {
		if !strings.Contains(text, want) {
			t.Errorf("%q isn't in %s", want, text)
		}
	}
	if err := p.Empty(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
		t.Fatal(err)
	}
	_, plain, err := ask(t.Context(), p, "hi")
	if err != nil || plain.Turn == nil || plain.Turn.CostMicroUSD != 25 {
		t.Errorf("the turn after it: %+v, %v", plain, err)
	}
}

func TestEmptyStopsAParkedTurn(t *testing.T) {
	p, _ := parkFake(t, nil)
	if _, _, err := ask(t.Context(), p, "another"); err == nil || !p.Parked() {
		t.Errorf("another prompt: %v, parked %t", err, p.Parked())
	}
	if err := p.Empty(t.Context()); err != nil || p.Parked() {
		t.Fatalf("%v, parked %t", err, p.Parked())
	}
	if _, err := p.Resume(t.Context(), withClock, nil, claudecli.Handler{}); !errors.Is(err, claudecli.ErrNotResumed) {
		t.Errorf("resumed after it: %v", err)
	}
}

func TestToolsThatTheCLIRefuses(t *testing.T) {
	p := ready(t, startFake(t, func(o *claudecli.Options) { o.Features = withTools }, "refuse=mcp_set_servers"))
	err := p.Bind(t.Context(), withClock)
	if e := apierror.From(err); e == nil || e.Category != apierror.CLIError {
		t.Errorf("err = %v", err)
	}
	if err := p.Empty(t.Context()); !errors.Is(err, claudecli.ErrNotEmptied) {
		t.Errorf("emptied: %v", err)
	}
}

// TestACallThatNobodyWasToldAbout is refused, at once and without an end of the
// turn.
func TestACallThatNobodyWasToldAbout(t *testing.T) {
	p, answer := parkFake(t, nil, "callstwice")
	last, err := p.Resume(t.Context(), withClock, []claudecli.ToolResult{result(answer.Calls[0], "x")}, claudecli.Handler{})
	if err != nil || p.Parked() || !strings.Contains(string(last.Content[0]), "refused=not available here") {
		t.Errorf("answer = %s, %v", last.Content, err)
	}
	if err := p.Empty(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestToolsNeedACLIThatTakesThem(t *testing.T) {
	for name, settings := range map[string]claudecli.Settings{
		"tools":  withClock,
		"effort": {Model: testModel, Effort: "low"},
		"format": {Model: testModel, Format: jsontext.Value(`{}`)},
	} {
		p := ready(t, startFake(t, nil))
		if err := p.Bind(t.Context(), settings); err == nil {
			t.Errorf("%s: bound", name)
		}
	}
}

func TestCheckTools(t *testing.T) {
	tool := func(name string) message.Tool { return message.Tool{Name: name, InputSchema: jsontext.Value(`{}`)} }
	for name, c := range map[string]struct {
		tools  []message.Tool
		choice string
		param  string // "" for none
	}{
		"none":                       {nil, ``, ""},
		"a long name":                {[]message.Tool{tool(strings.Repeat("a", claudecli.MaxToolName))}, `{"type":"auto"}`, ""},
		"a name that is too long":    {[]message.Tool{tool(strings.Repeat("a", claudecli.MaxToolName+1))}, ``, "tools.0.name"},
		"a name with a dot":          {[]message.Tool{tool("a"), tool("a.b")}, ``, "tools.1.name"},
		"a name twice":               {[]message.Tool{tool("a"), tool("a")}, ``, "tools.1.name"},
		"a tool of the API's":        {[]message.Tool{{Type: "web_search_20250305", Name: "web_search"}}, ``, "tools.0.type"},
		"a choice of a tool":         {[]message.Tool{tool("a")}, `{"type":"tool","name":"a"}`, ""},
		"a choice of another tool":   {[]message.Tool{tool("a")}, `{"type":"tool","name":"b"}`, "tool_choice.name"},
		"any of no tools":            {nil, `{"type":"any"}`, "tool_choice"},
		"none of no tools":           {nil, `{"type":"none"}`, ""},
		"a name as the CLI's prefix": {[]message.Tool{tool("mcp__c__x")}, ``, ""},
	} {
		err := claudecli.CheckTools(c.tools, jsontext.Value(c.choice))
		if c.param == "" && err != nil || c.param != "" && (err == nil || apierror.From(err).Param != c.param) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestACallerWhoLeavesAtTheEnd leaves when the answer is whole and the CLI would
// go on by itself: the answer, its cost and the process are there all the same.
func TestACallerWhoLeavesAtTheEnd(t *testing.T) {
	for name, prompt := range map[string]string{
		"after max_tokens": `"[[max]]"`, "after a call that nobody is to run": `"[[tool=Read]][[stop=end_turn]]"`,
	} {
		t.Run(name, func(t *testing.T) {
			p := ready(t, startFake(t, func(o *claudecli.Options) { o.Features = withTools }))
			if err := p.Bind(t.Context(), withClock); err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			answer, err := p.Turn(ctx, jsontext.Value(prompt), claudecli.Handler{Event: func(e message.Event) error {
				if e.Type == message.EventMessageStop {
					leave()
				}
				return nil
			}})
			if err != nil || answer.Turn == nil || answer.Settled {
				t.Errorf("answer = %+v, %v", answer, err)
			}
			if err := p.Empty(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}
