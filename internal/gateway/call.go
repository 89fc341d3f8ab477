package gateway

import (
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/trace"
)

// Call is one request on its walk. The goroutine that serves the request owns
// it.
type Call struct {
	// What the protocol package knows.
	RequestID string
	Endpoint  string // the route's path, as metrics and ledger name it
	Address   string // the network address of the client, without a port
	Request   *message.Request
	Prefer    string // the backend that the caller asks for, "" for none
	// Requested is the model as asked, for the ledger, where Request names another
	// in its place; "" means Request.Model.
	Requested string
	// Defaults names members of the request's body that the protocol filled in
	// because the caller didn't say: a backend that can't honour one needn't warn.
	Defaults []string
	// CountOnly asks for the number of the request's input tokens instead of an
	// answer: the backend writes one Message, the JSON of a token count.
	CountOnly bool
	// Metered says that what the call uses is admitted, charged and recorded by calls
	// of its own: nothing is reserved for it, and its row of the ledger says of its
	// result only how it ended.
	Metered bool
	// Work, unless it is nil, asks for a process with tools of its own. Such a call is
	// Metered.
	Work *Work
	// Part says that the call is one of those by which a Metered one is charged: it
	// isn't among the caller's concurrent requests.
	Part bool
	// Fresh asks the CLI path for a process that is started for the call and ended after
	// it, so that its start can be seen: among its stages it is in Bind.
	Fresh bool
	// Once is what the Idempotency-Key of the request and all of the request itself make
	// together, the same whenever it is sent again; "" without such a key.
	Once string
	// Strict refuses what would otherwise only be named in Warnings.
	Strict bool
	// Routed, unless it is nil, is called once, when Backend and Model are chosen:
	// it may write Request and Warnings anew for that model. An error ends the call.
	Routed func() error
	// Rerouted, unless it is nil, is called when a fallback has changed Backend or
	// Model: it may write Request and Warnings anew, as Routed may. Warnings are what
	// they were before Routed, and what was added since.
	Rerouted func() error
	// Admitted, unless it is nil, is called once, when nothing of the call is left
	// to be judged and before anything is spent. An error ends the call.
	Admitted func() error
	// Forward is what of the caller's header the direct backend sends on
	// (anthropic-version, anthropic-beta and the like). May be nil.
	Forward http.Header
	// Query is the request's query string, without the question mark, where the
	// direct backend is to send it on; "" otherwise.
	Query  string
	Caller *Caller
	// Trace is the call's span; nil: nobody wants to know.
	Trace *trace.Span

	// What the walk fills in, for the answer's header.
	Clock   latency.Clock
	Limits  Limits
	Backend string
	Model   string // the routed model
	// MaxTokens is the most output tokens that the backend may ask the upstream for;
	// 0: what the request says.
	MaxTokens int64
	// InputTokens is what the upstream has counted of the request's input; 0: it wasn't
	// asked.
	InputTokens int64
	// Spent is what failed attempts of the call have used: it is held, too.
	Spent budget.Amount
	// Reservation is what the Admitter holds for the call; it is the Admitter's own.
	Reservation any
	// Held is what the Admitter holds for the call of the caller's budgets, Spent
	// included: tokens where one is in tokens, dollars where one is in USD.
	Held budget.Amount
	// Warnings name what of the request the backend couldn't honour.
	Warnings []string
	// UpstreamHeader is what of the upstream's answer header may be passed on.
	// May be nil.
	UpstreamHeader http.Header

	former     *Caller // whose the key was that isn't taken any more
	served     bool    // Serve was called: it tells the observer
	asked      bool    // a backend was asked
	chosen     Choice
	paidBefore bool // a failed attempt has cost something, or may have
	// told are those of Warnings that say nothing of the request.
	told []string
	// charged is what budgets are charged for attempts of which too little is known;
	// costs are those of the others, in millionths of a US dollar.
	charged budget.Amount
	costs   int64
	// Others than the goroutine that serves the request may ask for these.
	paid, failed atomic.Bool
}

// OutputLimit is how many output tokens the upstream may be asked for at most: what
// the request says, or MaxTokens where that is less; 0: no limit.
func (c *Call) OutputLimit() int64 {
	asked := c.Request.MaxTokens
	if c.MaxTokens > 0 && (asked == 0 || c.MaxTokens < asked) {
		return c.MaxTokens
	}
	return asked
}

// Asked is the model as the caller asked for it, "" where that isn't known.
func (c *Call) Asked() string {
	if c.Requested == "" && c.Request != nil {
		return c.Request.Model
	}
	return c.Requested
}

// Warn notes something of the request that can't be honoured.
func (c *Call) Warn(text string) { c.Warnings = append(c.Warnings, text) }

// Tell notes among the warnings what the caller should know though the request is
// honoured: no strict call is refused for it.
func (c *Call) Tell(text string) {
	if !slices.Contains(c.told, text) {
		c.told = append(c.told, text)
		c.Warn(text)
	}
}

// Charged gives what budgets are charged beside what a call's result says, which is
// all that its attempts are known to have used: for each attempt that may have cost
// something of which nothing is known, what it held.
func (c *Call) Charged(result Result) budget.Amount {
	charged := c.charged
	if result.CostMicroUSD == nil {
		charged.MicroUSD += c.costs
	}
	return charged
}

// Charge adds an attempt of the call to what is charged; paid says that it has cost
// something, or may have. Serve does it once for each. A Metered call is charged by
// others.
func (c *Call) Charge(result Result, paid bool) {
	if c.Metered {
		return
	}
	held := budget.Amount{Tokens: max(0, c.Held.Tokens-c.Spent.Tokens), MicroUSD: max(0, c.Held.MicroUSD-c.Spent.MicroUSD)}
	switch {
	case result.CostMicroUSD != nil:
		c.costs += *result.CostMicroUSD
	case result.Usage != (message.Usage{}):
		c.charged.MicroUSD += held.MicroUSD
	case paid:
		c.charged = c.charged.Add(held)
	}
}

// Honoured refuses a strict call of which something can't be honoured. A backend
// asks it before it spends anything.
func (c *Call) Honoured() error {
	if !c.Strict || len(c.Warnings) == 0 {
		return nil
	}
	minded := slices.DeleteFunc(slices.Clone(c.Warnings), func(text string) bool { return slices.Contains(c.told, text) })
	if len(minded) == 0 {
		return nil
	}
	return apierror.Invalid("", "strict: %s", strings.Join(minded, "; "))
}

// Child makes a further call of the same caller, for a request that stands for
// several. Its clock starts now; it has passed authentication with its parent.
func (c *Call) Child(requestID string) *Call {
	child := &Call{
		RequestID: requestID, Endpoint: c.Endpoint, Address: c.Address, Prefer: c.Prefer, Strict: c.Strict,
		Forward: c.Forward, Caller: c.Caller, Trace: c.Trace.Child(), Clock: latency.Start(),
	}
	child.Clock.Mark(latency.Auth)
	return child
}
