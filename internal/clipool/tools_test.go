package clipool_test

import (
	"bytes"
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/simulator"
)

const weather = `[{"name":"get_weather","description":"The weather of a place","input_schema":{"type":"object","properties":{"place":{"type":"string"}},"required":["place"]},"input_examples":[{"place":"Paris"}],"cache_control":{"type":"ephemeral"}},
	{"name":"get_time","description":"The time at a place","input_schema":{"type":"object","properties":{}}}]`

// toolChat is a conversation with tools as a client keeps it.
type toolChat struct {
	p       *clipool.Pool
	project string
	key     string
	tools   string
	model   string // "" for the usual one
	stream  bool
	turns   []message.Turn
	costs   int64 // of all answers, in millionths of a US dollar
}

// send sends a turn of the user and keeps the answer.
func (c *toolChat) send(t *testing.T, content string) (answer message.Message) {
	t.Helper()
	c.turns = append(c.turns, message.Turn{Role: message.RoleUser, Content: jsontext.Value(content)})
	body, err := json.Marshal(map[string]any{
		"model": "haiku", "max_tokens": 200, "stream": c.stream, "messages": c.turns, "tools": jsontext.Value(c.tools),
	})
	if err != nil {
		t.Fatal(err)
	}
	call := newCall(t, c.project, string(body))
	call.Caller.KeyID, call.Model = c.key, cmp.Or(c.model, call.Model)
	out := &assembler{}
	result, err := c.p.Generate(t.Context(), call, out)
	if err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	if result.CostMicroUSD != nil {
		c.costs += *result.CostMicroUSD
	}
	answer = out.answer(t)
	answer.Usage, answer.StopReason = result.Usage, result.StopReason
	kept, err := json.Marshal(answer.Content)
	if err != nil {
		t.Fatal(err)
	}
	c.turns = append(c.turns, message.Turn{Role: message.RoleAssistant, Content: kept})
	return answer
}

// calls sends a prompt that has the model call tools, and gives their ids.
func (c *toolChat) calls(t *testing.T, prompt string) (ids []string) {
	t.Helper()
	answer := c.send(t, fmt.Sprintf("%q", prompt))
	if answer.StopReason != message.StopToolUse {
		t.Fatalf("stop_reason is %q: %s", answer.StopReason, answer.Content)
	}
	return idsOf(t, answer)
}

// idsOf gives the ids of the calls in an answer.
func idsOf(t *testing.T, answer message.Message) (ids []string) {
	t.Helper()
	for _, raw := range answer.Content {
		var b struct {
			Type, ID, Name string
		}
		if err := json.Unmarshal(raw, &b, json.MatchCaseInsensitiveNames(true)); err != nil {
			t.Fatal(err)
		}
		if b.Type == "tool_use" {
			if !strings.HasPrefix(b.Name, "get_") {
				t.Errorf("the caller reads the tool's name as %s", b.Name)
			}
			ids = append(ids, b.ID)
		}
	}
	return ids
}

// results sends one result for each call.
func (c *toolChat) results(t *testing.T, ids []string, text string) message.Message {
	t.Helper()
	var blocks []string
	for i, id := range ids {
		blocks = append(blocks, fmt.Sprintf(`{"type":"tool_result","tool_use_id":%q,"content":"%s-%d"}`, id, text, i))
	}
	return c.send(t, "["+strings.Join(blocks, ",")+"]")
}

// assembler is an EventWriter that puts a stream together again.
type assembler struct {
	collector
	events []message.Event
}

func (a *assembler) Event(e message.Event) error {
	e.Data = bytes.Clone(e.Data)
	a.events = append(a.events, e)
	return nil
}

func (a *assembler) answer(t *testing.T) (m message.Message) {
	t.Helper()
	if len(a.events) == 0 {
		if err := json.Unmarshal([]byte(a.text.String()), &m); err != nil {
			t.Fatal(err)
		}
		return m
	}
	var input, text strings.Builder
	for _, e := range a.events {
		var data struct {
			Block map[string]jsontext.Value `json:"content_block"`
			Delta struct {
				Text  string `json:"text"`
				Input string `json:"partial_json"`
			} `json:"delta"`
		}
		if err := json.Unmarshal(e.Data, &data); err != nil {
			t.Fatal(err)
		}
		switch e.Type {
		case message.EventContentBlockStart:
			input.Reset()
			text.Reset()
			block, err := json.Marshal(data.Block)
			if err != nil {
				t.Fatal(err)
			}
			m.Content = append(m.Content, block)
		case message.EventContentBlockDelta:
			input.WriteString(data.Delta.Input)
			text.WriteString(data.Delta.Text)
		case message.EventContentBlockStop:
			var block map[string]jsontext.Value
			last := len(m.Content) - 1
			if err := json.Unmarshal(m.Content[last], &block); err != nil {
				t.Fatal(err)
			}
			if string(block["type"]) == `"tool_use"` {
				block["input"] = jsontext.Value(input.String())
				if input.Len() == 0 {
					block["input"] = jsontext.Value("{}")
				}
			} else if quoted, err := json.Marshal(text.String()); err == nil {
				block["text"] = quoted
			}
			whole, err := json.Marshal(block)
			if err != nil {
				t.Fatal(err)
			}
			m.Content[last] = whole
		}
	}
	return m
}

func said(m message.Message) string { return fmt.Sprintf("%s", m.Content) }

func parked(n int64) func(clipool.Status) bool {
	return func(s clipool.Status) bool { return s.Parked == n && s.Starting == 0 }
}

// lastSent is the body that reached the upstream last.
func lastSent(upstream *simulator.Simulator) string {
	bodies := upstream.Bodies()
	return string(bodies[len(bodies)-1])
}

// price is what one token costs in these tests, in millionths of a US dollar.
func price(_ string, _ time.Time, u message.Usage) (int64, bool) { return u.Total(), true }

func TestClientTools(t *testing.T) {
	for _, version := range []string{install.Version, install.OlderVersion} {
		t.Run(version, func(t *testing.T) {
			upstream := clitest.NewUpstream(t)
			p := newRealPool(t, version, upstream, func(o *clipool.Options) { o.Workers = 2; o.Price = price })
			waitFor(t, p, idle(2))
			for _, stream := range []bool{false, true} {
				t.Run(fmt.Sprintf("stream %t", stream), func(t *testing.T) { testParkedTurn(t, p, upstream, stream) })
			}
			t.Run("replays", func(t *testing.T) { testReplayedTurns(t, p, upstream) })
		})
	}
}

// testParkedTurn goes through a turn of three answers, and then through another
// one in the same conversation.
func testParkedTurn(t *testing.T, p *clipool.Pool, upstream *simulator.Simulator, stream bool) {
	c := &toolChat{p: p, project: "p", key: "a", tools: weather, stream: stream}
	ids := c.calls(t, `what's up? [[tool=get_weather input={"place":"Rome"}]] [[tool=get_time]]`)
	if len(ids) != 2 {
		t.Fatalf("%d calls, want 2", len(ids))
	}
	waitFor(t, p, parked(1))
	before := len(upstream.Bodies())
	answer := c.results(t, ids, "sunny")
	if answer.StopReason != message.StopEndTurn || !strings.Contains(said(answer), "Tool result") || answer.Usage.OutputTokens == 0 {
		t.Fatalf("answer = %s, %+v", said(answer), answer.Usage)
	}
	if n := len(upstream.Bodies()) - before; n != 1 {
		t.Errorf("%d upstream requests for the results, want 1", n)
	}
	var sent struct {
		Messages []message.Turn `json:"messages"`
		Tools    []message.Tool `json:"tools"`
	}
	if err := json.Unmarshal([]byte(lastSent(upstream)), &sent); err != nil {
		t.Fatal(err)
	}
	if len(sent.Tools) != 2 || !strings.HasSuffix(sent.Tools[0].Name, "get_weather") || sent.Tools[0].Description != "The weather of a place" {
		t.Errorf("tools = %+v", sent.Tools)
	}
	for _, word := range []string{"sunny-0", "Paris", "sunny-1", ids[0], ids[1], "Rome"} {
		if !strings.Contains(lastSent(upstream), word) {
			t.Errorf("%s didn't reach the upstream: %s", word, lastSent(upstream))
		}
	}
	waitFor(t, p, parked(0))
	// The conversation is held, and goes on with another call.
	ids = c.calls(t, `and now? [[tool=get_time]]`)
	if answer = c.results(t, ids, "noon"); !strings.Contains(said(answer), "noon-0") {
		t.Errorf("answer = %s", said(answer))
	}
	if c.costs <= 0 {
		t.Errorf("the answers cost %d", c.costs)
	}
}

// testReplayedTurns takes the parked worker away, or changes what the caller
// sends, before the results come: they are served all the same.
func testReplayedTurns(t *testing.T, p *clipool.Pool, upstream *simulator.Simulator) {
	for name, between := range map[string]func(*testing.T, *toolChat){
		"the worker is needed": func(t *testing.T, _ *toolChat) {
			for range 3 { // all workers are busy at once
				mustAskTwice(t, p)
			}
		},
		"other tools": func(_ *testing.T, c *toolChat) { c.tools = strings.Replace(weather, "The time", "The hour", 1) },
		"another key": func(_ *testing.T, c *toolChat) { c.key = "b" },
		"another history": func(_ *testing.T, c *toolChat) {
			c.turns = append([]message.Turn{{Role: "user", Content: jsontext.Value(`"hi"`)}, {Role: "assistant", Content: jsontext.Value(`"ho"`)}}, c.turns...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := &toolChat{p: p, project: "p", key: "a", tools: weather}
			ids := c.calls(t, `hello [[tool=get_weather input={"place":"Oslo"}]]`)
			between(t, c)
			answer := c.results(t, ids, "rain")
			if answer.StopReason != message.StopEndTurn || !strings.Contains(said(answer), "rain-0") {
				t.Errorf("answer = %s", said(answer))
			}
			body := lastSent(upstream)
			if strings.Count(body, "rain-0") != 1 || !strings.Contains(body, "Oslo") || !strings.Contains(body, ids[0]) {
				t.Errorf("the upstream got %s", body)
			}
		})
	}
}

// mustAskTwice has two requests served at once, each in a while.
func mustAskTwice(t *testing.T, p *clipool.Pool) {
	t.Helper()
	failed := make(chan error, 2)
	for range 2 {
		go func() {
			_, err := p.Generate(t.Context(), newCall(t, "p", body("", "[[delay=100ms]]")), &collector{})
			failed <- err
		}()
	}
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
}

func TestParkedTurnsExpire(t *testing.T) {
	upstream := clitest.NewUpstream(t)
	p := newRealPool(t, install.Version, upstream, func(o *clipool.Options) {
		o.Workers, o.ParkFor, o.InspectEvery = 1, time.Nanosecond, time.Millisecond
	})
	c := &toolChat{p: p, project: "p", key: "a", tools: weather}
	ids := c.calls(t, `hello [[tool=get_time]]`)
	waitFor(t, p, idle(1))
	if answer := c.results(t, ids, "late"); !strings.Contains(said(answer), "late-0") {
		t.Errorf("answer = %s", said(answer))
	}
}

// A tool_choice holds for one answer, and an answer may have a form.
func TestChoiceAndForm(t *testing.T) {
	upstream := clitest.NewUpstream(t)
	p := newRealPool(t, install.Version, upstream, func(o *clipool.Options) { o.Workers = 1 })
	for _, members := range []string{
		`"tool_choice":{"type":"any"}`, `"tool_choice":{"type":"tool","name":"get_time"}`, `"tool_choice":{"type":"none"}`, `"stream":false`,
	} {
		out := &assembler{}
		call := newCall(t, "p", `{"max_tokens":50,"tools":`+weather+`,`+members+`,"messages":[{"role":"user","content":"hello"}]}`)
		result, err := p.Generate(t.Context(), call, out)
		forced := strings.Contains(members, "any") || strings.Contains(members, `"tool"`)
		if err != nil || (result.StopReason == message.StopToolUse) != forced {
			t.Errorf("%s: stop_reason %q, %v: %s", members, result.StopReason, err, said(out.answer(t)))
		}
	}
	out := &assembler{}
	call := newCall(t, "p", `{"max_tokens":50,"output_config":{"format":{"type":"json_schema","schema":{"type":"object","properties":{"n":{"type":"integer"}},"required":["n"],"additionalProperties":false}}},"messages":[{"role":"user","content":"hello"}]}`)
	if _, err := p.Generate(t.Context(), call, out); err != nil || !strings.Contains(said(out.answer(t)), `{\"n\":`) {
		t.Errorf("%v: %s", err, said(out.answer(t)))
	}
	plain := &assembler{}
	if _, err := p.Generate(t.Context(), newCall(t, "p", body("", "hello")), plain); err != nil || !strings.Contains(said(plain.answer(t)), "Echo: hello") {
		t.Errorf("the form stayed: %v: %s", err, said(plain.answer(t)))
	}
}
