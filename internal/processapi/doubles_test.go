package processapi_test

import (
	"context"
	"sync/atomic"

	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/usage"
)

// waiting is a backend that answers when it is let go, or ends with its context.
// A nil channel never lets go.
type waiting struct {
	*protocoltest.Rooms
	began chan *gateway.Call // hears of every call; nil: nobody listens
	let   chan struct{}      // closed, or one for each call
	rows  chan gateway.Entry // hears of every row; nil: nobody listens

	now, most atomic.Int64 // how many run, and have run, at once
}

func (w *waiting) options() processapi.Options {
	o := options(w.Rooms)
	o.Gateway = gateway.New(gateway.Options{Authenticator: w, Admitter: w, Router: w, Recorder: w, Observer: w})
	return o
}

func (w *waiting) Route(call *gateway.Call) (gateway.Backend, error) {
	if _, err := w.Rooms.Route(call); err != nil {
		return nil, err
	}
	return w, nil
}

func (w *waiting) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	now := w.now.Add(1)
	defer w.now.Add(-1)
	for most := w.most.Load(); now > most; most = w.most.Load() {
		w.most.CompareAndSwap(most, now)
	}
	if w.began != nil {
		w.began <- call
	}
	select {
	case <-ctx.Done():
		return gateway.Result{}, ctx.Err()
	case <-w.let:
		return w.Rooms.Generate(ctx, call, out)
	}
}

func (w *waiting) Record(ctx context.Context, entry gateway.Entry) error {
	if w.rows != nil {
		w.rows <- entry
	}
	return w.Rooms.Record(ctx, entry)
}

// reports is a ledger that is already added up.
type reports struct {
	report usage.Report
	err    error
	asked  string
}

func (r *reports) Report(_ context.Context, caller *gateway.Caller, period budget.Period) (usage.Report, error) {
	r.asked = caller.ProjectID + " " + string(period)
	return r.report, r.err
}
