package claudecli_test

import (
	"context"
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/simulator"
)

const testModel = "claude-haiku-5-5"

// TestAnAbandonedTurnIsCounted leaves a turn in the middle: what the model has
// written by then was paid for.
func TestAnAbandonedTurnIsCounted(t *testing.T) {
	upstream := clitest.NewUpstream(t)
	p, err := claudecli.Start(claudecli.Options{
		Path: clitest.Path(t, install.Version), Root: t.TempDir(), Model: testModel, Features: rewinding,
		BaseURL: upstream.URL(), APIKey: "sk-simulator",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	ready(t, p)
	ctx, leave := context.WithCancel(t.Context())
	deltas := 0
	answer, err := p.Turn(ctx, jsontext.Value(`"[[tokens=400 interval=2ms]]"`), claudecli.Handler{Event: func(message.Event) error {
		if deltas++; deltas == 100 {
			leave()
		}
		return nil
	}})
	if !errors.Is(err, context.Canceled) || answer.Turn == nil || answer.Turn.Usage.OutputTokens < 50 || answer.Turn.CostMicroUSD <= 0 {
		t.Errorf("answer = %+v (turn %+v), %v", answer.Summary, answer.Turn, err)
	}
	if err := p.Empty(t.Context()); err != nil {
		t.Error(err)
	}
	if err := upstream.Wait(t.Context(), func(s simulator.Stats) bool { return s.InFlight == 0 && s.Cancelled == 1 }); err != nil {
		t.Error(err)
	}
}

// TestAnUpstreamThatIsAway lets a worker start all the same, and says so to the
// request that finds it out.
func TestAnUpstreamThatIsAway(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			p, err := claudecli.Start(claudecli.Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: bothVersions[version],
				BaseURL: "http://127.0.0.1:1", APIKey: "sk-simulator", StartTimeout: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			began := time.Now()
			ready(t, p)
			if err := p.Ping(t.Context()); err != nil {
				t.Error(err)
			}
			t.Logf("ready after %v", time.Since(began))
			if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
				t.Fatal(err)
			}
			_, _, err = ask(t.Context(), p, "x")
			if e := apierror.From(err); e == nil || e.Category != apierror.ConnectionError {
				t.Errorf("err = %v", err)
			}
			if err := p.Empty(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestAnUpstreamThatFailsInTheMiddle must not look like an answer, whole or
// streamed: the CLI closes the message by itself.
func TestAnUpstreamThatFailsInTheMiddle(t *testing.T) {
	for _, version := range clitest.Versions {
		upstream := clitest.NewUpstream(t)
		features := rewinding
		if version == install.OlderVersion {
			features = claudecli.Features{Emptying: claudecli.EmptyByClear, LiveSettings: true}
		}
		p, err := claudecli.Start(claudecli.Options{
			Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, Features: features,
			BaseURL: upstream.URL(), APIKey: "sk-simulator",
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		ready(t, p)
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
			t.Fatal(err)
		}
		for _, directive := range []string{"[[error-after=3 tokens=9]]", "[[cut-after=3 tokens=9]]"} {
			for _, stream := range []bool{false, true} {
				var last string
				var handler claudecli.Handler
				if stream {
					handler.Event = func(e message.Event) error { last = e.Type; return nil }
				}
				answer, err := p.Turn(t.Context(), jsontext.Value(`"`+directive+`"`), handler)
				if apierror.From(err) == nil || last == message.EventMessageStop || last == message.EventMessageDelta {
					t.Errorf("%s %s (stream %t): %+v ended with %q, %v", version, directive, stream, answer.Summary, last, err)
				}
				if err := p.Empty(t.Context()); err != nil {
					t.Errorf("%s %s: %v", version, directive, err)
				}
			}
		}
	}
}

func TestACLIWithoutACredentialSaysSo(t *testing.T) {
	for _, version := range clitest.Versions {
		p, err := claudecli.Start(claudecli.Options{
			Path: clitest.Path(t, version), Root: t.TempDir(), Model: testModel, BaseURL: clitest.NewUpstream(t).URL(),
			Features: claudecli.Features{Emptying: claudecli.EmptyNever, LiveSettings: true},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(p.Close)
		ready(t, p)
		if err := p.Bind(t.Context(), claudecli.Settings{Model: testModel}); err != nil {
			t.Fatal(err)
		}
		_, _, err = ask(t.Context(), p, "hi")
		if e := apierror.From(err); e == nil || e.Category != apierror.AuthError || e.Status() != 502 || !strings.Contains(e.Message, "ANTHROPIC_API_KEY") {
			t.Errorf("%s: %v", version, err)
		}
	}
}

func TestProbeFindsWhatTheRealCLICanDo(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			path := clitest.Path(t, version)
			started := time.Now()
			// The model that the service starts with; it takes no choice that forces a tool.
			got, err := claudecli.Probe(t.Context(), claudecli.Options{Path: path, Root: t.TempDir(), Model: "claude-sonnet-5-5"}, clitest.NewUpstream(t))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%s in %v", got.Mode(), time.Since(started))
			w := bothVersions[version]
			w.Version, got.Why = version, nil
			if !reflect.DeepEqual(got, w) {
				t.Errorf("features = %+v, want %+v", got, w)
			}
		})
	}
}
