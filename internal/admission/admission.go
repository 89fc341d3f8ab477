// Package admission holds callers to the limits of their keys and projects:
// requests and tokens a minute, concurrent requests, and budgets. All of it is
// decided in memory, exactly, however many callers there are at once.
package admission

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

const (
	// shardCount spreads the projects over locks, so that two rarely meet at one. A
	// power of two.
	shardCount = 64
	// sweepFloor is how many accounts a shard holds before it looks for idle ones.
	sweepFloor = 64
	// forgetAfter is how long an idle account is kept. What it has spent is read
	// again then.
	forgetAfter = 10 * time.Minute
	// heldRetry is when a caller may try again whose limit is held by requests that
	// run: nobody knows when they end.
	heldRetry = time.Second
)

// DefaultOutputCap bounds what is reserved for an answer, in tokens: a coding
// agent's huge max_tokens must not lock a budget.
const DefaultOutputCap = 16_384

// Store tells what was spent before the service was started.
type Store interface {
	// Spent gives what an owner has spent in the period that begins at start.
	Spent(ctx context.Context, owner budget.Owner, period budget.Period, start time.Time) (budget.Amount, error)
}

// Options configure an Admitter.
type Options struct {
	Store Store // required where a caller has budgets
	// OutputCap is the most output tokens that are reserved for one request with a
	// budget, and so the most that it gets; 0 is DefaultOutputCap.
	OutputCap int64
	Models    Models // required where a caller has budgets
	// Crossed hears of each soft limit that is reached: when a request reaches it,
	// and also where it was reached before, with the first request that the Admitter
	// sees after it was started, or had forgotten the account. It must not wait. May
	// be nil.
	Crossed func(Crossing)
	// Shares lends this node its part of what it shares with other nodes, as Member; Stop
	// must be called then. nil: nobody else holds callers to these limits.
	Shares Shares
	Member Member // required with Shares
}

// Models tells what a reservation needs to know of a model, by its id. It is safe
// for concurrent use.
type Models interface {
	// ContextWindow is the most that a model reads, in tokens; 0 when it isn't known.
	ContextWindow(model string) int64
	// Price gives the most that a token of input and of output may cost in a request
	// with a prompt of at most so many tokens, in millionths of a US dollar for a
	// million tokens. hour says that the prompt may be written to a cache for an hour.
	// false: the price isn't known.
	Price(model string, prompt int64, hour bool) (input, output int64, known bool)
	// SearchPrice is what one web search costs, in millionths of a US dollar.
	SearchPrice() int64
	// PricedSpeed says whether Price holds also for answers at a speed, which
	// isn't "".
	PricedSpeed(speed string) bool
}

// Admitter implements gateway.Admitter. It is safe for concurrent use; with what
// callers have spent in memory, a decision does no I/O. A crash releases what it
// holds: that is nowhere but in memory.
type Admitter struct {
	options Options
	start   time.Time // moments are measured from here, on the monotonic clock
	seed    maphash.Seed
	shards  [shardCount]shard
	lender  *lender // nil: nothing is shared
}

// shard holds all accounts of some projects: those of a project and of its keys
// are under one lock, so that what needs both is decided at once.
type shard struct {
	mu       sync.Mutex
	accounts map[budget.Owner]*account
	sweepAt  int // the size at which idle accounts are dropped
}

var _ gateway.Admitter = (*Admitter)(nil)

// New makes an Admitter.
func New(options Options) *Admitter {
	if options.OutputCap <= 0 {
		options.OutputCap = DefaultOutputCap
	}
	if options.Crossed == nil {
		options.Crossed = func(Crossing) {}
	}
	a := &Admitter{options: options, start: time.Now(), seed: maphash.MakeSeed()}
	for i := range a.shards {
		a.shards[i].accounts, a.shards[i].sweepAt = map[budget.Owner]*account{}, sweepFloor
	}
	if options.Shares != nil {
		a.lender = newLender(a, options.Shares, options.Member)
	}
	return a
}

// reservation is what a call holds.
type reservation struct {
	key, project *account
	// tokens were taken from the tokens a minute of both; held are on the budgets.
	tokens [2]taken
	held   budget.Amount
	// arrived decides to which periods the call belongs.
	arrived time.Time
	limits  []budget.Limit
}

// scope is one of the two accounts that a call counts on.
type scope struct {
	name    string
	account *account
	limits  gateway.RateLimits
}

func (s *shard) scopes(c *gateway.Caller) [2]scope {
	return [2]scope{
		{"key", s.account(budget.Owner{Kind: budget.Key, ID: c.KeyID}), c.Key},
		{"project", s.account(budget.Owner{Kind: budget.Project, ID: c.ProjectID}), c.Project},
	}
}

func (a *Admitter) shard(c *gateway.Caller) *shard {
	return a.shardOf(c.ProjectID)
}

func (a *Admitter) shardOf(projectID string) *shard {
	return &a.shards[maphash.String(a.seed, projectID)%shardCount]
}

func (a *Admitter) now() time.Duration { return time.Since(a.start) }

// Admit implements gateway.Admitter. A refusal says exactly when one request
// will be allowed, except where only running requests stand in the way.
func (a *Admitter) Admit(ctx context.Context, call *gateway.Call) error {
	if a.lender != nil {
		return a.admitShared(ctx, call)
	}
	s := a.shard(call.Caller)
	s.mu.Lock()
	defer s.mu.Unlock()
	now := a.now() // under the lock, so that it never runs backwards
	scopes := s.scopes(call.Caller)
	err := admissible(scopes, now)
	if err == nil {
		a.take(s, call, &scopes, now)
	}
	fill(&call.Limits, scopes, now)
	return err
}

// take admits a call. The shard's lock is held.
func (a *Admitter) take(s *shard, call *gateway.Call, scopes *[2]scope, now time.Duration) {
	for i := range scopes {
		scope := &scopes[i]
		scope.account.running++
		if call.Part {
			scope.account.parts++
		}
		scope.account.usedAt = now
		if limit := scope.limits.RequestsPerMinute; limit > 0 {
			scope.account.requests.take(1, limit, now)
		}
	}
	call.Reservation = &reservation{key: scopes[0].account, project: scopes[1].account, arrived: arrival(call)}
	s.sweep(now)
}

// arrival is when the call came, in its project's time zone: it decides to which
// periods the call belongs, here and in the ledger.
func arrival(call *gateway.Call) time.Time {
	return call.Clock.StartTime().In(call.Caller.Zone())
}

func admissible(scopes [2]scope, now time.Duration) error {
	for _, scope := range scopes {
		if limit := scope.limits.RequestsPerMinute; limit > 0 {
			if wait := scope.account.requests.wait(1, limit, now); wait > 0 {
				return limited(wait, "the %s's limit of %d requests per minute is used up", scope.name, limit)
			}
		}
		if limit := scope.limits.ConcurrentRequests; limit > 0 && scope.account.running-scope.account.parts >= limit {
			return limited(heldRetry, "the %s's limit of %d concurrent requests is reached", scope.name, limit)
		}
	}
	return nil
}

func limited(wait time.Duration, format string, args ...any) error {
	return &apierror.Error{Category: apierror.RateLimited, Message: fmt.Sprintf(format, args...), RetryAfter: wait}
}

// fill tells the limits that leave least.
func fill(l *gateway.Limits, scopes [2]scope, now time.Duration) {
	for _, scope := range scopes {
		if limit := scope.limits.RequestsPerMinute; limit > 0 {
			remaining, reset := scope.account.requests.left(limit, now)
			if l.RequestsLimit == 0 || remaining < l.RequestsRemaining {
				l.RequestsLimit, l.RequestsRemaining, l.RequestsReset = limit, remaining, reset
			}
		}
		if limit := scope.limits.TokensPerMinute; limit > 0 {
			remaining, reset := scope.account.tokens.left(limit, now)
			if l.TokensLimit == 0 || remaining < l.TokensRemaining {
				l.TokensLimit, l.TokensRemaining, l.TokensReset = limit, remaining, reset
			}
		}
	}
}

// Release implements gateway.Admitter.
func (a *Admitter) Release(call *gateway.Call, result gateway.Result) {
	r, ok := call.Reservation.(*reservation)
	if !ok {
		return // it was never admitted
	}
	call.Reservation = nil
	spent := call.Charged(result).Add(budget.Amount{Tokens: result.Usage.Total()})
	if result.CostMicroUSD != nil {
		spent.MicroUSD += *result.CostMicroUSD
	}
	s := a.shard(call.Caller)
	s.mu.Lock()
	now := a.now()
	r.settle(s, spent, now)
	crossed := s.crossed(r.limits, call.Caller.ProjectID, r.arrived)
	for i, account := range [...]*account{r.key, r.project} {
		account.running--
		if call.Part {
			account.parts--
		}
		account.usedAt = now
		if t := &r.tokens[i]; t.n > 0 {
			limit := [...]gateway.RateLimits{call.Caller.Key, call.Caller.Project}[i].TokensPerMinute
			if l := account.lent.tokens; l != nil {
				limit = int(max(1, l.has()))
			}
			account.tokens.settle(t, int(spent.Tokens), limit, now)
		}
		account.settled()
	}
	s.mu.Unlock()
	a.tell(crossed)
}

func (a *Admitter) tell(crossed []Crossing) {
	for _, c := range crossed {
		a.options.Crossed(c)
	}
}

// account gives an owner's account, a new one where there is none.
func (s *shard) account(owner budget.Owner) *account {
	a := s.accounts[owner]
	if a == nil {
		a = &account{}
		s.accounts[owner] = a
	}
	return a
}

// sweep forgets idle accounts. The next time is when the shard has doubled, so a
// call pays for it in constant time.
func (s *shard) sweep(now time.Duration) {
	if len(s.accounts) < s.sweepAt {
		return
	}
	for owner, account := range s.accounts {
		if account.idle(now, remembered(owner.Kind)) {
			delete(s.accounts, owner)
		}
	}
	s.sweepAt = max(sweepFloor, 2*len(s.accounts))
}
