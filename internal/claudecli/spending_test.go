package claudecli_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/simulator"
)

// TestABoundedAnswerIsOneCall: the CLI would ask the model to resume an answer that
// max_tokens has cut. The next request has its upstream all the same, whether the
// process was emptied or not.
func TestABoundedAnswerIsOneCall(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		upstream.Reset()
		const n = 20
		for i := range n {
			if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: 30, Bounded: true}); err != nil {
				t.Fatal(err)
			}
			text, answer, err := ask(t.Context(), p, fmt.Sprintf("%d [[tokens=400 interval=3ms]]", i))
			if err != nil || answer.StopReason != message.StopMaxTokens || answer.Usage.OutputTokens != 30 || !strings.Contains(text, "Echo") {
				t.Fatalf("%s: %+v, %v", text, answer.Summary, err)
			}
			if answer.Turn == nil || answer.Turn.Usage.OutputTokens != 30 || answer.Turn.Usage.Prompt() != answer.Usage.Prompt() {
				t.Errorf("the answer used %+v, the turn %+v", answer.Usage, answer.Turn)
			}
			if i%2 == 0 {
				if err := p.Empty(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: 30}); err != nil {
			t.Fatal(err)
		}
		if text, _, err := ask(t.Context(), p, "not bounded"); err != nil || !strings.Contains(text, "not bounded") {
			t.Errorf("what follows: %s, %v", text, err)
		}
		if got := upstream.Stats().Requests["/v1/messages"]; got != n+1 {
			t.Errorf("%d calls of the upstream for %d turns", got, n+1)
		}
	})
}

// TestATurnsCostIsItsOwn: the CLI tells a running total of all turns. Its figure is
// the list price of the turn for the models that it knows.
func TestATurnsCostIsItsOwn(t *testing.T) {
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	const unknown = "claude-of-tomorrow"
	eachVersion(t, func(t *testing.T, p *claudecli.Process, _ *simulator.Simulator) {
		older := p.Version() == install.OlderVersion
		for _, model := range []string{testModel, otherTestModel, unknown, testModel} {
			if err := p.Bind(t.Context(), claudecli.Settings{Model: model}); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				_, answer, err := ask(t.Context(), p, fmt.Sprintf("[[tokens=%d]]", 50+i))
				if err != nil || answer.Turn == nil {
					t.Fatalf("%+v, %v", answer, err)
				}
				turn := *answer.Turn
				if turn.Usage.OutputTokens != int64(50+i) || turn.Usage.Prompt() != answer.Usage.Prompt() {
					t.Errorf("%s: the answer used %+v, the turn %+v", model, answer.Usage, turn.Usage)
				}
				want := claudecli.BasisList
				switch {
				case older:
					want = claudecli.BasisNotSaid
				case model == unknown:
					want = claudecli.BasisUnknown
				}
				if turn.Basis != want {
					t.Errorf("%s: its cost rests on %d, want %d", model, turn.Basis, want)
				}
				list, known := catalogue.Cost(model, time.Now(), answer.Usage)
				known = known && (model != testModel || !older) // it doesn't know that one
				if off := turn.CostMicroUSD - list; turn.CostMicroUSD <= 0 || known && (off < -1 || off > 1) {
					t.Errorf("%s: it costs %d, at list price %d", model, turn.CostMicroUSD, list)
				}
				if err := p.Empty(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}

// metered can't set max_tokens.
var metered = claudecli.Features{Emptying: claudecli.EmptyNever}

// TestABoundedAnswerIsCutByItsBytes where max_tokens can't be set, and looks like
// one that max_tokens has cut.
func TestABoundedAnswerIsCutByItsBytes(t *testing.T) {
	const limit = 60
	for _, version := range clitest.Versions {
		for _, stream := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s, stream %t", version, stream), func(t *testing.T) {
				upstream := clitest.NewUpstream(t)
				p, err := claudecli.Start(claudecli.Options{
					Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: metered,
					BaseURL: upstream.URL(), APIKey: "sk-simulator",
				})
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(p.Close)
				ready(t, p)
				if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: limit, Bounded: true}); err != nil {
					t.Fatal(err)
				}
				var types []string
				var handler claudecli.Handler
				if stream {
					handler.Event = func(e message.Event) error { types = append(types, e.Type); return nil }
				}
				answer, err := p.Turn(t.Context(), jsontext.Value(`"[[tokens=400 interval=3ms]]"`), handler)
				if err != nil || answer.StopReason != message.StopMaxTokens || answer.Usage.OutputTokens > limit || answer.Usage.OutputTokens < limit/5 || len(answer.Content) != 1 {
					t.Fatalf("answer = %+v, %d blocks, %v", answer.Summary, len(answer.Content), err)
				}
				if text := string(answer.Content[0]); !strings.Contains(text, "Echo") || len(text) > 2*limit {
					t.Errorf("content = %s", text)
				}
				if got := strings.Join(types, " "); stream && !strings.HasSuffix(got, "content_block_delta content_block_stop message_delta message_stop") {
					t.Errorf("events = %s", got)
				}
				if err := upstream.Wait(t.Context(), func(s simulator.Stats) bool { return s.InFlight == 0 }); err != nil {
					t.Error(err)
				}
				if s := upstream.Stats(); s.Cancelled != 1 {
					t.Errorf("the upstream wrote all of it: %+v", s)
				}
			})
		}
	}
}

func TestWhatIsntBoundedIsWhole(t *testing.T) {
	for name, test := range map[string]struct {
		max     int64
		bounded bool
	}{
		"no limit of the service's own": {5, false},
		"a limit that isn't reached":    {10_000, true},
	} {
		p := ready(t, startFake(t, func(o *claudecli.Options) { o.Features = metered }))
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: test.max, Bounded: test.bounded}); err != nil {
			t.Fatal(err)
		}
		text, answer, err := ask(t.Context(), p, "to the last word")
		if err != nil || answer.StopReason != message.StopEndTurn || !strings.Contains(text, "to the last word") {
			t.Errorf("%s: %s %+v, %v", name, text, answer.Summary, err)
		}
	}
}

// TestACallerWhoLeavesACutAnswer gets his own error, at each of the events that the
// service makes.
func TestACallerWhoLeavesACutAnswer(t *testing.T) {
	left := errors.New("the caller left")
	for _, at := range []string{message.EventContentBlockStop, message.EventMessageDelta, message.EventMessageStop} {
		p := ready(t, startFake(t, func(o *claudecli.Options) { o.Features = metered }))
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel, MaxTokens: 5, Bounded: true}); err != nil {
			t.Fatal(err)
		}
		_, err := p.Turn(t.Context(), jsontext.Value(`"hi"`), claudecli.Handler{Event: func(e message.Event) error {
			if e.Type == at {
				return left
			}
			return nil
		}})
		if !errors.Is(err, left) {
			t.Errorf("%s: err = %v", at, err)
		}
	}
}

// TestABoundedTurnWithTools has an upstream for each of its answers.
func TestABoundedTurnWithTools(t *testing.T) {
	eachVersion(t, func(t *testing.T, p *claudecli.Process, upstream *simulator.Simulator) {
		upstream.Reset()
		settings := claudecli.Settings{Model: testModel, Tools: []message.Tool{clock()}, MaxTokens: 900, Bounded: true}
		if err := p.Bind(t.Context(), settings); err != nil {
			t.Fatal(err)
		}
		_, answer, err := ask(t.Context(), p, "[[tool="+clock().Name+"]]")
		if err != nil || len(answer.Calls) != 1 {
			t.Fatalf("answer = %+v, %v", answer, err)
		}
		settings.MaxTokens = 800
		results := []claudecli.ToolResult{{ID: answer.Calls[0], Content: jsontext.Value(`"noon"`)}}
		answer, err = p.Resume(t.Context(), settings, results, claudecli.Handler{})
		if err != nil || answer.StopReason != message.StopEndTurn {
			t.Fatalf("answer = %+v, %v", answer, err)
		}
		if got := upstream.Stats().Requests["/v1/messages"]; got != 2 {
			t.Errorf("%d calls of the upstream for two answers", got)
		}
		if err := p.Empty(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
