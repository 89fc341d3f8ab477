package clipool_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/message"
)

// parking are the features of a CLI that takes a client's tools.
var parking = claudecli.Features{
	Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true, ExtraBody: true, ClientTools: true,
}

// newParkingPool makes a pool of scripted workers that take tools, and starts it.
func newParkingPool(t testing.TB, change func(*clipool.Options), script ...string) *clipool.Pool {
	t.Helper()
	p := newUnstartedPool(t, change, script...)
	p.Start(parking)
	return p
}

const clock = `[{"name":"get_time","description":"The time","input_schema":{"type":"object"}}]`

// A worker that stopped its turn by force holds more than the conversation.
func TestAnAnswerAfterWhichTheCLIWasStoppedIsNotHeld(t *testing.T) {
	p := newParkingPool(t, nil)
	waitFor(t, p, idle(2))
	c := &toolChat{p: p, project: "p", key: "a", tools: clock}
	answer := c.send(t, `"[[tool=get_time]][[stop=end_turn]]"`)
	if answer.StopReason != message.StopEndTurn {
		t.Fatalf("stop_reason is %q", answer.StopReason)
	}
	waitFor(t, p, idle(2))
	if s := p.Status(); s.Held != 0 || s.Parked != 0 {
		t.Errorf("held %d, parked %d", s.Held, s.Parked)
	}
}

// What a client has made of the answer counts: here a person has put other
// words into a call before it was run, or left out what the model said to it.
func TestAParkedTurnGoesOnOnlyWithTheAnswerThatItGave(t *testing.T) {
	for name, test := range map[string]struct {
		change  func(c *toolChat, id string)
		resumed bool
	}{
		"as it was": {func(*toolChat, string) {}, true},
		"other input": {func(c *toolChat, id string) {
			c.turns[1].Content = jsontext.Value(fmt.Sprintf(`[{"type":"tool_use","id":%q,"name":"get_time","input":{"place":"Oslo"}}]`, id))
		}, false},
		"a text beside the call": {func(c *toolChat, id string) {
			c.turns[1].Content = jsontext.Value(fmt.Sprintf(`[{"type":"text","text":"hm"},{"type":"tool_use","id":%q,"name":"get_time","input":{}}]`, id))
		}, false},
		"another question": {func(c *toolChat, _ string) { c.turns[0].Content = jsontext.Value(`"other"`) }, false},
		"other tools":      {func(c *toolChat, _ string) { c.tools = strings.Replace(clock, "The", "A", 1) }, false},
		"another model":    {func(c *toolChat, _ string) { c.model = "claude-opus-5-5" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newParkingPool(t, nil)
			waitFor(t, p, idle(2))
			c := &toolChat{p: p, project: "p", key: "a", tools: clock}
			ids := c.calls(t, "[[tool=get_time]]")
			waitFor(t, p, parked(1))
			test.change(c, ids[0])
			answer := said(c.results(t, ids, "noon"))
			if !strings.Contains(answer, "noon-0") || strings.Contains(answer, "result=") != test.resumed {
				t.Errorf("resumed should be %t: %s", test.resumed, answer)
			}
			// The worker doesn't wait in vain for what has come elsewhere.
			waitFor(t, p, parked(0))
		})
	}
}

// A client that says something beside its results is served by a replay.
func TestAParkedTurnThatIsOvertakenIsEmptied(t *testing.T) {
	p := newParkingPool(t, func(o *clipool.Options) { o.InspectEvery = time.Hour })
	waitFor(t, p, idle(2))
	c := &toolChat{p: p, project: "p", key: "a", tools: clock}
	ids := c.calls(t, "[[tool=get_time]]")
	waitFor(t, p, parked(1))
	answer := c.send(t, fmt.Sprintf(`[{"type":"tool_result","tool_use_id":%q,"content":"noon"},{"type":"text","text":"and hurry"}]`, ids[0]))
	if !strings.Contains(said(answer), "and hurry") {
		t.Errorf("answer = %s", said(answer))
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Parked == 0 && s.Idle == 2 })
}
