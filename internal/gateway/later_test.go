package gateway_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// admitting keeps as whom a call was admitted.
type admitting struct {
	*rooms
	as gateway.Caller
}

func (a *admitting) Admit(ctx context.Context, call *gateway.Call) error {
	a.as = *call.Caller
	return a.rooms.Admit(ctx, call)
}

// TestAccept: what is served later is judged now, and counted when it is served.
func TestAccept(t *testing.T) {
	full := apierror.New(apierror.RateLimited, "full")
	for _, test := range []struct {
		name, fail, steps string
		err               error
		kept              bool
		heard             int
	}{
		{"it is let in", "", "admit route reserve release", nil, true, 0},
		{"it isn't admitted", "admit", "admit", full, false, 1},
		{"there is no such model", "route", "admit route release", full, false, 1},
		{"its budget is spent", "reserve", "admit route reserve release", full, false, 1},
		{"it can't be kept", "keep", "admit route reserve release", full, true, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &admitting{rooms: &rooms{fail: map[string]error{test.fail: test.err}}}
			g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
			caller := &gateway.Caller{
				Key: gateway.RateLimits{RequestsPerMinute: 1, TokensPerMinute: 2, ConcurrentRequests: 3}, Project: gateway.RateLimits{RequestsPerMinute: 4, ConcurrentRequests: 5},
			}
			call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start(), Caller: caller}
			kept := false
			err := g.Accept(t.Context(), call, func(context.Context) error { kept = true; return r.fail["keep"] })
			if !errors.Is(err, test.err) || (err == nil) != (test.err == nil) || kept != test.kept {
				t.Errorf("%v, kept: %v", err, kept)
			}
			if got := strings.Join(r.steps, " "); got != test.steps {
				t.Errorf("steps: %s\nwant:  %s", got, test.steps)
			}
			if len(r.rows) != 0 || len(r.heard) != test.heard {
				t.Errorf("%d rows, told of %d times", len(r.rows), len(r.heard))
			}
			if call.Caller != caller || r.as.Key != (gateway.RateLimits{RequestsPerMinute: 1, TokensPerMinute: 2}) || r.as.Project != (gateway.RateLimits{RequestsPerMinute: 4}) {
				t.Errorf("admitted as %+v", r.as)
			}
			if later := caller.Accepted(); later.Key != (gateway.RateLimits{TokensPerMinute: 2, ConcurrentRequests: 3}) || later.Project != (gateway.RateLimits{ConcurrentRequests: 5}) || caller.Key.RequestsPerMinute != 1 {
				t.Errorf("served as %+v", later)
			}
		})
	}
}
