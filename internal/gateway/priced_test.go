package gateway_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// answering is a backend that notes what the caller has been told before it
// answered.
type answering struct {
	*rooms
	backend, before string
}

func (a *answering) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = a.backend, "claude-x"
	return a, nil
}

func (a *answering) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	a.before = strings.Join(call.Warnings, "; ")
	if err := call.Honoured(); err != nil {
		return gateway.Result{}, err
	}
	return a.rooms.Generate(ctx, call, out)
}

// TestWhoeverGetsNoCostIsTold, also where all that can't be honoured is refused:
// that the price isn't known is nothing of the request.
func TestWhoeverGetsNoCostIsTold(t *testing.T) {
	cost := int64(0)
	const mine, yours, unnamed = "the price of claude-x isn't known", "the price of claude-y isn't known", "the price of this answer isn't known"
	for _, test := range []struct {
		name, priced, backend, answered string
		cost                            *int64
		count                           bool
		before, after                   string
	}{
		{"a known model", "claude-x", gateway.BackendDirect, "claude-x", &cost, false, "", ""},
		{"an unknown model", "", gateway.BackendDirect, "claude-x", nil, false, mine, mine},
		{"an unknown model answers", "claude-x", gateway.BackendDirect, "claude-y", nil, false, "", yours},
		{"an answer that can't be priced", "claude-x", gateway.BackendDirect, "claude-x", nil, false, "", unnamed},
		{"the backend doesn't say who answered", "", gateway.BackendDirect, "", nil, false, mine, mine},
		{"the CLI says a cost", "", gateway.BackendCLI, "claude-x", &cost, false, mine + " here", mine + " here"},
		{"the CLI says none", "", gateway.BackendCLI, "claude-x", nil, false, mine + " here", mine},
		{"counting is free", "", gateway.BackendDirect, "claude-x", &cost, true, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &answering{rooms: &rooms{result: gateway.Result{Summary: message.Summary{Model: test.answered}, CostMicroUSD: test.cost}}, backend: test.backend}
			clock := latency.Start()
			g := gateway.New(gateway.Options{Authenticator: a, Admitter: a, Router: a, Recorder: a, Observer: a, Priced: func(model string, at time.Time) bool {
				if !at.Equal(clock.StartTime()) {
					t.Errorf("asked for the price at %v", at)
				}
				return model == test.priced
			}})
			call := &gateway.Call{Request: &message.Request{}, Clock: clock, Strict: true, CountOnly: test.count}
			if err := g.Serve(t.Context(), call, a); err != nil {
				t.Fatal(err)
			}
			after := ""
			if n := len(call.Warnings); n > 0 {
				after = call.Warnings[n-1]
			}
			if !strings.HasPrefix(a.before, test.before) || (test.before == "") != (a.before == "") {
				t.Errorf("told before: %q", a.before)
			}
			if !strings.HasPrefix(after, test.after) || (test.after == "") != (after == "") {
				t.Errorf("told after: %q", call.Warnings)
			}
		})
	}
}

// TestWhatIsToldRefusesNothing beside what does.
func TestWhatIsToldRefusesNothing(t *testing.T) {
	call := &gateway.Call{Strict: true}
	call.Tell("it rains")
	call.Tell("it rains")
	if err := call.Honoured(); err != nil || len(call.Warnings) != 1 {
		t.Errorf("%v, %q", err, call.Warnings)
	}
	call.Warn("seed: has no effect here")
	if e := apierror.From(call.Honoured()); e == nil || e.Message != "strict: seed: has no effect here" {
		t.Errorf("%v", e)
	}
}
