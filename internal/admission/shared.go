package admission

import (
	"context"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// claim is what a call needs of one lease.
type claim struct {
	lease *lease
	n     int64
	scope string
}

// unreachable refuses a call whose limits nobody can tell at the moment.
func unreachable(cause error) error {
	return &apierror.Error{
		Category: apierror.Overloaded, Message: "the limits that all nodes share can't be checked at the moment", RetryAfter: heldRetry, Cause: cause,
	}
}

// lease gives an account's lease of a rate or of slots.
func (a *account) lease(place **lease, s *shard, owner budget.Owner, resource string, r *rate) *lease {
	if *place == nil {
		*place = &lease{about: Ask{Owner: owner, Resource: resource}, account: a, rate: r, queue: queue{shard: s}}
		a.leases = append(a.leases, *place)
	}
	return *place
}

// budgetLease gives the lease of a budget in the period that begins at start.
func (s *shard) budgetLease(l budget.Limit, start time.Time) *lease {
	account := s.account(l.Owner)
	spending := account.at(l.Period, start)
	place := &spending.leases[unitIndex(l.Unit)]
	if *place == nil {
		*place = &lease{
			about: Ask{Owner: l.Owner, Resource: budgetResource(l), Period: l.Period, Since: start, Unit: l.Unit}, account: account, spending: spending,
			queue: queue{shard: s},
		}
		account.leases = append(account.leases, *place)
	}
	return *place
}

func unitIndex(u budget.Unit) int {
	if u == budget.USD {
		return 1
	}
	return 0
}

// drop makes a lease forgotten by what points to it.
func (l *lease) drop() bool {
	switch {
	case l.spending != nil:
		l.spending.leases[unitIndex(l.about.Unit)] = nil
	default:
		for _, place := range [...]**lease{&l.account.lent.requests, &l.account.lent.tokens, &l.account.lent.concurrent} {
			if *place == l {
				*place = nil
			}
		}
	}
	return true
}

// isLent says that something may be leased for the account.
func (a *account) isLent() bool {
	for _, l := range a.leases {
		if l.open || l.waiting > 0 {
			return true
		}
	}
	return false
}

// cover sorts claims: those for which more has to be asked, and the first of which there is no
// more, however often one asks. The shard's lock is held.
func cover(claims []claim, now time.Duration) (short []claim, none *claim) {
	for i := range claims {
		c := &claims[i]
		l := c.lease
		switch {
		case l.known && l.free(now) >= c.n:
		case l.known && l.whole() || now < l.refused:
			if none == nil {
				none = c
			}
		default:
			short = append(short, *c)
		}
	}
	return short, none
}

// admitShared is Admit where limits are shared with other nodes.
func (a *Admitter) admitShared(ctx context.Context, call *gateway.Call) error {
	s := a.shard(call.Caller)
	var room [4]claim
	for {
		s.mu.Lock()
		now := a.now()
		scopes := s.scopes(call.Caller)
		claims := room[:0]
		id, valid := a.lender.held()
		for i := range scopes {
			claims = s.admissionClaims(claims, &scopes[i], ownerOf(call.Caller, i), id.epoch, now)
		}
		short, none := cover(claims, now)
		switch {
		case len(claims) > 0 && !valid:
			s.mu.Unlock()
			return unreachable(errFenced)
		case none != nil:
			err := none.refusal(now)
			a.fillShared(&call.Limits, scopes, now)
			s.mu.Unlock()
			return err
		case len(short) == 0:
			part := scopes
			for i := range part {
				part[i].limits = scopes[i].leased()
			}
			for _, c := range claims {
				c.lease.pace.add(c.n, now)
			}
			a.take(s, call, &part, now)
			a.fillShared(&call.Limits, scopes, now)
			s.mu.Unlock()
			return nil
		}
		s.mu.Unlock()
		if err := a.lender.await(ctx, s, short); err != nil {
			return a.unheard(ctx, err)
		}
	}
}

// unheard is what a caller is told who waited for an exchange in vain.
func (a *Admitter) unheard(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return err
	}
	return unreachable(err)
}

// ownerOf is whose the i-th of a caller's scopes is.
func ownerOf(c *gateway.Caller, i int) budget.Owner {
	if i == 0 {
		return budget.Owner{Kind: budget.Key, ID: c.KeyID}
	}
	return budget.Owner{Kind: budget.Project, ID: c.ProjectID}
}

// admissionClaims adds what a call needs to be admitted on one account.
func (s *shard) admissionClaims(claims []claim, sc *scope, owner budget.Owner, epoch int64, now time.Duration) []claim {
	a := sc.account
	if limit := sc.limits.RequestsPerMinute; limit > 0 {
		l := a.lease(&a.lent.requests, s, owner, sharedRequests, &a.requests)
		l.touch(epoch, min(int64(limit), maxShared), now)
		claims = append(claims, claim{l, 1, sc.name})
	}
	if limit := sc.limits.ConcurrentRequests; limit > 0 {
		l := a.lease(&a.lent.concurrent, s, owner, sharedConcurrent, nil)
		l.touch(epoch, int64(limit), now)
		claims = append(claims, claim{l, 1, sc.name})
	}
	return claims
}

// refusal says what is used up, and when it isn't any more as far as this node knows.
func (c *claim) refusal(now time.Duration) error {
	l := c.lease
	switch l.about.Resource {
	case sharedConcurrent:
		return limited(heldRetry, "the %s's limit of %d concurrent requests is reached", c.scope, l.limit)
	case sharedTokens:
		return limited(l.wait(c.n, now), "the %s's limit of %d tokens per minute is used up", c.scope, l.limit)
	}
	return limited(l.wait(c.n, now), "the %s's limit of %d requests per minute is used up", c.scope, l.limit)
}

// wait is how long n of a rate must wait here; where this node's part has no room for
// them, until it is asked for more.
func (l *lease) wait(n int64, now time.Duration) time.Duration {
	has := l.has()
	if has <= 0 || n > has {
		return heldRetry
	}
	return max(l.rate.wait(int(n), int(has), now), time.Nanosecond)
}

// leased are the limits of this node's part.
func (sc *scope) leased() gateway.RateLimits {
	part := func(limit int, l *lease) int {
		if limit > 0 && l != nil {
			return int(max(1, l.has()))
		}
		return 0
	}
	lent := &sc.account.lent
	return gateway.RateLimits{
		RequestsPerMinute: part(sc.limits.RequestsPerMinute, lent.requests), TokensPerMinute: part(sc.limits.TokensPerMinute, lent.tokens),
		ConcurrentRequests: part(sc.limits.ConcurrentRequests, lent.concurrent),
	}
}

// fillShared tells what this node knows of limits: its part, and what nobody had when
// it last asked.
func (a *Admitter) fillShared(l *gateway.Limits, scopes [2]scope, now time.Duration) {
	for _, sc := range scopes {
		lent := &sc.account.lent
		if limit := sc.limits.RequestsPerMinute; limit > 0 && lent.requests != nil {
			remaining, reset := lent.requests.left(now)
			if l.RequestsLimit == 0 || remaining < l.RequestsRemaining {
				l.RequestsLimit, l.RequestsRemaining, l.RequestsReset = limit, remaining, reset
			}
		}
		if limit := sc.limits.TokensPerMinute; limit > 0 && lent.tokens != nil {
			remaining, reset := lent.tokens.left(now)
			if l.TokensLimit == 0 || remaining < l.TokensRemaining {
				l.TokensLimit, l.TokensRemaining, l.TokensReset = limit, remaining, reset
			}
		}
	}
}

// left says how much of a rate may be used now, as far as this node knows, and when all of
// it may.
func (l *lease) left(now time.Duration) (remaining int, reset time.Duration) {
	if l.limit <= 0 {
		return 0, 0
	}
	if l.whole() {
		return l.rate.left(int(l.has()), now)
	}
	free := min(l.limit, l.free(now)+max(0, l.pool))
	each, _ := steps(int(l.limit))
	return int(free), each * time.Duration(l.limit-free)
}

// reserveShared is Reserve where limits are shared with other nodes.
func (a *Admitter) reserveShared(ctx context.Context, call *gateway.Call, r *reservation, need need) error {
	s := a.shard(call.Caller)
	var room [8]claim
	for {
		s.mu.Lock()
		now := a.now()
		id, valid := a.lender.held()
		r.hold(s, -1)
		claims, short, err := s.reservationClaims(room[:0], call, r, need, id.epoch, now)
		r.hold(s, 1)
		switch {
		case len(claims) > 0 && !valid:
			s.mu.Unlock()
			return unreachable(errFenced)
		case err != nil:
			a.fillShared(&call.Limits, s.scopes(call.Caller), now)
			s.mu.Unlock()
			return err
		case len(short) == 0:
			crossed := s.crossed(call.Caller.Budgets, call.Caller.ProjectID, r.arrived)
			err := a.reserve(s, call, r, need)
			if err == nil {
				a.paced(claims, r, now)
			}
			s.mu.Unlock()
			a.tell(crossed)
			return err
		}
		s.mu.Unlock()
		if err := a.lender.await(ctx, s, short); err != nil {
			return a.unheard(ctx, err)
		}
	}
}

// reservationClaims are what a call needs of budgets and of tokens a minute, and for what of
// it more has to be asked. Where no more of a budget is to be had the answer gets
// what is left, and takes as many tokens fewer. The call holds nothing of its budgets
// meanwhile.
func (s *shard) reservationClaims(claims []claim, call *gateway.Call, r *reservation, need need, epoch int64, now time.Duration) (all, short []claim, err error) {
	most := need.amount(need.output)
	for _, b := range call.Caller.Budgets {
		if b.Owner.Kind == budget.Run {
			continue
		}
		l := s.budgetLease(b, b.Period.Start(r.arrived))
		l.touch(epoch, b.Hard, now)
		l.watched, l.project = b, call.Caller.ProjectID
		c := claim{lease: l}
		if b.Hard > 0 {
			c.n = most.In(b.Unit)
		}
		claims = append(claims, c)
	}
	output := need.output
	if short, _ = cover(claims, now); len(short) == 0 {
		if output, err = need.fit(s, call.Caller.Budgets, r.arrived); err != nil {
			return claims, nil, err
		}
	}
	budgets := len(claims)
	for i, sc := range s.scopes(call.Caller) {
		limit := min(int64(sc.limits.TokensPerMinute), maxShared)
		if limit == 0 || r.tokens[i].n > 0 {
			continue
		}
		l := sc.account.lease(&sc.account.lent.tokens, s, ownerOf(call.Caller, i), sharedTokens, &sc.account.tokens)
		l.touch(epoch, limit, now)
		claims = append(claims, claim{l, min(need.estimate+output, limit), sc.name})
	}
	more, none := cover(claims[budgets:], now)
	switch {
	case none == nil:
		return claims, append(short, more...), nil
	case len(short) == 0:
		return claims, nil, none.refusal(now)
	}
	return claims, short, nil // the budget's refusal would come first
}

// paced notes what was taken, and asks for more of a budget before somebody has to
// wait for it. The shard's lock is held.
func (a *Admitter) paced(claims []claim, r *reservation, now time.Duration) {
	for _, c := range claims {
		l := c.lease
		if l.spending == nil {
			l.pace.add(c.n, now)
			continue
		}
		l.pace.add(r.held.In(l.about.Unit), now)
		if l.limit > 0 && now >= max(l.refused, l.calm) && !a.lender.alone() && l.free(now) < l.pace.recent(now) {
			l.hungry = true
			a.lender.later(l, now.Truncate(gatherFor)+gatherFor)
		}
	}
}

// watches says that there is a soft limit that may still be reached.
func (l *lease) watches() bool {
	return l.spending != nil && l.watched.Soft > 0 && l.spending.spent.In(l.about.Unit) < l.watched.Soft
}

// reached gives the soft limits that what a lease's owner has spent on all nodes has reached. Its
// shard's lock is held.
func (a *Admitter) reached(l *lease) []Crossing {
	if l.spending == nil || l.watched.Soft == 0 {
		return nil
	}
	if spent := l.spending.spent.In(l.about.Unit); spent >= l.watched.Soft && l.spending.tell(l.watched) {
		return []Crossing{{l.watched, l.project, l.about.Since, spent}}
	}
	return nil
}

// Stop gives back what this node leases of limits that are shared. No call may run any
// more that should still get something. ctx bounds it.
func (a *Admitter) Stop(ctx context.Context) {
	if a.lender != nil {
		a.lender.close(ctx)
	}
}
