package admission

import (
	"context"
	"fmt"
	"slices"
	"time"

	"claude-code-api-service/internal/budget"
)

// account is what is known of one key or one project. Its shard's lock guards
// it.
type account struct {
	requests, tokens rate
	// running are the calls between Admit and Release; parts are those of them that
	// are part of another, which counts for them.
	running, parts int
	periods        map[budget.Period]*window
	usedAt         time.Duration

	// Where limits are shared with other nodes: what is leased, by what it is of, and
	// all of it, budgets too.
	lent   struct{ requests, tokens, concurrent *lease }
	leases []*lease
}

// spending is what an account has spent in one period, and what calls that run
// may still spend.
type spending struct {
	start       time.Time
	spent, held budget.Amount
	// known says that spent holds what the store had when it was read.
	known bool
	// doubtful says that calls ran while it was read: they may have been counted
	// twice. It is read again when none runs.
	doubtful bool
	// told are the soft limits in each unit that were told of; 0: none.
	told budget.Amount
	// leases are, where the budget is shared with other nodes, what is leased of it in
	// tokens and in dollars. What is spent is then that of all nodes, at least.
	leases [2]*lease
}

// room is what the period leaves of a limit: what isn't spent, and what of it this node
// may still hold.
func (s *spending) room(l budget.Limit) (unspent, free int64) {
	unspent = l.Hard - s.spent.In(l.Unit)
	if lease := s.leases[unitIndex(l.Unit)]; lease != nil {
		return unspent, lease.free(0)
	}
	return unspent, unspent - s.held.In(l.Unit)
}

// forgettable says that nothing would be lost with it.
func (s *spending) forgettable() bool {
	for _, l := range s.leases {
		if l != nil {
			return false
		}
	}
	return s.held == (budget.Amount{})
}

// window is the spending of one kind of period: of the one that runs, the one before
// it, to which calls still belong that arrived before its end, and of any other to
// which running calls belong, because the machine's clock was set.
type window struct {
	latest time.Time   // the latest start that was asked for
	kept   []*spending // the one used last comes first
}

// keptPeriods are kept whether or not a call that runs belongs to them.
const keptPeriods = 2

// at gives the spending of the period that begins at start. Whoever knows one period
// knows those after all that were asked for: nothing of them can have been spent
// elsewhere. An earlier one may have been forgotten.
func (a *account) at(period budget.Period, start time.Time) *spending {
	if a.periods == nil {
		a.periods = make(map[budget.Period]*window, len(budget.Periods))
	}
	w := a.periods[period]
	if w == nil {
		w = &window{}
		a.periods[period] = w
	}
	for i, s := range w.kept {
		if s.start.Equal(start) {
			copy(w.kept[1:i+1], w.kept[:i])
			w.kept[0] = s
			return s
		}
	}
	s := &spending{start: start}
	if start.After(w.latest) {
		s.known = len(w.kept) > 0 && w.kept[0].known
		w.latest = start
	}
	w.kept = slices.Insert(w.kept, 0, s)
	for i := len(w.kept) - 1; i >= keptPeriods; i-- {
		if w.kept[i].forgettable() {
			w.kept = slices.Delete(w.kept, i, i+1)
		}
	}
	return s
}

// idle says that nothing would be lost if the account were forgotten, which is
// remembered for so long.
func (a *account) idle(now, remembered time.Duration) bool {
	return a.running == 0 && !a.isLent() && a.requests.free <= now && a.tokens.free <= now && now-a.usedAt > remembered
}

// learn reads what the caller's accounts have spent where it isn't known yet. It
// is the only I/O of an admission, and happens once for each. own is how many of the
// calls that run on an account are the one that asks. Of a run all is known: it has
// spent nothing before.
func (a *Admitter) learn(ctx context.Context, s *shard, limits []budget.Limit, now time.Time, own int) error {
	for _, limit := range limits {
		start := limit.Period.Start(now)
		s.mu.Lock()
		spending := s.account(limit.Owner).at(limit.Period, start)
		spending.known = spending.known || limit.Owner.Kind == budget.Run
		known := spending.known
		s.mu.Unlock()
		if known {
			continue
		}
		// Two calls may read at once; the second one changes nothing.
		amount, err := a.options.Store.Spent(ctx, limit.Owner, limit.Period, start)
		if err != nil {
			return fmt.Errorf("read what %s %s has spent: %w", limit.Owner.Kind, limit.Owner.ID, err)
		}
		s.mu.Lock()
		account := s.account(limit.Owner)
		switch spending := account.at(limit.Period, start); {
		case spending.known:
		case a.lender != nil:
			spending.known = true
			spending.spent = budget.Amount{Tokens: max(spending.spent.Tokens, amount.Tokens), MicroUSD: max(spending.spent.MicroUSD, amount.MicroUSD)}
		default:
			// One that has settled meanwhile may have been read too.
			spending.known, spending.doubtful = true, account.running > own || spending.spent != (budget.Amount{})
			spending.spent = spending.spent.Add(amount)
		}
		s.mu.Unlock()
	}
	return nil
}
