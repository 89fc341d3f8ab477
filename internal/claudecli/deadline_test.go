package claudecli_test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/message"
)

// TestControlRequestsThatAreNeverAnswered has the CLI keep silent at each step: the
// step ends with an error in its time, the process isn't used again, and nothing of
// it is left.
func TestControlRequestsThatAreNeverAnswered(t *testing.T) {
	bind := func(s claudecli.Settings) func(*testing.T, *claudecli.Process) error {
		return func(t *testing.T, p *claudecli.Process) error { return ready(t, p).Bind(t.Context(), s) }
	}
	start := func(t *testing.T, p *claudecli.Process) error { return p.Ready(t.Context()) }
	for _, test := range []struct {
		script string
		until  func(t *testing.T, p *claudecli.Process) error
		// calm says that the step itself goes well: it is the emptying that fails.
		calm bool
	}{
		{"mute=get_binary_version", start, false},
		{"mute=initialize", start, false},
		{"mute=user", start, false},
		{"mute=rewind_conversation", start, false},
		{"mute=apply_flag_settings", bind(claudecli.Settings{Model: "claude-opus-5-5"}), false},
		{"mute=set_model", bind(claudecli.Settings{Model: testModel, System: "s"}), false},
		{"mute=set_max_thinking_tokens", bind(claudecli.Settings{Model: testModel, ThinkingTokens: 1024}), false},
		{"mute=mcp_set_servers", bind(withClock), false},
		{"once=get_binary_version", func(t *testing.T, p *claudecli.Process) error { return ready(t, p).Ping(t.Context()) }, false},
		{"mute=interrupt", func(t *testing.T, p *claudecli.Process) error {
			ready(t, p)
			left := errors.New("the caller left")
			_, err := p.Turn(t.Context(), jsontext.Value(`"[[hang]]"`), claudecli.Handler{Event: func(message.Event) error { return left }})
			if !errors.Is(err, left) {
				t.Errorf("the turn ended with %v", err)
			}
			return nil
		}, true},
		{"mute=clear", func(t *testing.T, p *claudecli.Process) error {
			_, _, err := ask(t.Context(), ready(t, p), "x")
			return err
		}, true},
	} {
		t.Run(test.script, func(t *testing.T) {
			p := startFake(t, func(o *claudecli.Options) {
				o.StartTimeout, o.ControlTimeout = 10*time.Second, 500*time.Millisecond
				if test.script == "mute=get_binary_version" {
					o.StartTimeout = 500 * time.Millisecond
				}
				o.Features.ClientTools, o.Features.ExtraBody = true, true
				if test.script == "mute=clear" {
					o.Features.Emptying, o.Features.ChangeSystem = claudecli.EmptyByClear, false
				}
			}, test.script)
			began := time.Now()
			err := test.until(t, p)
			if e := apierror.From(err); (err == nil) != test.calm || err != nil && !errors.Is(err, claudecli.ErrNotEmptied) && e.Category != apierror.CLIError && !test.calm {
				t.Errorf("err = %v", err)
			}
			if err := p.Empty(t.Context()); !errors.Is(err, claudecli.ErrNotEmptied) {
				t.Errorf("Empty = %v", err)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
			p.Close()
			if err := syscall.Kill(-p.PID(), 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("something of its group is left: %v", err)
			}
		})
	}
}

// A sign of life changes nothing, and one that nobody waits for any more is skipped.
func TestPing(t *testing.T) {
	p := ready(t, startFake(t, nil))
	for range 3 {
		if err := p.Ping(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	gone, leave := context.WithCancel(t.Context())
	leave()
	if err := p.Ping(gone); !errors.Is(err, context.Canceled) {
		t.Errorf("err = %v", err)
	}
	if _, answer, err := ask(t.Context(), p, "x"); err != nil || answer.StopReason != message.StopEndTurn {
		t.Errorf("the next request got %+v, %v", answer.Summary, err)
	}
	if err := p.Empty(t.Context()); err != nil {
		t.Error(err)
	}
	p.Kill()
	<-p.Exited()
	if err := p.Ping(t.Context()); !errors.Is(err, claudecli.ErrDied) || p.Ending() == "" {
		t.Errorf("err = %v, ending %q", err, p.Ending())
	}
}
