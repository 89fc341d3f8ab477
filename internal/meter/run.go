package meter

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// run is a Run whose calls are served. It stands in a walk of its own for those rooms
// that must know whose call it is.
type run struct {
	Run
	walk    gateway.Options
	log     *slog.Logger
	caller  *gateway.Caller // as the run's calls are admitted
	handler http.Handler
	sum     sum

	ctx    context.Context // ends the calls that are open
	cancel context.CancelCauseFunc

	mu    sync.Mutex
	begun int // how many calls have; the last one's number
	now   int // how many are open
	ended bool
	open  sync.WaitGroup
}

var (
	_ gateway.Authenticator = (*run)(nil)
	_ gateway.Admitter      = (*run)(nil)
	_ gateway.Router        = (*run)(nil)
	_ gateway.Recorder      = (*run)(nil)
	_ gateway.Observer      = (*run)(nil)
)

func newRun(m *Meter, about Run) *run {
	r := &run{Run: about, walk: m.options.Walk(), log: m.options.Log, caller: callerOf(about)}
	r.ctx, r.cancel = context.WithCancelCause(context.Background())
	own := r.walk
	own.Authenticator, own.Admitter, own.Router, own.Recorder, own.Observer = r, r, r, r, r
	// What a fallback chose might not be metered, and a process that asked for one
	// model has its own idea of what to do without it.
	own.Fallback = nil
	r.handler = m.options.Serve(gateway.New(own))
	return r
}

// callerOf gives whom a run's calls are admitted as. Its requests per minute and at
// once were taken when the run was let in.
func callerOf(r Run) *gateway.Caller {
	c := *r.Caller
	c.Key = gateway.RateLimits{TokensPerMinute: c.Key.TokensPerMinute}
	c.Project = gateway.RateLimits{TokensPerMinute: c.Project.TokensPerMinute}
	if r.MaxCostMicroUSD > 0 {
		c.Budgets = append(slices.Clip(c.Budgets), budget.Limit{
			// Not by the run's id, which a caller may choose: another run would go on with
			// what this one has left.
			Owner: budget.Owner{Kind: budget.Run, ID: rand.Text()}, Period: budget.Total, Unit: budget.USD, Hard: r.MaxCostMicroUSD,
		})
	}
	return &c
}

// most is how many calls of a run are open at once: far more than agents make, and no
// more bodies in memory than that, whatever a run's tools send with its token.
const most = 64

var (
	errEnded = errors.New("the run has ended")
	errMost  = errors.New("the run has too many calls open")
)

// enter begins a call and gives its request id, or errEnded or errMost. leave ends it.
func (r *run) enter() (requestID string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.ended:
		return "", errEnded
	case r.now >= most:
		return "", errMost
	}
	r.begun++
	r.now++
	r.open.Add(1)
	return r.ID + "." + strconv.Itoa(r.begun), nil
}

func (r *run) leave() {
	r.mu.Lock()
	r.now--
	r.mu.Unlock()
	r.open.Done()
}

// end lets no further call in, ends those that are open and waits for their rows.
func (r *run) end() {
	r.mu.Lock()
	r.ended = true
	r.mu.Unlock()
	r.cancel(apierror.New(apierror.ClientClosed, "the run has ended"))
	r.open.Wait()
}

// login is the key of the context's value that holds what of a process's header belongs
// to its own login.
type login struct{}

// Authenticate implements gateway.Authenticator: whose token it is was seen before.
func (r *run) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	return r.caller, nil
}

// Admit implements gateway.Admitter.
func (r *run) Admit(ctx context.Context, call *gateway.Call) error {
	call.Part = true
	if header, ok := ctx.Value(login{}).(http.Header); ok {
		maps.Copy(header, call.Forward)
		call.Forward = header
	}
	return r.walk.Admitter.Admit(ctx, call)
}

// Reserve implements gateway.Admitter. Where the input leaves too little by its bytes,
// of which a token has one at least and four as a rule, the upstream is asked how many
// tokens it has.
func (r *run) Reserve(ctx context.Context, call *gateway.Call) error {
	notes := call.Notes()
	err := r.walk.Admitter.Reserve(ctx, call)
	if tight(call, err) {
		if call.InputTokens = r.count(ctx, call); call.InputTokens > 0 {
			call.Restore(notes)
			call.MaxTokens = 0
			err = r.walk.Admitter.Reserve(ctx, call)
		}
	}
	if err != nil && !call.CountOnly {
		r.sum.ended(err)
	}
	return err
}

// Release implements gateway.Admitter.
func (r *run) Release(call *gateway.Call, result gateway.Result) {
	r.walk.Admitter.Release(call, result)
}

// Record implements gateway.Recorder. What was spent is in the totals also where it
// couldn't be recorded.
func (r *run) Record(ctx context.Context, entry gateway.Entry) error {
	r.sum.add(&entry)
	return r.walk.Recorder.Record(ctx, r.of(entry))
}

// Observe implements gateway.Observer.
func (r *run) Observe(entry gateway.Entry) { r.walk.Observer.Observe(r.of(entry)) }

// of makes an entry one of the run's. Who sent it is this machine.
func (r *run) of(entry gateway.Entry) gateway.Entry {
	entry.Part, entry.Endpoint, entry.Address, entry.Caller = true, r.Endpoint, "", r.Caller
	return entry
}
