// Package gateway is the walk of a request: authenticate, admit, route, reserve,
// generate, record, release. It declares what it needs of the rooms around it and knows
// none of them.
package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

// The backends.
const (
	BackendCLI    = "cli"
	BackendDirect = "direct"
)

// Caller is who a key belongs to and what the key allows. It is shared between
// requests and never changed.
type Caller struct {
	KeyID     string
	ProjectID string
	Profile   string
	// Permissions are the profile's.
	Permissions Permissions
	// Admin says that the key administers the service. It generates nothing.
	Admin bool
	// Key and Project are the limits of both; each holds.
	Key, Project RateLimits
	// Budgets are those of the key and of its project.
	Budgets []budget.Limit
	// Location is the project's time zone, in which its budgets' periods begin; nil
	// is UTC.
	Location *time.Location
}

// Zone is the time zone of the caller's project.
func (c *Caller) Zone() *time.Location {
	if c.Location == nil {
		return time.UTC
	}
	return c.Location
}

// RateLimits bound what one key, or all keys of a project together, may do at a
// time. 0: no limit.
type RateLimits struct {
	RequestsPerMinute  int
	TokensPerMinute    int
	ConcurrentRequests int
}

// Authenticator finds the caller of a presented key. An error is an
// apierror.Error. It is safe for concurrent use and, for a key that is known,
// does no I/O.
type Authenticator interface {
	// Authenticate may let the refusal of a key wait when many keys from the same
	// network address were refused. A caller beside an error is whose the key was: it
	// may do nothing, and only the observer hears of it.
	Authenticate(ctx context.Context, key, address string) (*Caller, error)
}

// Limits is what the caller's limits say after a request was admitted or
// refused, for the rate-limit headers.
type Limits struct {
	RequestsLimit     int // 0: no limit
	RequestsRemaining int
	RequestsReset     time.Duration // until the whole limit may be used again
	TokensLimit       int           // 0: no limit
	TokensRemaining   int
	TokensReset       time.Duration
}

// Admitter checks the caller's limits and budgets. An error is an
// apierror.Error.
type Admitter interface {
	// Admit takes the request from the caller's requests per minute and concurrent
	// requests. It fills call.Limits also when it refuses.
	Admit(ctx context.Context, call *Call) error
	// Reserve holds what the routed request may use at most of the caller's tokens
	// per minute and budgets, and call.Spent; it may lower call.MaxTokens. Either all of
	// it is held or nothing. Asked again, for another model or backend, it holds that
	// instead, or, with an error, what it held before.
	Reserve(ctx context.Context, call *Call) error
	// Release gives back what Admit and Reserve hold, and counts what was spent. It
	// is called exactly once for each call that Admit let in, whatever became of it.
	Release(call *Call, result Result)
}

// Router chooses backend and model: it fills call.Backend and call.Model. An
// error is an apierror.Error.
type Router interface {
	Route(call *Call) (Backend, error)
}

// Backend generates an answer.
type Backend interface {
	// Generate answers call.Request under the model call.Model. It writes to out
	// events when the request is a stream, else exactly one Message. It returns
	// what it knows of the answer also beside an error: tokens were spent. When
	// ctx ends it stops the upstream and returns soon. An error is an
	// apierror.Error, ctx's, or out's.
	Generate(ctx context.Context, call *Call, out EventWriter) (Result, error)
}

// EventWriter encodes an answer in the caller's protocol. One goroutine uses
// it. The first write sends the header, made from the Call.
type EventWriter interface {
	// Event takes one event of a stream. message_stop is held back until End.
	Event(e message.Event) error
	// Flush sends what Event wrote.
	Flush() error
	// Message takes a whole answer, as the JSON of a message.Message. It is held
	// back until End, and not copied: the writer owns body from here on.
	Message(body []byte) error
	// End sends what was held back: the answer's last bytes.
	End(result Result) error
}

// Result is what a backend knows at the end of an answer.
type Result struct {
	message.Summary
	// CostMicroUSD is the answer's price in millionths of a US dollar; nil when
	// it isn't known.
	CostMicroUSD *int64
}

// Entry is one row of the ledger.
type Entry struct {
	RequestID string
	Time      time.Time // when the request arrived
	Endpoint  string
	Address   string  // the network address of the client, without a port
	Caller    *Caller // of a refused call also whose the key was; nil: nobody's
	Backend   string
	Requested string // the model as asked
	Routed    string // the model as sent to the backend
	// Chosen is what the router chose, where a backend was asked: Backend and Routed
	// differ from it where a fallback served the call.
	Chosen   Choice
	Result   Result
	Status   int    // the HTTP status that the outcome stands for
	Category string // the error's category, "" on success
	Refused  bool   // the request failed before a backend was asked
	// Charged is what budgets are charged beside the result: see Call.Charged.
	Charged budget.Amount
	// Part says that the entry is of one of the calls that a request was made of, which
	// has an entry of its own: it isn't counted as a request.
	Part bool
	// Metered says that what the call has used is in entries of its own: see Call.
	Metered bool
	Stream  bool // a stream was asked for
	// MaxTokens is the most output tokens that were asked for; 0: no limit. Session is the
	// caller's session that answered; "": none did.
	MaxTokens int64
	Session   string
	Trace     *trace.Span
	Clock     *latency.Clock
}

// Recorder writes the ledger. Record returns when the entry is durable; it
// ignores that ctx has ended, because what was spent must be recorded.
type Recorder interface {
	Record(ctx context.Context, entry Entry) error
}

// Observer hears of every finished request, for the metrics; also of those that
// were refused before they had a caller or a model.
type Observer interface {
	Observe(entry Entry)
}

// Watcher hears of calls while they run. What became of one is the Observer's to hear,
// which knows the call by its Clock; of a call that will be served again the Observer
// hears nothing. A Watcher is safe for concurrent use, does no I/O and returns at once:
// the request waits. The call belongs to whoever serves it: when a method has returned,
// the Watcher may read nothing of it but its Clock.
type Watcher interface {
	// Opened says that a call begins to be served: its caller and what it asks for are
	// known. It is called once for each call that is served, not for one that was refused
	// before that.
	Opened(call *Call)
	// Routed says that the call's Backend and Model were chosen, or that a fallback has
	// changed them.
	Routed(call *Call)
	// Closed says that the call isn't served any more, whatever became of it: Opened was
	// called for it, and Closed is exactly once.
	Closed(call *Call)
}

// Options are the rooms that a Gateway walks through; all of them are required,
// and what follows them isn't.
type Options struct {
	Authenticator Authenticator
	Admitter      Admitter
	Router        Router
	Recorder      Recorder
	Observer      Observer
	// Watcher hears of calls while they run. nil: nobody does.
	Watcher Watcher
	// Fallback chooses what serves a call whose backend failed. nil: nothing does.
	Fallback Fallback
	// Strict makes every call strict; see Call.Strict.
	Strict bool
	// Priced says whether the price of a model is known at a moment: callers are told
	// where it isn't, and where an answer has no cost. nil: nobody is told.
	Priced func(model string, at time.Time) bool
	// Roots are the folders, without links, in which and below which tasks may work;
	// none: nowhere.
	Roots []string
}

// Gateway serves calls. It is safe for concurrent use and holds no lock.
type Gateway struct{ Options }

// New makes a Gateway.
func New(options Options) *Gateway { return &Gateway{options} }

// Open starts the walk: it starts the call's clock and authenticates the
// caller, before anything of the body is read. A key that administers the service
// is refused here: it generates nothing. The address is the client's, without a
// port. The call is there also beside an error, for what is known of it.
func (g *Gateway) Open(ctx context.Context, requestID, endpoint, key, address string) (*Call, error) {
	call := &Call{RequestID: requestID, Endpoint: endpoint, Address: address, Strict: g.Strict, Trace: trace.From(ctx), Clock: latency.Start()}
	caller, err := g.Authenticator.Authenticate(ctx, key, address)
	call.Clock.Mark(latency.Auth)
	if err != nil {
		call.former = caller
		return call, err
	}
	return call, call.belongsTo(caller)
}

// belongsTo gives the call its caller, and refuses one that generates nothing.
func (c *Call) belongsTo(caller *Caller) error {
	c.Caller = caller
	if caller.Admin {
		return &apierror.Error{
			Category: apierror.Permission, Code: apierror.CodeAdminKey, Message: "an admin key administers the service: it generates nothing",
		}
	}
	return nil
}

// Refuse tells the observer of a call that ended with an error before it was
// served: a key that isn't known, a body that can't be decoded. After Serve it
// does nothing.
func (g *Gateway) Refuse(ctx context.Context, call *Call, err error) {
	if call.served {
		return
	}
	// Whoever tries a key and leaves before the answer has tried it all the same.
	if e := apierror.From(err); e == nil || e.Category != apierror.AuthError {
		err = withContext(ctx, err)
	}
	g.observe(call, Result{}, err)
}

// Serve walks an opened and decoded call to its end: admit, route, reserve,
// generate, record, release, answer. Whatever happens after admission is recorded exactly once,
// before the answer's last byte leaves. The error is for the caller: an
// apierror.Error, or any other for a plain 500.
func (g *Gateway) Serve(ctx context.Context, call *Call, out EventWriter) error {
	call.served = true
	call.Clock.Mark(latency.Decode)
	if call.Trace != nil && trace.From(ctx) != call.Trace {
		ctx = trace.With(ctx, call.Trace) // what is logged and asked for it is the call's
	}
	if g.Watcher != nil {
		g.Watcher.Opened(call)
		defer g.Watcher.Closed(call)
	}
	if err := g.Admitter.Admit(ctx, call); err != nil {
		call.failed.Store(true)
		g.observe(call, Result{}, err)
		return err
	}
	call.Clock.Mark(latency.Admit)

	result, err := g.generate(ctx, call, out)
	result = bounded(result)
	call.Clock.Mark(latency.Generate)
	call.paid.Store(call.paidBefore || paid(call, result, withContext(ctx, err)))

	own := ownOf(call, result)
	err = g.record(ctx, call, own, err)
	call.Clock.Mark(latency.Record)
	if err == nil {
		err = out.End(result)
	}
	err = withContext(ctx, err)
	call.failed.Store(err != nil)
	g.observe(call, own, err)
	return err
}

// ownOf is what of a result the call itself is charged and recorded with. A Metered
// one has cost nothing: the calls that it was made of have.
func ownOf(call *Call, result Result) Result {
	if !call.Metered || !call.asked {
		return result
	}
	return Result{Summary: message.Summary{ID: result.ID, Model: result.Model, StopReason: result.StopReason}, CostMicroUSD: new(int64)}
}

// record writes the ledger's row and gives back what the call holds, also where the
// ledger panics.
func (g *Gateway) record(ctx context.Context, call *Call, result Result, err error) error {
	defer g.Admitter.Release(call, result)
	entry := g.entry(ctx, call, result, err)
	if recordErr := g.Recorder.Record(ctx, entry); recordErr != nil {
		lost := apierror.Wrap(apierror.Internal, "the answer couldn't be recorded", recordErr)
		// A row that is lost is the worse of two failures: its category is the one
		// that the log shows as an error.
		err = errors.Join(lost, err)
	}
	return err
}

func (g *Gateway) observe(call *Call, result Result, err error) {
	call.Clock.Finish()
	g.Observer.Observe(g.entry(context.Background(), call, result, err))
}

func (g *Gateway) entry(ctx context.Context, call *Call, result Result, err error) Entry {
	entry := Entry{
		RequestID: call.RequestID, Time: call.Clock.StartTime(), Endpoint: call.Endpoint, Address: call.Address,
		Caller: call.Caller, Backend: call.Backend, Requested: call.Asked(), Routed: call.Model, Chosen: call.chosen,
		Result: result, Status: http.StatusOK, Clock: &call.Clock, Charged: call.Charged(result),
		Metered: call.Metered, Trace: call.Trace,
	}
	if call.Request != nil {
		entry.Stream, entry.MaxTokens = call.Request.Stream, call.OutputLimit()
	}
	if call.Work != nil {
		entry.Session = call.Work.Session
	}
	if e := apierror.From(withContext(ctx, err)); e != nil {
		entry.Status, entry.Category = e.Status(), string(e.Category)
		entry.Refused = !call.asked
	}
	if entry.Caller == nil {
		entry.Caller = call.former
	}
	return entry
}

// withContext gives an error that came from the context's end its meaning: the
// caller left, the deadline passed, or what the context's cause says.
func withContext(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	var cause *apierror.Error
	switch {
	case errors.As(context.Cause(ctx), &cause):
		// Whoever ended the context says why: the service stops.
		ended := *cause
		ended.Cause = err
		return &ended
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return apierror.Wrap(apierror.Timeout, "the request took longer than allowed", err)
	}
	return apierror.Wrap(apierror.ClientClosed, "the caller left", err)
}
