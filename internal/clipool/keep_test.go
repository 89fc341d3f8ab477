package clipool_test

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// chat is a conversation of one key as a client keeps it.
type chat struct {
	p      *clipool.Pool
	key    string
	stream bool
	// stranger is a key that isn't known to have conversations.
	stranger bool
	turns    []message.Turn
}

// say sends a turn with all that was said before and gives the answer's text.
func (c *chat) say(t *testing.T, prompt string) string {
	t.Helper()
	if !c.stranger {
		c.p.Talks(c.key)
	}
	quoted, err := json.Marshal(prompt)
	if err != nil {
		t.Fatal(err)
	}
	c.turns = append(c.turns, message.Turn{Role: message.RoleUser, Content: quoted})
	body, err := json.Marshal(map[string]any{"model": "haiku", "max_tokens": 100, "system": "be brief", "messages": c.turns, "stream": c.stream})
	if err != nil {
		t.Fatal(err)
	}
	call := newCall(t, "p", string(body))
	call.Caller = &gateway.Caller{ProjectID: "p", KeyID: c.key}
	out := &assembler{}
	if _, err := c.p.Generate(t.Context(), call, out); err != nil {
		t.Fatal(err)
	}
	answer := out.answer(t)
	var block struct {
		Text string `json:"text"`
	}
	if len(answer.Content) != 1 || json.Unmarshal(answer.Content[0], &block) != nil {
		t.Fatalf("answer = %s", said(answer))
	}
	text := block.Text
	if quoted, err = json.Marshal(text); err != nil {
		t.Fatal(err)
	}
	c.turns = append(c.turns, message.Turn{Role: message.RoleAssistant, Content: quoted})
	return text
}

var pidOf = regexp.MustCompile(`pid=\d+`)

// at gives the worker that answers a turn.
func (c *chat) at(t *testing.T, prompt string) string {
	t.Helper()
	return pidOf.FindString(c.say(t, prompt))
}

func idle(n int64) func(clipool.Status) bool {
	return func(s clipool.Status) bool { return s.Idle == n && s.Busy == 0 && s.Starting == 0 }
}

func TestAConversationGoesOnWhereItIsHeld(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 4; o.Starting = 4 })
	waitFor(t, p, idle(4))
	one, other := &chat{p: p, key: "a", stream: true}, &chat{p: p, key: "a"}
	first, second := one.at(t, "hello"), other.at(t, "goodbye")
	if first == second {
		t.Fatalf("both conversations are at %s", first)
	}
	for range 3 {
		if got := one.say(t, "and then?"); pidOf.FindString(got) != first || !strings.Contains(got, "replayed=1") {
			t.Errorf("the conversation went on by %s, not at %s", got, first)
		}
		if got := other.at(t, "and then?"); got != second {
			t.Errorf("the other went on at %s, not at %s", got, second)
		}
	}
}

// Who asks single questions gets the same warm worker each time; the first
// question that goes on shows that there are conversations to hold.
func TestSingleQuestionsAreNotHeld(t *testing.T) {
	p := newPool(t, nil)
	waitFor(t, p, idle(2))
	var first string
	for range 4 {
		at := (&chat{p: p, key: "a", stranger: true}).at(t, "hello")
		waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 && s.Held == 0 })
		if first == "" {
			first = at
		}
		if at != first {
			t.Errorf("served by %s, not by %s, which served before", at, first)
		}
	}
	c := &chat{p: p, key: "a", stranger: true}
	c.say(t, "hello")
	if answer := c.say(t, "and then?"); !strings.Contains(answer, "history=2") {
		t.Errorf("answer = %s", answer)
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Held == 1 })
	if held := c.at(t, "and then?"); held != c.at(t, "and then?") {
		t.Error("the conversation isn't held")
	}
}

func TestWhoCannotGoOnIsServedAnew(t *testing.T) {
	for name, change := range map[string]func(*chat){
		"another key":        func(c *chat) { c.key = "b" },
		"another question":   func(c *chat) { c.turns[0].Content = []byte(`"other"`) },
		"another answer":     func(c *chat) { c.turns[1].Content = []byte(`"other"`) },
		"a turn before that": func(c *chat) { c.turns = append(turn("x", "y"), c.turns...) },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, nil)
			waitFor(t, p, idle(2))
			c := &chat{p: p, key: "a"}
			held := c.at(t, "hello")
			change(c)
			answer := c.say(t, "and then?")
			if pidOf.FindString(answer) == held {
				t.Errorf("it went on at the worker that holds another conversation: %s", answer)
			}
			if want := fmt.Sprintf("history=%d", len(c.turns)-2); !strings.Contains(answer, want) {
				t.Errorf("the conversation wasn't put in, want %s: %s", want, answer)
			}
		})
	}
}

func turn(prompt, answer string) []message.Turn {
	return []message.Turn{{Role: "user", Content: []byte(`"` + prompt + `"`)}, {Role: "assistant", Content: []byte(`"` + answer + `"`)}}
}

// A conversation that is held never keeps another request waiting.
func TestHeldWorkersAreThereForOthers(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.Workers = 1; o.HoldFor = time.Hour })
	waitFor(t, p, idle(1))
	c := &chat{p: p, key: "a"}
	held := c.at(t, "hello")
	if got := mustAsk(t, p, "p", "be brief", "who is there?"); "pid="+got != held {
		t.Errorf("a request of the class was served by %s, not by %s", got, held)
	}
	c = &chat{p: p, key: "a"}
	held = c.at(t, "hello")
	if got := mustAsk(t, p, "q", "be brief", "who is there?"); "pid="+got == held {
		t.Error("a worker that held a conversation served another project")
	}
}

func TestHeldConversationsExpire(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) { o.HoldFor = time.Nanosecond; o.InspectEvery = time.Millisecond })
	waitFor(t, p, idle(2))
	c := &chat{p: p, key: "a"}
	c.say(t, "hello")
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 && s.Busy == 0 && s.Held == 0 })
	// The fake counts the turns that are put in, and one that it warms up with.
	if answer := c.say(t, "and then?"); !strings.Contains(answer, "replayed=2") {
		t.Errorf("an expired conversation went on: %s", answer)
	}
}

func TestNothingIsHeldWhereItIsSwitchedOff(t *testing.T) {
	for name, change := range map[string]func(*clipool.Options){
		"by HoldFor":      func(o *clipool.Options) { o.HoldFor = -1 },
		"by ReuseNever":   func(o *clipool.Options) { o.Reuse = clipool.ReuseNever },
		"by worn workers": func(o *clipool.Options) { o.MaxTurns = 1 },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t, change)
			c := &chat{p: p, key: "a"}
			c.say(t, "hello")
			if answer := c.say(t, "and then?"); !strings.Contains(answer, "history=2") {
				t.Errorf("the conversation wasn't put in: %s", answer)
			}
		})
	}
}

func TestAHeldWorkerThatDiesIsReplaced(t *testing.T) {
	p := newPool(t, nil)
	waitFor(t, p, idle(2))
	c := &chat{p: p, key: "a"}
	held := c.at(t, "hello")
	killPID(t, held)
	if answer := c.say(t, "and then?"); pidOf.FindString(answer) == held || !strings.Contains(answer, "history=2") {
		t.Errorf("answer = %s", answer)
	}
	waitFor(t, p, idle(2))
}

// TestAHeldConversationOnTheRealCLI reads what reaches the upstream when a
// conversation goes on: every word once, under its role and in order.
func TestAHeldConversationOnTheRealCLI(t *testing.T) {
	for _, version := range []string{install.Version, install.OlderVersion} {
		t.Run(version, func(t *testing.T) {
			upstream := clitest.NewUpstream(t)
			p := newRealPool(t, version, upstream, nil)
			waitFor(t, p, idle(3))
			c := &chat{p: p, key: "a"}
			words := []string{"word-one", "word-two", "word-three"}
			for _, word := range words {
				c.say(t, word)
			}
			bodies := upstream.Bodies()
			last := bodies[len(bodies)-1]
			var sent struct {
				Messages []message.Turn `json:"messages"`
			}
			if err := json.Unmarshal(last, &sent); err != nil {
				t.Fatal(err)
			}
			var roles []string
			found := 0
			for _, turn := range sent.Messages {
				if found < len(words) && bytes.Contains(turn.Content, []byte(words[found])) && turn.Role == message.RoleUser {
					found++
				}
				roles = append(roles, turn.Role)
			}
			if found != len(words) || bytes.Count(last, []byte("word-one")) > 2 {
				t.Errorf("the upstream got %v: %s", roles, last)
			}
		})
	}
}

func killPID(t *testing.T, at string) {
	t.Helper()
	pid, err := strconv.Atoi(strings.TrimPrefix(at, "pid="))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// A request whose class a held worker serves doesn't wait for one that starts.
func TestAHeldWorkerServesSoonerThanOneThatStarts(t *testing.T) {
	const start = 2 * time.Second
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.Starting = 2, 2 }, "sleep="+start.String())
	waitFor(t, p, idle(2))
	c, other := &chat{p: p, key: "a"}, &chat{p: p, key: "b"}
	idleAt := other.at(t, "hello")
	held := c.at(t, "hello") // one of two may hold: the other is emptied
	waitFor(t, p, func(s clipool.Status) bool { return s.Idle == 2 && s.Held == 1 })
	killPID(t, idleAt)
	waitFor(t, p, func(s clipool.Status) bool { return s.Starting == 1 })
	begun := time.Now()
	if got := mustAsk(t, p, "p", "be brief", "who is there?"); "pid="+got != held {
		t.Errorf("served by %s after %v, not by %s", got, time.Since(begun), held)
	}
}

// A worker that dies when its answer is whole isn't kept.
func TestAWorkerThatDiesBehindItsAnswerIsReplaced(t *testing.T) {
	root := t.TempDir()
	p := newPool(t, func(o *clipool.Options) { o.Workers, o.InspectEvery, o.Process.Root = 1, time.Hour, root })
	waitFor(t, p, idle(1))
	out := &collector{}
	out.onEvent = func() error {
		at := pidOf.FindString(out.text.String())
		if !strings.Contains(out.text.String(), "message_stop") {
			return nil
		}
		killPID(t, at)
		for range 2_000 { // until it is reaped
			if left, err := os.ReadDir(root); err != nil || len(left) == 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		time.Sleep(10 * time.Millisecond) // and the pool has looked for it
		return nil
	}
	call := newCall(t, "p", `{"model":"haiku","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"hello"}]}`)
	if _, err := p.Generate(t.Context(), call, out); err != nil {
		t.Fatal(err)
	}
	waitFor(t, p, func(s clipool.Status) bool { return s.Held == 0 && s.Idle == 1 })
	if wrong := p.Account(); wrong != "" {
		t.Error(wrong)
	}
}
