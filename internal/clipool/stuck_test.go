package clipool_test

import (
	"context"
	"errors"
	"strconv"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/clipool"
)

// TestStuckWorkersAreReplaced has a worker that never answers one of the control
// requests which a request needs: its caller gets an error or has left, the worker
// is killed, and another one takes its place.
func TestStuckWorkersAreReplaced(t *testing.T) {
	clearing := rewinding
	clearing.Emptying, clearing.ChangeSystem = claudecli.EmptyByClear, false
	for _, test := range []struct {
		mute     string
		features claudecli.Features
		system   string
		prompt   string
		leaves   bool
		fails    bool
	}{
		{mute: "apply_flag_settings", features: rewinding, prompt: "x", fails: true},
		{mute: "set_model", features: rewinding, system: "s", prompt: "x", fails: true},
		{mute: "interrupt", features: rewinding, prompt: "[[hang]]", leaves: true},
		{mute: "clear", features: clearing, prompt: "x"},
	} {
		t.Run(test.mute, func(t *testing.T) {
			p := newUnstartedPool(t, func(o *clipool.Options) {
				o.Workers, o.Process.StartTimeout, o.Process.ControlTimeout, o.HoldFor = 1, 10*time.Second, 500*time.Millisecond, -1
			}, "mute="+test.mute)
			p.Start(test.features)
			waitFor(t, p, idle(1))
			pid := p.PIDs()[0]
			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			out := &collector{onEvent: func() error {
				if test.leaves {
					leave()
				}
				return nil
			}}
			call := newCall(t, "a", `{"max_tokens":7,"stream":true,"system":`+strconv.Quote(test.system)+`,"messages":[{"role":"user","content":`+strconv.Quote(test.prompt)+`}]}`)
			_, err := p.Generate(ctx, call, out)
			switch e := apierror.From(err); {
			case test.leaves:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("err = %v", err)
				}
			case test.fails:
				if e == nil || e.Category != apierror.CLIError {
					t.Errorf("err = %v", err)
				}
			case err != nil:
				t.Error(err)
			}
			waitFor(t, p, func(s clipool.Status) bool { pids := p.PIDs(); return s.Idle == 1 && len(pids) == 1 && pids[0] != pid })
			if err := syscall.Kill(-pid, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the stuck worker is left: %v", err)
			}
			if wrong := p.Account(); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}

// A worker that stands still while it is idle is found out and killed.
func TestAWorkerThatStandsStillIsReplaced(t *testing.T) {
	p := newPool(t, func(o *clipool.Options) {
		o.Workers, o.Process.ControlTimeout = 1, time.Second
		o.InspectEvery, o.HeartbeatEvery, o.SpareAfter = 5*time.Millisecond, 20*time.Millisecond, time.Hour
	})
	waitFor(t, p, idle(1))
	pid := p.PIDs()[0]
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	waitFor(t, p, func(s clipool.Status) bool { pids := p.PIDs(); return s.Idle == 1 && len(pids) == 1 && pids[0] != pid })
	if err := syscall.Kill(-pid, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("it is left: %v", err)
	}
	mustAsk(t, p, "a", "", "x")
}
