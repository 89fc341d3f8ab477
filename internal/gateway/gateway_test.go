package gateway_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// rooms are every room of a gateway; they write down the steps of the walk.
type rooms struct {
	steps  []string
	fail   map[string]error
	leave  context.CancelFunc // called while the backend generates
	rows   []gateway.Entry
	heard  []gateway.Entry
	result gateway.Result
	// released are the results that were given back.
	released []gateway.Result
}

func (r *rooms) step(name string) error {
	r.steps = append(r.steps, name)
	return r.fail[name]
}

func (r *rooms) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	if err := r.step("authenticate"); err != nil {
		return nil, err
	}
	return &gateway.Caller{ProjectID: "p"}, nil
}

func (r *rooms) Admit(context.Context, *gateway.Call) error { return r.step("admit") }

func (r *rooms) Reserve(context.Context, *gateway.Call) error { return r.step("reserve") }

func (r *rooms) Release(_ *gateway.Call, result gateway.Result) {
	r.steps = append(r.steps, "release")
	r.released = append(r.released, result)
}

func (r *rooms) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = gateway.BackendDirect, "claude-x"
	return r, r.step("route")
}

func (r *rooms) Generate(ctx context.Context, _ *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	err := r.step("generate")
	if errors.Is(err, errPanic) {
		panic(err)
	}
	if r.leave != nil {
		r.leave()
		return r.result, ctx.Err()
	}
	if err == nil {
		err = out.Message([]byte("{}"))
	}
	return r.result, err
}

func (r *rooms) Record(_ context.Context, entry gateway.Entry) error {
	r.rows = append(r.rows, entry)
	err := r.step("record")
	if errors.Is(err, errPanic) {
		panic(err)
	}
	return err
}

func (r *rooms) Observe(entry gateway.Entry) { r.heard = append(r.heard, entry) }

func (r *rooms) Event(message.Event) error { return nil }
func (r *rooms) Flush() error              { return nil }
func (r *rooms) Message([]byte) error      { return r.step("message") }
func (r *rooms) End(gateway.Result) error  { return r.step("end") }

func serve(t *testing.T, ctx context.Context, r *rooms) (*gateway.Call, error) {
	t.Helper()
	g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
	call, err := g.Open(ctx, "id", "/v1/x", "key", "192.0.2.1")
	if err != nil {
		g.Refuse(ctx, call, err)
		return call, err
	}
	if call.Request, err = message.ParseRequest([]byte(`{"model":"haiku","messages":[]}`)); err != nil {
		t.Fatal(err)
	}
	err = g.Serve(ctx, call, r)
	g.Refuse(ctx, call, err) // does nothing after Serve
	return call, err
}

func TestWalk(t *testing.T) {
	boom := apierror.New(apierror.UpstreamError, "boom")
	plain := errors.New("disk full")
	tests := []struct {
		name   string
		fail   string
		err    error
		steps  string
		rows   int
		status int
	}{
		{"all is well", "", nil, "authenticate admit route reserve generate message record release end", 1, 200},
		{"unknown key", "authenticate", apierror.New(apierror.AuthError, ""), "authenticate", 0, 401},
		{"refused", "admit", apierror.New(apierror.RateLimited, ""), "authenticate admit", 0, 429},
		{"no route", "route", apierror.Invalid("model", ""), "authenticate admit route record release", 1, 400},
		{"over budget", "reserve", apierror.New(apierror.BudgetExceeded, ""), "authenticate admit route reserve record release", 1, 429},
		{"the backend fails", "generate", boom, "authenticate admit route reserve generate record release", 1, 502},
		{"the caller can't be written to", "message", boom, "authenticate admit route reserve generate message record release", 1, 502},
		// What isn't recorded must not be answered.
		{"the ledger fails", "record", plain, "authenticate admit route reserve generate message record release", 1, 500},
		{"the last bytes fail", "end", boom, "authenticate admit route reserve generate message record release end", 1, 502},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			r := &rooms{fail: map[string]error{test.fail: test.err}, result: gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 7}}}}
			_, err := serve(t, t.Context(), r)
			if test.err == nil && err != nil || test.err != nil && !errors.Is(err, test.err) {
				t.Errorf("err = %v, want %v", err, test.err)
			}
			if got := strings.Join(r.steps, " "); got != test.steps {
				t.Errorf("steps: %s\nwant:  %s", got, test.steps)
			}
			if len(r.rows) != test.rows || len(r.heard) != 1 || r.heard[0].Status != test.status {
				t.Errorf("%d rows, heard %+v, want %d and once status %d", len(r.rows), r.heard, test.rows, test.status)
			}
		})
	}
}

var errPanic = errors.New("a bug")

func TestAPanicIsRecordedAndAnswered(t *testing.T) {
	r := &rooms{fail: map[string]error{"generate": errPanic}}
	_, err := serve(t, t.Context(), r)
	e := apierror.From(err)
	if e.Status() != 500 || strings.Contains(e.Message, "bug") || !strings.Contains(e.Error(), "a bug") {
		t.Errorf("err = %v", err)
	}
	if len(r.rows) != 1 || r.rows[0].Status != 500 || len(r.heard) != 1 {
		t.Errorf("rows = %+v, heard %d times", r.rows, len(r.heard))
	}
}

// What a call holds is given back also where the ledger panics.
func TestThePanicOfALedger(t *testing.T) {
	r := &rooms{fail: map[string]error{"record": errPanic}}
	defer func() {
		if recover() == nil || len(r.released) != 1 {
			t.Errorf("released %d times", len(r.released))
		}
	}()
	_, _ = serve(t, t.Context(), r)
}

func TestWhatWasSpentIsRecordedWhenTheCallerLeaves(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	r := &rooms{leave: leave, result: gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 7}}}}
	_, err := serve(t, ctx, r)
	if e := apierror.From(err); e.Category != apierror.ClientClosed {
		t.Errorf("err = %v", err)
	}
	if len(r.released) != 1 || r.released[0].Usage.InputTokens != 7 {
		t.Errorf("released %+v", r.released)
	}
	if len(r.rows) != 1 || r.rows[0].Status != 499 || r.rows[0].Result.Usage.InputTokens != 7 || slices.Contains(r.steps, "end") {
		t.Errorf("rows = %+v, steps = %v", r.rows, r.steps)
	}
}

// A service that stops cuts an answer; its caller is still there to be told.
func TestWhoeverEndsTheContextSaysWhy(t *testing.T) {
	stopping := &apierror.Error{Category: apierror.Overloaded, Message: "stopping"}
	ctx, stop := context.WithCancelCause(t.Context())
	r := &rooms{leave: func() { stop(stopping) }}
	_, err := serve(t, ctx, r)
	if e := apierror.From(err); e.Category != apierror.Overloaded || e.Message != "stopping" || !errors.Is(err, context.Canceled) {
		t.Errorf("the caller reads %v", err)
	}
	if len(r.rows) != 1 || r.rows[0].Status != 503 || r.rows[0].Category != "overloaded" {
		t.Errorf("the ledger has %+v", r.rows)
	}
	if stopping.Cause != nil {
		t.Error("the shared error was changed")
	}
}

func TestALostRowIsNotHidden(t *testing.T) {
	boom, full := apierror.New(apierror.UpstreamError, "boom"), errors.New("disk full")
	r := &rooms{fail: map[string]error{"generate": boom, "record": full}}
	_, err := serve(t, t.Context(), r)
	if !errors.Is(err, boom) || !errors.Is(err, full) || apierror.From(err).Category != apierror.Internal {
		t.Errorf("err = %v", err)
	}
}

func TestStagesAreMeasured(t *testing.T) {
	call, err := serve(t, t.Context(), &rooms{})
	if err != nil {
		t.Fatal(err)
	}
	for _, stage := range []latency.Stage{latency.Auth, latency.Decode, latency.Admit, latency.Generate, latency.Record, latency.Total} {
		if _, known := call.Clock.Took(stage); !known {
			t.Errorf("stage %s isn't known", stage)
		}
	}
}

func TestAStrictCallIsRefusedWhatCannotBeHonoured(t *testing.T) {
	r := &rooms{}
	g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
	parent, err := g.Open(t.Context(), "id", "/v1/x", "key", "192.0.2.1")
	if err != nil {
		t.Fatal(err)
	}
	for _, strict := range []bool{false, true} {
		parent.Strict = strict
		call := parent.Child("id-1")
		call.Request, err = message.ParseRequest([]byte(`{"messages":[]}`))
		if err != nil {
			t.Fatal(err)
		}
		call.Warn("seed: has no effect here")
		err = g.Serve(t.Context(), call, r)
		if refused := err != nil; refused != strict {
			t.Errorf("strict %t: err = %v", strict, err)
		}
		if strict && (apierror.From(err).Status() != 400 || !strings.Contains(apierror.From(err).Message, "seed")) {
			t.Errorf("err = %v", err)
		}
		if call.Caller != parent.Caller || call.Endpoint != parent.Endpoint {
			t.Errorf("the child is another caller's: %+v", call)
		}
	}
	if len(r.rows) != 2 || r.rows[0].RequestID != "id-1" {
		t.Errorf("rows = %+v", r.rows)
	}
}

// What can't be honoured depends on the model, so a strict call is judged by what
// was written for the model that was chosen, and admitted only then.
func TestAStrictCallIsJudgedWhenItIsRouted(t *testing.T) {
	for _, test := range []struct {
		name         string
		before, then []string
		steps        string
	}{
		{"fits the chosen model", []string{"seed: has no effect"}, nil, "admit route routed reserve admitted generate message record release end"},
		{"fits only the strictest rules", nil, []string{"top_p: isn't taken"}, "admit route routed record release"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rooms{}
			g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
			call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start(), Strict: true, Warnings: test.before}
			call.Routed = func() error {
				if call.Model != "claude-x" {
					t.Errorf("the model is %q when the call is routed", call.Model)
				}
				call.Warnings = test.then
				return r.step("routed")
			}
			call.Admitted = func() error { return r.step("admitted") }
			err := g.Serve(t.Context(), call, r)
			if refused := err != nil; refused != (test.then != nil) {
				t.Errorf("err = %v", err)
			}
			if got := strings.Join(r.steps, " "); got != test.steps {
				t.Errorf("steps: %s\nwant:  %s", got, test.steps)
			}
		})
	}
}

func TestAdmitted(t *testing.T) {
	full := apierror.New(apierror.Overloaded, "full")
	for _, test := range []struct {
		name  string
		err   error
		steps string
	}{
		{"goes on", nil, "admit route reserve admitted generate message record release end"},
		{"ends the call", full, "admit route reserve admitted record release"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &rooms{}
			g := gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r})
			request, err := message.ParseRequest([]byte(`{"model":"haiku","messages":[]}`))
			if err != nil {
				t.Fatal(err)
			}
			call := &gateway.Call{Request: request, Requested: "gpt-4", Clock: latency.Start()}
			call.Admitted = func() error {
				r.steps = append(r.steps, "admitted")
				return test.err
			}
			if err := g.Serve(t.Context(), call, r); !errors.Is(err, test.err) {
				t.Errorf("err = %v, want %v", err, test.err)
			}
			if got := strings.Join(r.steps, " "); got != test.steps {
				t.Errorf("steps: %s\nwant:  %s", got, test.steps)
			}
			if r.rows[0].Requested != "gpt-4" {
				t.Errorf("requested = %q, want the model as asked", r.rows[0].Requested)
			}
		})
	}
}
