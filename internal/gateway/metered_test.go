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

// totals keeps what the caller is told at the end.
type totals struct {
	*rooms
	told gateway.Result
}

func (t *totals) End(result gateway.Result) error {
	t.told = result
	return t.rooms.End(result)
}

// TestMetered: what others are charged for is the caller's to see, and nobody's to be
// charged for again, however the call ends.
func TestMetered(t *testing.T) {
	cost := int64(70)
	used := gateway.Result{
		Summary:      message.Summary{ID: "msg_1", Model: "claude-x", StopReason: "end_turn", Usage: message.Usage{InputTokens: 7, OutputTokens: 5}},
		CostMicroUSD: &cost,
	}
	const answered = "admit route generate message record release end"
	for _, test := range []struct {
		name, fail, steps string
		err               error
		category          string
		used              gateway.Result
	}{
		{"all is well", "", answered, nil, "", used},
		{"a price isn't known", "", answered, nil, "", gateway.Result{Summary: used.Summary}},
		{"the backend fails", "generate", "admit route generate record release", apierror.New(apierror.CLIError, "boom"), "cli_error", used},
		{"it fails for a time", "generate", "admit route generate record release", apierror.New(apierror.Overloaded, "full"), "overloaded", gateway.Result{}},
		{"it panics", "generate", "admit route generate record release", errPanic, "internal", used},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &totals{rooms: &rooms{fail: map[string]error{test.fail: test.err}, result: test.used}}
			g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r, Fallback: unmetered{t}})
			call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start(), Metered: true}
			if err := g.Serve(t.Context(), call, r); (err == nil) != (test.err == nil) {
				t.Fatal(err)
			}
			if got := strings.Join(r.steps, " "); got != test.steps {
				t.Errorf("steps: %s\nwant:  %s", got, test.steps)
			}
			if test.err == nil && r.told != test.used {
				t.Errorf("the caller is told %+v", r.told)
			}
			for _, entry := range []gateway.Entry{r.rows[0], r.heard[0]} {
				if entry.Result.Usage != (message.Usage{}) || entry.Result.CostMicroUSD == nil || *entry.Result.CostMicroUSD != 0 || entry.Charged.MicroUSD != 0 || entry.Category != test.category {
					t.Errorf("recorded as %+v", entry)
				}
			}
			if back := r.released[0]; back.Usage != (message.Usage{}) || *back.CostMicroUSD != 0 || call.Charged(back).MicroUSD != 0 {
				t.Errorf("released with %+v", back)
			}
			if want := test.err == nil || test.used.ID != ""; call.Paid() != want {
				t.Errorf("paid: %v", call.Paid())
			}
		})
	}
}

// unmetered is a fallback: whatever it chose would be charged to nobody.
type unmetered struct{ t *testing.T }

func (u unmetered) Next(*gateway.Call, error) gateway.Backend {
	u.t.Error("a fallback was asked for")
	return nil
}

// TestMeteredIsHeldToStrict like any other.
func TestMeteredIsHeldToStrict(t *testing.T) {
	r := &rooms{}
	g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
	call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start(), Metered: true, Strict: true, Warnings: []string{"n: ignored"}}
	var e *apierror.Error
	if err := g.Serve(context.Background(), call, r); !errors.As(err, &e) || e.Category != apierror.BadRequest {
		t.Errorf("got %v", err)
	}
}
