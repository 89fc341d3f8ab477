package gateway

import (
	"context"

	"claude-code-api-service/internal/message"
)

// Accept walks a call that is served later: it is admitted, routed and reserved, so that
// a refusal has its own status, and then keep is called in a backend's place, whose error
// is Accept's. What was held comes back. A place among those that run at once is taken,
// and the ledger's row written, when the call is served; the observer hears of it then,
// and here only of one that is refused.
func (g *Gateway) Accept(ctx context.Context, call *Call, keep func(ctx context.Context) error) error {
	e := &entrance{Options: g.Options, keep: keep}
	own := g.Options
	own.Router, own.Recorder, own.Observer, own.Fallback = e, e, e, nil
	caller := call.Caller
	admitted := *caller
	admitted.Key.ConcurrentRequests, admitted.Project.ConcurrentRequests = 0, 0
	call.Caller = &admitted
	defer func() { call.Caller = caller }()
	return New(own).Serve(ctx, call, Silent{})
}

// Accepted is the caller as whom a call is served that was accepted before: it was
// taken from the requests of its minute then.
func (c *Caller) Accepted() *Caller {
	admitted := *c
	admitted.Key.RequestsPerMinute, admitted.Project.RequestsPerMinute = 0, 0
	return &admitted
}

// entrance is what a call that only comes finds in place of a backend and the ledger.
type entrance struct {
	Options
	keep func(ctx context.Context) error
}

// Route implements Router.
func (e *entrance) Route(call *Call) (Backend, error) {
	_, err := e.Router.Route(call)
	return e, err
}

// Generate implements Backend.
func (e *entrance) Generate(ctx context.Context, _ *Call, _ EventWriter) (Result, error) {
	return Result{CostMicroUSD: new(int64)}, e.keep(ctx)
}

// Record implements Recorder.
func (e *entrance) Record(context.Context, Entry) error { return nil }

// Observe implements Observer.
func (e *entrance) Observe(entry Entry) {
	if entry.Category != "" {
		e.Observer.Observe(entry)
	}
}

// Silent is the EventWriter of a call whose caller hears of its answer another way.
type Silent struct{}

// Event implements EventWriter.
func (Silent) Event(message.Event) error { return nil }

// Flush implements EventWriter.
func (Silent) Flush() error { return nil }

// Message implements EventWriter.
func (Silent) Message([]byte) error { return nil }

// End implements EventWriter.
func (Silent) End(Result) error { return nil }
