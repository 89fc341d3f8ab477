package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/cluster"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// priced has a price for every model: a micro-dollar for a token of input, five for one
// of output.
type priced struct{}

func (priced) ContextWindow(string) int64 { return 200_000 }
func (priced) SearchPrice() int64         { return 0 }
func (priced) PricedSpeed(string) bool    { return true }
func (priced) Price(string, int64, bool) (input, output int64, _ bool) {
	return 1_000_000, 5_000_000, true
}

// inputBound is what a call's input is reserved with: the body and what the API adds.
const inputBound = 1_100

// limiter is one node: its admission and its ledger.
type limiter struct {
	t        testing.TB
	db       *postgres.DB
	member   *cluster.Member
	admitter *admission.Admitter
	ledger   *usage.Ledger
	crossed  chan admission.Crossing
	stop     sync.Once
}

func newLimiter(t testing.TB, address string) *limiter {
	t.Helper()
	return newLimiterWith(t, address, func(s admission.Shares) admission.Shares { return s })
}

func newLimiterWith(t testing.TB, address string, wrap func(admission.Shares) admission.Shares) *limiter {
	t.Helper()
	n := &limiter{t: t, db: openURL(t, address), crossed: make(chan admission.Crossing, 100)}
	var err error
	if n.member, err = cluster.Join(t.Context(), cluster.Options{Store: n.db}); err != nil {
		t.Fatal(err)
	}
	n.admitter = admission.New(admission.Options{
		Store: n.db, Models: priced{}, Shares: wrap(n.db.Shares(n.member.ID)), Member: n.member,
		Crossed: func(c admission.Crossing) { n.crossed <- c },
	})
	n.ledger = usage.NewLedger(usage.Options{Store: n.db})
	t.Cleanup(n.close)
	return n
}

// close stops the node as a service stops.
func (n *limiter) close() {
	n.stop.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		n.admitter.Stop(ctx)
		_ = n.ledger.Close(ctx) // a test may have taken the database away
		_ = n.member.Leave(ctx) // as before
	})
}

var body = []byte(`{"max_tokens":100,"messages":[{"role":"user","content":"hello"}]}`)

func (n *limiter) call(caller *gateway.Caller) *gateway.Call {
	request, err := message.ParseRequest(body)
	if err != nil {
		n.t.Fatal(err)
	}
	return &gateway.Call{Request: request, Model: "model", Caller: caller, Clock: latency.Start()}
}

// begin admits and reserves.
func (n *limiter) begin(caller *gateway.Caller) (*gateway.Call, error) {
	call := n.call(caller)
	if err := n.admitter.Admit(context.Background(), call); err != nil {
		return nil, err
	}
	if err := n.admitter.Reserve(context.Background(), call); err != nil {
		n.admitter.Release(call, gateway.Result{})
		return nil, err
	}
	return call, nil
}

// end records and releases, as gateway.Serve does.
func (n *limiter) end(call *gateway.Call, output int64) {
	cost := 5 * output
	result := gateway.Result{CostMicroUSD: &cost}
	result.Model, result.Usage.OutputTokens = "model", output
	err := n.ledger.Record(context.Background(), gateway.Entry{
		RequestID: "r", Time: call.Clock.StartTime(), Caller: call.Caller, Result: result, Status: 200, Charged: call.Charged(result),
	})
	if err != nil {
		n.t.Errorf("Record: %v", err)
	}
	n.admitter.Release(call, result)
}

// refused reports a refusal that isn't a limit's, and says whether it is one that
// ends.
func (n *limiter) refused(err error) (passes bool) {
	n.t.Helper()
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.RateLimited && e.Category != apierror.BudgetExceeded {
		n.t.Errorf("refused with %v", err)
		return false
	}
	return e.RetryAfter > 0
}

func cluster3(t *testing.T) (nodes []*limiter, address string) {
	address = pgtest.Database(t)
	for range 3 {
		nodes = append(nodes, newLimiter(t, address))
	}
	return nodes, address
}

func callerWith(change func(*gateway.Caller)) *gateway.Caller {
	c := &gateway.Caller{KeyID: "k", ProjectID: "p"}
	change(c)
	return c
}

// crowd has 64 callers on each node do something until it says that it is over.
func crowd(nodes []*limiter, do func(n *limiter, random *rand.Rand) (goOn bool)) {
	var wg sync.WaitGroup
	for i, n := range nodes {
		for c := range 64 {
			wg.Go(func() {
				random := rand.New(rand.NewPCG(uint64(i), uint64(c)))
				for do(n, random) {
				}
			})
		}
	}
	wg.Wait()
}

// atRest stops the nodes, and says what leases are left.
func atRest(t *testing.T, nodes []*limiter, address string) {
	t.Helper()
	for _, n := range nodes {
		n.close()
	}
	if left := question[string](t, connect(t, address), `SELECT coalesce(string_agg(owner_kind || ' ' || resource || ' ' || granted - given - used, ', '), '') FROM share_leases`); left != "" {
		t.Errorf("leases are left: %s", left)
	}
}

func TestNodesShareRequestsAMinute(t *testing.T) {
	for _, limit := range []int{1, 7, 100} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			nodes, address := cluster3(t)
			caller := callerWith(func(c *gateway.Caller) { c.Key.RequestsPerMinute = limit })
			began := time.Now()
			var admitted atomic.Int64
			most := func() int64 { return int64(limit) + int64(time.Since(began)*time.Duration(limit)/time.Minute) }
			deadline := began.Add(20 * time.Second)
			crowd(nodes, func(n *limiter, _ *rand.Rand) bool {
				call, err := n.begin(caller)
				if err != nil {
					n.refused(err)
					<-time.After(50 * time.Millisecond)
					return admitted.Load() < int64(limit) && time.Now().Before(deadline)
				}
				if got, most := admitted.Add(1), most(); got > most {
					t.Errorf("%d were admitted, at most %d may be", got, most)
				}
				n.end(call, 1)
				return admitted.Load() < int64(limit)
			})
			if got := admitted.Load(); got < int64(limit) {
				t.Errorf("%d were admitted, %d could have been", got, limit)
			}
			t.Logf("all of it used after %v", time.Since(began))
			atRest(t, nodes, address)
		})
	}
}

func TestNodesShareSlots(t *testing.T) {
	const limit = 10
	nodes, address := cluster3(t)
	caller := callerWith(func(c *gateway.Caller) { c.Project.ConcurrentRequests = limit })
	var running, served atomic.Int64
	var full atomic.Bool
	deadline := time.Now().Add(5 * time.Second)
	crowd(nodes, func(n *limiter, random *rand.Rand) bool {
		call, err := n.begin(caller)
		if err != nil {
			n.refused(err)
			<-time.After(20 * time.Millisecond)
			return time.Now().Before(deadline)
		}
		now := running.Add(1)
		if now > limit {
			t.Errorf("%d run at once", now)
		}
		if now == limit {
			full.Store(true)
		}
		<-time.After(time.Duration(random.IntN(20)) * time.Millisecond)
		running.Add(-1)
		n.end(call, 1)
		served.Add(1)
		return time.Now().Before(deadline)
	})
	if !full.Load() || served.Load() < 500 {
		t.Errorf("all slots were used at once: %t; %d calls were served", full.Load(), served.Load())
	}
	t.Logf("%d served", served.Load())
	atRest(t, nodes, address)
}

func TestNodesShareBudgets(t *testing.T) {
	nodes, address := cluster3(t)
	const hard = 3_000_000
	key := budget.Owner{Kind: budget.Key, ID: "k"}
	caller := callerWith(func(c *gateway.Caller) {
		c.Budgets = []budget.Limit{
			{Owner: budget.Owner{Kind: budget.Project, ID: "p"}, Period: budget.Month, Unit: budget.Tokens, Hard: 1 << 40},
			{Owner: key, Period: budget.Total, Unit: budget.USD, Hard: hard, Soft: hard / 2},
		}
	})
	var spent, committed atomic.Int64
	done := make(chan struct{})
	time.AfterFunc(20*time.Second, func() { close(done) })
	crowd(nodes, func(n *limiter, random *rand.Rand) bool {
		select {
		case <-done:
			return false
		default:
		}
		call, err := n.begin(caller)
		if err != nil {
			if !n.refused(err) {
				return false // it is spent
			}
			<-time.After(20 * time.Millisecond)
			return true
		}
		mine := call.Held.MicroUSD
		if now := committed.Add(mine); now > hard {
			t.Errorf("%d are spent or held", now)
		}
		<-time.After(time.Duration(random.IntN(5)) * time.Millisecond)
		output := random.Int64N(call.MaxTokens + 1)
		spent.Add(5 * output)
		committed.Add(5*output - mine)
		n.end(call, output)
		return true
	})
	got, err := nodes[0].db.Spent(t.Context(), key, budget.Total, time.Unix(0, 0).UTC())
	if err != nil || got.MicroUSD != spent.Load() || got.MicroUSD < hard-2*inputBound {
		t.Errorf("spent %d of %d, the ledger has %d, %v", spent.Load(), hard, got.MicroUSD, err)
	}
	for i, n := range nodes {
		select {
		case c := <-n.crossed:
			if c.Spent < hard/2 || c.Limit.Owner != key {
				t.Errorf("node %d told of %+v", i, c)
			}
		default:
			t.Errorf("node %d told of no soft limit", i)
		}
	}
	atRest(t, nodes, address)
}

// fill begins calls until the node has so many, or time is up.
func (n *limiter) fill(caller *gateway.Caller, many int, within time.Duration) (calls []*gateway.Call) {
	n.t.Helper()
	for deadline := time.Now().Add(within); len(calls) < many; {
		call, err := n.begin(caller)
		if err == nil {
			calls = append(calls, call)
			continue
		}
		n.refused(err)
		if time.Now().After(deadline) {
			break
		}
		<-time.After(20 * time.Millisecond)
	}
	return calls
}

// TestWhatIsntUsedIsTheOthers has each of three nodes use the whole of each limit
// after another has.
func TestWhatIsntUsedIsTheOthers(t *testing.T) {
	nodes, address := cluster3(t)
	const slots, tokens = 9, 9 * (inputBound + 100)
	caller := callerWith(func(c *gateway.Caller) {
		c.Key.ConcurrentRequests = slots
		c.Project.RequestsPerMinute = 1 << 40
		c.Budgets = []budget.Limit{{Owner: budget.Owner{Kind: budget.Project, ID: "p"}, Period: budget.Day, Unit: budget.Tokens, Hard: tokens}}
	})
	for round := range 6 {
		n := nodes[round%3]
		calls := n.fill(caller, slots, 5*time.Second)
		if len(calls) != slots {
			t.Errorf("round %d: %d of %d", round, len(calls), slots)
		}
		if _, err := n.begin(caller); err == nil {
			t.Error("one more was admitted")
		}
		for _, call := range calls {
			n.end(call, 0)
		}
	}
	atRest(t, nodes, address)
}

// TestANodeIsCutOff loses the way to the database, with calls that run: the node
// stops using what it had before the others have it, and has what it had in the end.
func TestANodeIsCutOff(t *testing.T) {
	address := pgtest.Database(t)
	swamp, way := newSwamp(t, address)
	lost, other := newLimiter(t, way), newLimiter(t, address)
	caller := callerWith(func(c *gateway.Caller) {
		c.Key.ConcurrentRequests = 10
		c.Budgets = []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "k"}, Period: budget.Total, Unit: budget.Tokens, Hard: 1 << 40}}
	})
	defer close(swamp.cut)
	if calls := lost.fill(caller, 8, 5*time.Second); len(calls) != 8 {
		t.Fatalf("%d calls", len(calls))
	}
	close(swamp.frozen)
	frozen := time.Now()
	// The other gets no more than the rest while the lost one may still use its part.
	had := other.fill(caller, 3, 3*time.Second)
	if len(had) > 2 {
		t.Errorf("%d calls on the other node", len(had))
	}
	fenced := make(chan time.Duration, 1)
	go func() {
		for {
			call, err := lost.begin(callerWith(func(c *gateway.Caller) { c.Key.ConcurrentRequests, c.KeyID = 1000, fmt.Sprint(time.Now()) }))
			if call != nil {
				t.Error("a node that is cut off is lent something")
			}
			var e *apierror.Error
			if errors.As(err, &e) && e.Category == apierror.Overloaded && e.RetryAfter > 0 && !lost.member.Valid() {
				fenced <- time.Since(frozen)
				return
			}
		}
	}()
	got := other.fill(caller, 10-len(had), 20*time.Second)
	passed := time.Since(frozen)
	if len(got)+len(had) != 10 || passed < 8*time.Second || passed > 30*time.Second {
		t.Errorf("the other node got %d after %v", len(got), passed)
	}
	if at := <-fenced; at >= passed {
		t.Errorf("the lost node stopped after %v, when others had its part after %v", at, passed)
	}
	if _, err := other.begin(caller); err == nil {
		t.Error("more than the limit")
	}
	for _, call := range append(had, got...) {
		other.end(call, 1)
	}
}

// TestALimitThatIsLoweredIsKept lowers limits of which everything is leased.
func TestALimitThatIsLoweredIsKept(t *testing.T) {
	nodes, _ := cluster3(t)
	with := func(slots int, tokens int64) *gateway.Caller {
		return callerWith(func(c *gateway.Caller) {
			c.Key.ConcurrentRequests = slots
			c.Budgets = []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "k"}, Period: budget.Total, Unit: budget.Tokens, Hard: tokens}}
		})
	}
	before, after := with(12, 1<<30), with(6, 5_000)
	running := make([][]*gateway.Call, 3)
	for i, n := range nodes {
		running[i] = n.fill(before, 4, 5*time.Second)
	}
	// Each node hears of it with its next call.
	for i, n := range nodes {
		if _, err := n.begin(after); err == nil {
			t.Errorf("node %d admits beyond what the lowered limit allows", i)
		}
	}
	for i, n := range nodes {
		for _, call := range running[i] {
			n.end(call, 0)
		}
	}
	var calls []*gateway.Call
	for _, n := range nodes {
		calls = append(calls, n.fill(after, 6, 2*time.Second)...)
	}
	// The budget holds four: 1,100 for the input and some of the answer.
	if len(calls) != 4 {
		t.Errorf("%d calls", len(calls))
	}
	raised := with(20, 1<<30)
	more := nodes[2].fill(raised, 16, 5*time.Second)
	if len(more) != 16 {
		t.Errorf("%d more after the limits were raised", len(more))
	}
}

// TestNodesShareTokensAMinute takes tokens by an estimate and uses fewer.
func TestNodesShareTokensAMinute(t *testing.T) {
	const limit = 12_000
	nodes, address := cluster3(t)
	caller := callerWith(func(c *gateway.Caller) { c.Key.TokensPerMinute = limit })
	began := time.Now()
	var used atomic.Int64
	deadline := began.Add(6 * time.Second)
	crowd(nodes, func(n *limiter, random *rand.Rand) bool {
		call, err := n.begin(caller)
		if err != nil {
			n.refused(err)
			<-time.After(50 * time.Millisecond)
			return time.Now().Before(deadline)
		}
		output := random.Int64N(50)
		most := int64(limit) + int64(time.Since(began)*limit/time.Minute) + 1
		if got := used.Add(output); got > most {
			t.Errorf("%d were used, at most %d may be", got, most)
		}
		n.end(call, output)
		return time.Now().Before(deadline)
	})
	if least := int64(limit * 9 / 10); used.Load() < least {
		t.Errorf("only %d were used", used.Load())
	}
	t.Logf("%d used, the limit and what came back are %d", used.Load(), int64(limit)+int64(time.Since(began)*limit/time.Minute))
	atRest(t, nodes, address)
}
