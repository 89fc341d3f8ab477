package gateway_test

import (
	"context"
	"errors"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// TestPaid says which outcomes have cost something, or may have.
func TestPaid(t *testing.T) {
	tokens := gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 3}}}
	for _, test := range []struct {
		name         string
		fail         string
		err          error
		result       gateway.Result
		paid, failed bool
	}{
		{name: "all is well", paid: true},
		{name: "not admitted", fail: "admit", err: apierror.New(apierror.RateLimited, ""), failed: true},
		{name: "over budget", fail: "reserve", err: apierror.New(apierror.BudgetExceeded, ""), failed: true},
		{name: "not routed", fail: "route", err: errors.New("fault"), failed: true},
		{name: "refused by the upstream", fail: "generate", err: apierror.FromUpstream(500, ""), failed: true},
		{name: "limited by the upstream", fail: "generate", err: apierror.FromUpstream(429, ""), failed: true},
		{name: "timed out by the upstream", fail: "generate", err: apierror.FromUpstream(408, ""), failed: true},
		{name: "no connection", fail: "generate", err: apierror.New(apierror.ConnectionError, ""), failed: true},
		{name: "queue full", fail: "generate", err: apierror.New(apierror.Overloaded, ""), failed: true},
		{name: "refused by the backend", fail: "generate", err: apierror.Invalid("tools", ""), failed: true},
		{name: "refused after some tokens", fail: "generate", err: apierror.FromUpstream(529, ""), result: tokens, paid: true, failed: true},
		{name: "silence", fail: "generate", err: apierror.New(apierror.Timeout, ""), paid: true, failed: true},
		{name: "a deadline", fail: "generate", err: context.DeadlineExceeded, paid: true, failed: true},
		{name: "the CLI died", fail: "generate", err: apierror.New(apierror.CLIError, ""), paid: true, failed: true},
		{name: "an answer that can't be read", fail: "generate", err: apierror.New(apierror.UpstreamError, ""), paid: true, failed: true},
		{name: "not recorded", fail: "record", err: errors.New("disk full"), paid: true, failed: true},
		{name: "not sent", fail: "end", err: errors.New("gone"), paid: true, failed: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rooms{fail: map[string]error{test.fail: test.err}, result: test.result}
			if call, _ := serve(t, t.Context(), r); call.Paid() != test.paid || call.Failed() != test.failed {
				t.Errorf("paid %v, failed %v", call.Paid(), call.Failed())
			}
		})
	}
}

// queue is a backend whose call waits for a worker and may get one.
type queue struct{ bound bool }

func (q queue) Route(*gateway.Call) (gateway.Backend, error) { return q, nil }

func (q queue) Generate(_ context.Context, call *gateway.Call, _ gateway.EventWriter) (gateway.Result, error) {
	call.Clock.Mark(latency.Queue)
	if q.bound {
		call.Clock.Mark(latency.Bind)
	}
	return gateway.Result{}, apierror.New(apierror.Timeout, "")
}

func TestPaidInTheQueue(t *testing.T) {
	for _, bound := range []bool{false, true} {
		r := &rooms{}
		g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: queue{bound}, Recorder: r, Observer: r})
		call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start()}
		if err := g.Serve(t.Context(), call, r); err == nil || call.Paid() != bound {
			t.Errorf("with a worker %v: paid %v, %v", bound, call.Paid(), err)
		}
	}
}

// TestPaidBeforeTheEnd: who keeps the answer asks before its last bytes leave.
func TestPaidBeforeTheEnd(t *testing.T) {
	r := &rooms{}
	g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
	call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start()}
	out := &asking{rooms: r, call: call}
	if err := g.Serve(t.Context(), call, out); err != nil || !out.paid || out.failed {
		t.Errorf("at the end: paid %v, failed %v, %v", out.paid, out.failed, err)
	}
}

type asking struct {
	*rooms
	call         *gateway.Call
	paid, failed bool
}

func (a *asking) End(gateway.Result) error {
	a.paid, a.failed = a.call.Paid(), a.call.Failed()
	return nil
}
