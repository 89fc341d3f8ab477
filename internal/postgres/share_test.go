package postgres_test

import (
	"errors"
	"testing"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// peer is one node's side of exchanges, without an Admitter.
type peer struct {
	t      *testing.T
	id     string
	db     *postgres.DB
	shares admission.Shares
	turn   int64
}

func newPeer(t *testing.T, address, id string) *peer {
	t.Helper()
	db := openURL(t, address)
	if err := db.JoinNode(t.Context(), id, time.Hour); err != nil {
		t.Fatal(err)
	}
	return &peer{t: t, id: id, db: db, shares: db.Shares(func() string { return id })}
}

func (p *peer) exchange(asks ...admission.Ask) []admission.Answer {
	p.t.Helper()
	p.turn++
	answers, _, err := p.shares.Exchange(p.t.Context(), p.id, p.turn, asks)
	if err != nil {
		p.t.Fatal(err)
	}
	return answers
}

func (p *peer) one(ask admission.Ask) admission.Answer {
	p.t.Helper()
	return p.exchange(ask)[0]
}

func askOf(resource string, limit int64) admission.Ask {
	return admission.Ask{Owner: budget.Owner{Kind: budget.Key, ID: "k"}, Resource: resource, Limit: limit}
}

func budgetAsk(limit int64) admission.Ask {
	a := askOf("total-tokens", limit)
	a.Period, a.Since, a.Unit = budget.Total, time.Unix(0, 0).UTC(), budget.Tokens
	return a
}

func TestSlotsAreLentAndComeBack(t *testing.T) {
	address := pgtest.Database(t)
	one, two := newPeer(t, address, "one"), newPeer(t, address, "two")
	ask := askOf("concurrent", 10)
	ask.Want, ask.Like = 2, 8
	if got := one.one(ask); got != (admission.Answer{Granted: 5}) { // half, for there is another node
		t.Errorf("one is lent %+v", got)
	}
	ask.Want, ask.Like = 7, 7
	if got := two.one(ask); got != (admission.Answer{Granted: 5, Others: 5}) {
		t.Errorf("two is lent %+v", got)
	}
	ask.Want, ask.Like, ask.Given = 0, 0, 4
	if got := one.one(ask); got != (admission.Answer{Granted: 5, Others: 5}) {
		t.Errorf("one has %+v", got)
	}
	one.one(ask) // said again, it counts once
	ask.Want, ask.Like, ask.Given = 7, 7, 0
	if got := two.one(ask); got != (admission.Answer{Granted: 9, Others: 1}) {
		t.Errorf("two is lent %+v", got)
	}
	// A limit that was lowered lends nothing until enough has come back.
	ask.Limit = 3
	if got := two.one(ask); got != (admission.Answer{Granted: 9, Others: 1}) {
		t.Errorf("two is lent %+v", got)
	}
	ask.Given, ask.Want, ask.Like = 8, 5, 5
	if got := two.one(ask); got != (admission.Answer{Granted: 10, Others: 1}) {
		t.Errorf("two is lent %+v", got)
	}
	// What a node has ends with its row.
	if err := one.db.LeaveNode(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := two.one(ask); got != (admission.Answer{Granted: 11}) {
		t.Errorf("two is lent %+v", got)
	}
	if _, _, err := one.shares.Exchange(t.Context(), "one", 9, []admission.Ask{ask}); err != nil {
		t.Errorf("nothing is free: %v", err)
	}
	ask.Limit = 100
	if _, _, err := one.shares.Exchange(t.Context(), "one", 10, []admission.Ask{ask}); err == nil {
		t.Error("a node that is dead is lent something")
	}
}

func TestALateExchangeChangesNothing(t *testing.T) {
	p := newPeer(t, pgtest.Database(t), "one")
	ask := askOf("concurrent", 10)
	ask.Want = 1
	p.one(ask)
	ask.Given = 10
	p.one(ask)
	ask.Given = 0
	if _, _, err := p.shares.Exchange(t.Context(), "one", 1, []admission.Ask{ask}); err != nil {
		t.Fatal(err)
	}
	ask.Given, ask.Want = 10, 0
	if got := p.one(ask); got.Granted != 20 { // all ten were lent twice, and no third time
		t.Errorf("%+v", got)
	}
}

func TestARateIsLentWithWhatIsOwed(t *testing.T) {
	address := pgtest.Database(t)
	one, two, raw := newPeer(t, address, "one"), newPeer(t, address, "two"), connect(t, address)
	later := func(seconds int) {
		execute(t, raw, `UPDATE share_pools SET at = at - make_interval(secs => $1)`, seconds)
	}
	ask := askOf("requests", 6) // one comes back in ten seconds
	ask.Want, ask.Like = 1, 4
	if got := one.one(ask); got != (admission.Answer{Granted: 3, GrantedReady: 3, Pool: 3}) {
		t.Errorf("one is lent %+v", got)
	}
	// One has used all and gives two of it back: they have yet to come back.
	ask.Given, ask.GivenReady, ask.Want, ask.Like = 2, 0, 0, 0
	if got := one.one(ask); got.Granted != 3 || got.Pool != 3 {
		t.Errorf("one has %+v", got)
	}
	ask.Given, ask.Want, ask.Like = 0, 5, 5
	if got := two.one(ask); got != (admission.Answer{Granted: 5, GrantedReady: 3, Others: 1}) {
		t.Errorf("two is lent %+v", got)
	}
	ask.Given, ask.GivenReady, ask.Want, ask.Like = 5, 0, 0, 0
	two.one(ask)
	later(24)
	ask.Want, ask.Like = 1, 1
	if got := two.one(ask); got.Granted != 6 || got.GrantedReady != 4 || got.Pool != 1 {
		t.Errorf("after 24 seconds: %+v", got)
	}
	later(300)
	ask.Want, ask.Like = 0, 0
	if got := two.one(ask); got.Pool != 4 {
		t.Errorf("a rate was saved up: %+v", got)
	}
	// A dead node's part is as if it had used all of it.
	if err := one.db.LeaveNode(t.Context(), "one"); err != nil {
		t.Fatal(err)
	}
	if got := two.one(ask); got.Pool != 4 || got.Others != 0 {
		t.Errorf("at once after a death: %+v", got)
	}
	later(60)
	if got := two.one(ask); got.Pool != 5 {
		t.Errorf("a minute after a death: %+v", got)
	}
}

// TestAClosedRateGoesOn closes a lease of which less was given back than lent, and
// opens it again: what was used stays used.
func TestAClosedRateGoesOn(t *testing.T) {
	p := newPeer(t, pgtest.Database(t), "one")
	ask := askOf("tokens", 6)
	ask.Want, ask.Like = 6, 6
	if got := p.one(ask); got != (admission.Answer{Granted: 6, GrantedReady: 6}) {
		t.Fatalf("%+v", got)
	}
	ask.Given, ask.GivenReady, ask.GrantedReady, ask.Want, ask.Like, ask.Close = 6, 4, 6, 0, 0, true
	if got := p.one(ask); got.Pool != 4 {
		t.Errorf("given back: %+v", got)
	}
	ask.Close, ask.Want, ask.Like = false, 5, 5
	if got := p.one(ask); got != (admission.Answer{Granted: 12, GrantedReady: 10}) {
		t.Errorf("opened again: %+v", got)
	}
}

// TestSpendingComesOutOfLeases records for two owners: in the same commit what was
// lent becomes what is spent.
func TestSpendingComesOutOfLeases(t *testing.T) {
	address := pgtest.Database(t)
	one, two := newPeer(t, address, "one"), newPeer(t, address, "two")
	ask := budgetAsk(1000)
	ask.Want, ask.Like = 100, 100
	month := ask
	month.Resource, month.Period, month.Since = "month-tokens", budget.Month, budget.Month.Start(then)
	other := ask
	other.Owner = budget.Owner{Kind: budget.Project, ID: "other"}
	one.exchange(ask, month, other)
	sum := usage.Sum{Day: budget.Day.Start(then), ProjectID: "p", KeyID: "k", Model: "m", Requests: 1}
	sum.Usage.InputTokens, sum.Charged.Tokens = 20, 10
	if err := one.db.AppendUsage(t.Context(), []usage.Row{{RequestID: "r"}}, []usage.Sum{sum}); err != nil {
		t.Fatal(err)
	}
	ask.Want, ask.Like = 0, 0
	if got := two.one(ask); got != (admission.Answer{Spent: 30, Others: 70}) {
		t.Errorf("%+v", got)
	}
	other.Want, other.Like = 0, 0
	if got := two.one(other); got != (admission.Answer{Others: 100}) {
		t.Errorf("another owner: %+v", got)
	}
	month.Want, month.Like = 0, 0
	if got := two.one(month); got != (admission.Answer{Spent: 30, Others: 70}) {
		t.Errorf("the month: %+v", got)
	}
	// More than was lent is spent all the same, and owes nothing.
	sum.Usage.InputTokens = 200
	if err := one.db.AppendUsage(t.Context(), nil, []usage.Sum{sum}); err != nil {
		t.Fatal(err)
	}
	if got := two.one(ask); got != (admission.Answer{Spent: 240}) {
		t.Errorf("%+v", got)
	}
	ask.Want, ask.Like = 5000, 5000
	if got := two.one(ask); got != (admission.Answer{Granted: 760, Spent: 240}) {
		t.Errorf("%+v", got)
	}
	// A lease that was closed begins where the node left it.
	ask.Given, ask.Used, ask.Want, ask.Like, ask.Close = 760, 0, 0, 0, true
	two.one(ask)
	ask.Close, ask.Want, ask.Like = false, 10, 10
	if got := two.one(ask); got != (admission.Answer{Granted: 770, Spent: 240}) {
		t.Errorf("%+v", got)
	}
}

// TestExchangesAndCommitsDontWaitInCircles has nodes exchange and record at once,
// in any order.
func TestExchangesAndCommitsDontWaitInCircles(t *testing.T) {
	address := pgtest.Database(t)
	done := make(chan error)
	const nodes = 3
	for n := range nodes {
		p := newPeer(t, address, string(rune('a'+n)))
		var asks []admission.Ask
		for _, owner := range []budget.Owner{{Kind: budget.Key, ID: "k"}, {Kind: budget.Project, ID: "p"}, {Kind: budget.Key, ID: "l"}} {
			ask := budgetAsk(1 << 40)
			ask.Owner, ask.Want, ask.Like = owner, 1, 1
			rate := askOf("requests", 1000)
			rate.Owner = owner
			asks = append(asks, ask, rate)
		}
		go func() {
			var errs []error
			for i := range 60 {
				turned := append(append([]admission.Ask(nil), asks[i%len(asks):]...), asks[:i%len(asks)]...)
				_, _, err := p.shares.Exchange(t.Context(), p.id, int64(i+1), turned)
				errs = append(errs, err)
			}
			done <- errors.Join(errs...)
		}()
		go func() {
			var errs []error
			for i := range 60 {
				sum := usage.Sum{Day: budget.Day.Start(then), ProjectID: "p", KeyID: []string{"k", "l"}[i%2], Model: "m"}
				sum.Usage.InputTokens = 1
				errs = append(errs, p.db.AppendUsage(t.Context(), nil, []usage.Sum{sum}))
			}
			done <- errors.Join(errs...)
		}()
	}
	for range 2 * nodes {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if deadlocks := question[int](t, connect(t, address), "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"); deadlocks != 0 {
		t.Errorf("%d deadlocks", deadlocks)
	}
}
