package claudecli_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/fakeclaude"
	"claude-code-api-service/internal/message"
)

func TestMain(m *testing.M) {
	fakeclaude.RunIfAsked()
	serveHerbsIfAsked()
	goleak.VerifyTestMain(m, clitest.IgnoreSpawner())
}

var rewinding = claudecli.Features{Emptying: claudecli.EmptyByRewind, ChangeSystem: true, LiveSettings: true}

// startFake starts the scripted CLI. The limits are short where the script
// leaves something unanswered, long elsewhere.
func startFake(t *testing.T, change func(*claudecli.Options), script ...string) *claudecli.Process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	options := claudecli.Options{Path: self, Root: t.TempDir(), Model: testModel, Features: rewinding, Env: fakeclaude.Env(script...)}
	if change != nil {
		change(&options)
	}
	p, err := claudecli.Start(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func ready(t *testing.T, p *claudecli.Process) *claudecli.Process {
	t.Helper()
	if err := p.Ready(t.Context()); err != nil {
		t.Fatal(err)
	}
	return p
}

func ask(ctx context.Context, p *claudecli.Process, prompt string) (string, claudecli.Answer, error) {
	answer, err := p.Turn(ctx, jsontext.Value(`"`+prompt+`"`), claudecli.Handler{})
	var text []byte
	for _, block := range answer.Content {
		text = append(text, block...)
	}
	return string(text), answer, err
}

func TestTurnAnswersAndCounts(t *testing.T) {
	p := ready(t, startFake(t, nil))
	if p.Version() != "0.0.1" {
		t.Errorf("version = %q", p.Version())
	}
	for i := range 3 {
		settings := claudecli.Settings{System: fmt.Sprintf("system %d", i), Model: "claude-opus-5-5", MaxTokens: int64(100 + i)}
		if err := p.Bind(t.Context(), settings); err != nil {
			t.Fatal(err)
		}
		history := []message.Turn{
			{Role: message.RoleUser, Content: jsontext.Value(`"before"`)},
			{Role: message.RoleAssistant, Content: jsontext.Value(`"yes"`)},
		}
		if err := p.Replay(t.Context(), history); err != nil {
			t.Fatal(err)
		}
		text, answer, err := ask(t.Context(), p, "hello")
		if err != nil {
			t.Fatal(err)
		}
		want := fmt.Sprintf(`system=\"system %d\" model=claude-opus-5-5 max=%d history=2 replayed=%d prompt=\"hello\"`, i, 100+i, i+2)
		if !strings.Contains(text, want) {
			t.Errorf("answer = %s, want it to hold %s", text, want)
		}
		if answer.Usage != each || answer.Turn == nil || *answer.Turn != (claudecli.Spent{Usage: each, CostMicroUSD: 25, Basis: claudecli.BasisList}) || answer.StopReason != "end_turn" {
			t.Errorf("answer = %+v (turn %+v)", answer.Summary, answer.Turn)
		}
		if err := p.Empty(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if p.Turns() != 3 {
		t.Errorf("turns = %d", p.Turns())
	}
}

func TestTurnStreamsEvents(t *testing.T) {
	p := ready(t, startFake(t, nil, "ask"))
	if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
		t.Fatal(err)
	}
	var types []string
	firsts := 0
	_, err := p.Turn(t.Context(), jsontext.Value(`[{"type":"text","text":"hi"}]`), claudecli.Handler{
		First: func() { firsts++ },
		Event: func(e message.Event) error { types = append(types, e.Type); return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := "message_start content_block_start content_block_delta content_block_stop message_delta message_stop"
	if got := strings.Join(types, " "); got != want || firsts != 1 {
		t.Errorf("events = %s, first called %d times", got, firsts)
	}
}

func TestEventHandlersErrorEndsTheTurn(t *testing.T) {
	p := ready(t, startFake(t, nil))
	left := errors.New("the caller left")
	_, err := p.Turn(t.Context(), jsontext.Value(`"hi"`), claudecli.Handler{Event: func(message.Event) error { return left }})
	if !errors.Is(err, left) {
		t.Errorf("err = %v", err)
	}
}

func TestTurnIsCutWhenTheCLIWouldGoOn(t *testing.T) {
	p := ready(t, startFake(t, nil))
	text, answer, err := ask(t.Context(), p, "[[max]]")
	if err != nil || answer.StopReason != message.StopMaxTokens || strings.Contains(text, "never asked for") {
		t.Fatalf("answer = %s, %+v, %v", text, answer.Summary, err)
	}
	if err := p.Empty(t.Context()); err != nil {
		t.Errorf("after the cut: %v", err)
	}
}

func TestAWholeAnswerIsOneWhateverTheResultSays(t *testing.T) {
	p := ready(t, startFake(t, nil))
	if text, _, err := ask(t.Context(), p, "[[late-error]]"); err != nil || !strings.Contains(text, "late-error") {
		t.Errorf("answer = %s, %v", text, err)
	}
}

// each is what the fake says that an answer used.
var each = message.Usage{InputTokens: 3, OutputTokens: 5}

func TestNumbersThatBeginAnew(t *testing.T) {
	// /clear sets the CLI's cumulative numbers back (2.1.331).
	p := ready(t, startFake(t, func(o *claudecli.Options) {
		o.Features = claudecli.Features{Emptying: claudecli.EmptyByClear, LiveSettings: true}
	}))
	for i := range 3 {
		for range i {
			if _, answer, err := ask(t.Context(), p, "x"); err != nil || answer.Usage != each || answer.Turn.Usage != each || answer.Turn.CostMicroUSD != 25 {
				t.Errorf("after %d clears: %+v, %v", i, answer.Summary, err)
			}
		}
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
			t.Fatal(err)
		}
		if i > 0 {
			if err := p.Empty(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func TestTextIsNeverACommand(t *testing.T) {
	p := ready(t, startFake(t, nil))
	tests := []struct{ name, content, want string }{
		{"text", `"hello /clear"`, `prompt=\"hello /clear\"`},
		{"command", `"/clear"`, `prompt=\" /clear\"`},
		{"escaped command", `"\u002fclear"`, `prompt=\" /clear\"`},
		{"blocks", `[{"type":"text","text":"hello"}]`, `prompt=[{\"type\":\"text\",\"text\":\"hello\"}]`},
		{"command in a block", `[{"text":"/model opus","type":"text"},{"type":"image","source":{"type":"url"}}]`,
			`prompt=[{\"text\":\" /model opus\",\"type\":\"text\"},{\"source\":{\"type\":\"url\"},\"type\":\"image\"}]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			answer, err := p.Turn(t.Context(), jsontext.Value(test.content), claudecli.Handler{})
			if err != nil || len(answer.Content) != 1 || !strings.Contains(string(answer.Content[0]), test.want) {
				t.Errorf("answer = %s, %v, want it to hold %s", answer.Content, err, test.want)
			}
			if err := p.Empty(t.Context()); err != nil {
				t.Fatal(err)
			}
		})
	}
}

func TestCallerLeavesAndTheProcessIsEmptied(t *testing.T) {
	for _, emptying := range []claudecli.Emptying{claudecli.EmptyByRewind, claudecli.EmptyByClear} {
		t.Run(string(emptying), func(t *testing.T) {
			p := ready(t, startFake(t, func(o *claudecli.Options) { o.Features.Emptying = emptying }))
			if _, _, err := ask(t.Context(), p, "to learn the session id"); err != nil {
				t.Fatal(err)
			}
			if err := p.Empty(t.Context()); err != nil {
				t.Fatal(err)
			}
			ctx, leave := context.WithCancel(t.Context())
			answer, err := p.Turn(ctx, jsontext.Value(`"[[hang]]"`), claudecli.Handler{
				Event: func(message.Event) error { return nil },
				// The turn flushes because it would wait.
				Flush: func() error { leave(); return nil },
			})
			if !errors.Is(err, context.Canceled) || answer.Usage.InputTokens != 3 {
				t.Errorf("answer = %+v, %v", answer.Summary, err)
			}
			if err := p.Empty(t.Context()); err != nil {
				t.Fatal(err)
			}
			if text, _, err := ask(t.Context(), p, "next"); err != nil || !strings.Contains(text, "history=0") {
				t.Errorf("the next request got %s, %v", text, err)
			}
		})
	}
}

// TestRateLimit: the CLI says when a limit ends once, and not with each refusal.
func TestRateLimit(t *testing.T) {
	p := startFake(t, nil)
	if err := errors.Join(p.Ready(t.Context()), p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: 7})); err != nil {
		t.Fatal(err)
	}
	wait := func(prompt string) time.Duration {
		t.Helper()
		_, _, err := ask(t.Context(), p, prompt)
		e := apierror.From(err)
		if e == nil || e.Category != apierror.RateLimited {
			t.Fatalf("err = %v", err)
		}
		return e.RetryAfter
	}
	if got := wait("[[limit]]"); got != apierror.UnknownRetryAfter {
		t.Errorf("before it is told: %v", got)
	}
	soon := fmt.Sprintf("[[limit=%d]]", time.Now().Add(100*time.Second).Unix())
	for _, prompt := range []string{soon, "[[limit]]"} {
		if got := wait(prompt); got < 30*time.Second || got > 100*time.Second {
			t.Errorf("%s: %v", prompt, got)
		}
	}
	if got := wait("[[limit=1000]]"); got != apierror.UnknownRetryAfter {
		t.Errorf("one that has ended: %v", got)
	}
	if got := wait(fmt.Sprintf("[[limit=%d]]", time.Now().Add(1000*time.Hour).Unix())); got != 7*24*time.Hour {
		t.Errorf("beyond all sense: %v", got)
	}
}

func TestFailures(t *testing.T) {
	short := func(o *claudecli.Options) {
		o.ControlTimeout, o.StartTimeout, o.IdleTimeout = 50*time.Millisecond, 50*time.Millisecond, 50*time.Millisecond
	}
	impatient := func(o *claudecli.Options) { o.IdleTimeout = 50 * time.Millisecond }
	tests := []struct {
		name     string
		script   []string
		change   func(*claudecli.Options)
		prompt   string
		category apierror.Category
		contains string // what the log reads
		reusable bool
	}{
		{name: "dies at start", script: []string{"die"}, category: apierror.CLIError, contains: "dying as asked"},
		{name: "never answers at start", script: []string{"mute=get_binary_version"}, change: short, category: apierror.CLIError, contains: "in time"},
		{name: "never initializes", script: []string{"mute=initialize"}, change: short, category: apierror.CLIError, contains: "in time"},
		{name: "refuses initialize", script: []string{"refuse=initialize"}, category: apierror.CLIError, contains: "refused as asked"},
		{name: "refuses the settings", script: []string{"refuse=apply_flag_settings"}, category: apierror.CLIError, contains: "refused as asked"},
		{name: "never takes the settings", script: []string{"mute=apply_flag_settings"}, change: short, category: apierror.CLIError, contains: "in time"},
		{name: "dies in mid-turn", prompt: "[[die]]", category: apierror.CLIError, contains: "dying in mid-turn"},
		{name: "is silent", prompt: "[[hang]]", change: impatient, category: apierror.Timeout, contains: "no answer for 50ms", reusable: true},
		{name: "ends without an answer", prompt: "[[noanswer]]", category: apierror.CLIError, contains: "no answer", reusable: true},
		{name: "writes garbage", prompt: "[[garbage]]", reusable: false},
		{name: "bad request", prompt: "[[error=400]]", category: apierror.BadRequest, contains: "it was asked for", reusable: true},
		{name: "refused credential", prompt: "[[error=401]]", category: apierror.AuthError, contains: "credential", reusable: true},
		{name: "unknown model", prompt: "[[error=404]]", category: apierror.BadRequest, contains: "model", reusable: true},
		{name: "too large", prompt: "[[error=413]]", category: apierror.BadRequest, contains: "too large", reusable: true},
		{name: "rate limited", prompt: "[[error=429]]", category: apierror.RateLimited, contains: "rate limit", reusable: true},
		{name: "upstream failed", prompt: "[[error=500]]", category: apierror.UpstreamError, contains: "500", reusable: true},
		{name: "overloaded", prompt: "[[error=529]]", category: apierror.Overloaded, contains: "overloaded", reusable: true},
		{name: "isn't emptied", script: []string{"norewind"}, category: apierror.CLIError, contains: "stale target"},
		{name: "is emptied but for something", script: []string{"leftover"}, category: apierror.CLIError, contains: "left an assistant message"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := startFake(t, test.change, test.script...)
			err := p.Ready(t.Context())
			if err == nil {
				err = p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: 7})
			}
			if err == nil {
				_, _, err = ask(t.Context(), p, test.prompt)
			}
			if test.category == "" {
				if err != nil {
					t.Errorf("err = %v", err)
				}
			} else if e := apierror.From(err); errors.Is(err, claudecli.ErrNotEmptied) {
				if !strings.Contains(err.Error(), test.contains) {
					t.Errorf("err = %v, want it to say %q", err, test.contains)
				}
			} else if e == nil || e.Category != test.category || !strings.Contains(err.Error(), test.contains) {
				t.Errorf("err = %v, want %s that says %q", err, test.category, test.contains)
			}
			if err := p.Empty(t.Context()); (err == nil) != test.reusable {
				t.Errorf("Empty = %v, reusable should be %t", err, test.reusable)
			} else if err != nil && !errors.Is(err, claudecli.ErrNotEmptied) {
				t.Errorf("Empty = %v, want ErrNotEmptied", err)
			}
		})
	}
}

func TestMissingBinary(t *testing.T) {
	_, err := claudecli.Start(claudecli.Options{Path: "/nonexistent/claude", Root: t.TempDir()})
	if e := apierror.From(err); e == nil || e.Category != apierror.CLIError || !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}

func TestCloseLeavesNothing(t *testing.T) {
	root := t.TempDir()
	p := ready(t, startFake(t, func(o *claudecli.Options) { o.Root = root }))
	p.Close()
	if left, err := os.ReadDir(root); err != nil || len(left) > 0 {
		t.Errorf("left in the worker folder: %v, %v", left, err)
	}
}
