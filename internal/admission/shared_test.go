package admission

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// site is one node of a test.
type site struct {
	*Admitter
	member *membership
}

func newSite(c *commons, id string) *site {
	c.join(id)
	member := &membership{id: id}
	return &site{New(Options{Store: nothingSpent{}, Models: priced{}, Shares: c, Member: member}), member}
}

// callWith is a call of a caller with all kinds of limits.
func callWith(t testing.TB, limits gateway.RateLimits, tokens int64) *gateway.Call {
	call := requestOf(t, "k", 100)
	call.Caller.Key = limits
	if tokens > 0 {
		call.Caller.Budgets = []budget.Limit{limitOf(budget.Key, "k", budget.Total, budget.Tokens, tokens)}
	}
	return call
}

// stepsOf draws what happens: numbers below a million, each as likely as another.
func stepsOf(rt *rapid.T) []int {
	random := rand.New(rand.NewPCG(rapid.Uint64().Draw(rt, "seed"), 0))
	steps := make([]int, rapid.IntRange(1, 200).Draw(rt, "steps"))
	for i := range steps {
		steps[i] = random.IntN(1_000_000)
	}
	return steps
}

func retryOf(err error) time.Duration {
	var e *apierror.Error
	if errors.As(err, &e) {
		return e.RetryAfter
	}
	return 0
}

// TestANodeAloneIsAsExactAsOneInMemory does the same with a node that shares its
// limits with nobody and with one that has the database for itself: both admit, refuse and
// tell the same, to the nanosecond.
func TestANodeAloneIsAsExactAsOneInMemory(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := gateway.RateLimits{
			RequestsPerMinute: rapid.IntRange(0, 40).Draw(rt, "requests"), TokensPerMinute: rapid.IntRange(0, 4_000).Draw(rt, "tokens"),
			ConcurrentRequests: rapid.IntRange(0, 5).Draw(rt, "concurrent"),
		}
		hard := rapid.SampledFrom([]int64{0, 6_000, 20_000}).Draw(rt, "budget")
		steps := stepsOf(rt)
		synctest.Test(t, func(t *testing.T) {
			c := newCommons()
			shared := newSite(c, "one")
			defer shared.Stop(t.Context())
			plain := New(Options{Store: nothingSpent{}, Models: priced{}})
			type pair struct{ plain, shared *gateway.Call }
			var running []pair
			for i, step := range steps {
				switch {
				case step%3 == 0 && len(running) > 0:
					at := step / 3 % len(running)
					p := running[at]
					running = append(running[:at], running[at+1:]...)
					tokens := int64(step % 1_200)
					used := used(tokens, 0)
					plain.Release(p.plain, used)
					c.spend("one", []budget.Owner{{Kind: budget.Key, ID: "k"}, {Kind: budget.Project, ID: "p"}}, budget.Amount{Tokens: tokens})
					shared.Release(p.shared, used)
				case step%3 == 1:
					time.Sleep(time.Duration(step) * 3 * time.Microsecond)
				default:
					p := pair{callWith(t, limits, hard), callWith(t, limits, hard)}
					err, sharedErr := begin(plain, p.plain), begin(shared.Admitter, p.shared)
					if fmt.Sprint(err) != fmt.Sprint(sharedErr) || retryOf(err) != retryOf(sharedErr) {
						t.Fatalf("step %d: in memory %v (%v), alone %v (%v)", i, err, retryOf(err), sharedErr, retryOf(sharedErr))
					}
					if p.plain.Limits != p.shared.Limits || p.plain.MaxTokens != p.shared.MaxTokens {
						t.Fatalf("step %d: in memory %+v, max_tokens %d; alone %+v, max_tokens %d", i, p.plain.Limits, p.plain.MaxTokens, p.shared.Limits, p.shared.MaxTokens)
					}
					if err == nil {
						running = append(running, p)
					}
				}
			}
		})
	})
}

// TestNodesNeverPassALimit lets three nodes come and go, die, lose their membership and
// be asked at random: whatever happens, no limit is passed.
func TestNodesNeverPassALimit(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limits := gateway.RateLimits{
			RequestsPerMinute: rapid.IntRange(1, 40).Draw(rt, "requests"), ConcurrentRequests: rapid.IntRange(1, 6).Draw(rt, "concurrent"),
		}
		hard := rapid.Int64Range(2_000, 20_000).Draw(rt, "budget")
		steps := stepsOf(rt)
		synctest.Test(t, func(t *testing.T) {
			c := newCommons()
			var sites []*site
			for i := range 3 {
				sites = append(sites, newSite(c, fmt.Sprint(i)))
			}
			defer func() {
				for _, s := range sites {
					s.Stop(t.Context())
				}
			}()
			type runs struct {
				call *gateway.Call
				held int64
			}
			running := make([][]runs, 3)
			var admitted []time.Time
			var spent, held int64
			next := 3
			for _, step := range steps {
				i := step % 3
				s := sites[i]
				switch action := step / 3 % 10; {
				case action == 0: // it dies, and another one comes in its place
					c.die(s.member.ID())
					s.member.set("dead", true)
					s.Stop(t.Context())
					for _, r := range running[i] {
						held -= r.held
					}
					running[i] = nil
					sites[i] = newSite(c, fmt.Sprint(next))
					next++
				case action == 1 && len(running[i]) == 0: // it was away for too long
					c.die(s.member.ID())
					c.join(fmt.Sprint(next))
					s.member.set(fmt.Sprint(next), false)
					next++
				case action <= 3:
					time.Sleep(time.Duration(step) * 5 * time.Microsecond)
				case action <= 6 && len(running[i]) > 0:
					r := running[i][0]
					running[i] = running[i][1:]
					tokens := int64(step) % (r.held + 1)
					spent, held = spent+tokens, held-r.held
					c.spend(s.member.ID(), []budget.Owner{{Kind: budget.Key, ID: "k"}, {Kind: budget.Project, ID: "p"}}, budget.Amount{Tokens: tokens})
					s.Release(r.call, used(tokens, 0))
				default:
					call := callWith(t, limits, hard)
					err := s.Admit(context.Background(), call)
					if err != nil {
						continue
					}
					now := time.Now()
					admitted = append(admitted, now)
					if err := s.Reserve(context.Background(), call); err != nil {
						s.Release(call, gateway.Result{})
						continue
					}
					running[i] = append(running[i], runs{call, call.Held.Tokens})
					held += call.Held.Tokens
				}
				c.check(t.Errorf)
				n := 0
				for i := range running {
					n += len(running[i])
				}
				if n > limits.ConcurrentRequests {
					t.Fatalf("%d run at once, %d may", n, limits.ConcurrentRequests)
				}
				if spent+held > hard {
					t.Fatalf("%d spent and %d held of %d", spent, held, hard)
				}
				for from := range admitted {
					took := admitted[len(admitted)-1].Sub(admitted[from])
					if got, most := len(admitted)-from, limits.RequestsPerMinute+int(took*time.Duration(limits.RequestsPerMinute)/time.Minute)+1; got > most {
						t.Fatalf("%d admitted within %v, at most %d may be", got, took, most)
					}
				}
			}
		})
	})
}

// TestTokensAMinuteAreNeverPassed has nodes take tokens by an estimate and use fewer, in any
// rhythm, while their parts move from one to another: in no stretch of time is more
// used than the limit and what comes back in it.
func TestTokensAMinuteAreNeverPassed(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		limit := rapid.IntRange(120, 2_000).Draw(rt, "tokens")
		steps := stepsOf(rt)
		synctest.Test(t, func(t *testing.T) {
			c := newCommons()
			var sites []*site
			for i := range 3 {
				sites = append(sites, newSite(c, fmt.Sprint(i)))
				defer sites[i].Stop(t.Context())
			}
			type run struct {
				call *gateway.Call
				at   time.Time
				used int64
			}
			running := make([][]*run, 3)
			var all []*run
			for _, step := range steps {
				i := step % 3
				switch action := step / 3 % 10; {
				case action <= 1:
					time.Sleep(time.Duration(step) * 5 * time.Microsecond)
				case action <= 4 && len(running[i]) > 0:
					at := step / 30 % len(running[i])
					r := running[i][at]
					running[i] = append(running[i][:at], running[i][at+1:]...)
					r.used = int64(step / 30 % 117) // as estimated at most
					sites[i].Release(r.call, used(r.used, 0))
				default:
					r := &run{call: callWith(t, gateway.RateLimits{TokensPerMinute: limit}, 0), at: time.Now()}
					if begin(sites[i].Admitter, r.call) == nil {
						r.at = time.Now()
						running[i], all = append(running[i], r), append(all, r)
					}
				}
				for from := range all {
					var sum int64
					for _, r := range all[from:] {
						sum += r.used
						most := int64(limit) + int64(r.at.Sub(all[from].at)*time.Duration(limit)/time.Minute) + 1
						if sum > most {
							t.Fatalf("%d used within %v, at most %d may be", sum, r.at.Sub(all[from].at), most)
						}
					}
				}
			}
		})
	})
}

// TestAFencedNodeUsesNothing takes the membership of a node that has everything.
func TestAFencedNodeUsesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommons()
		s := newSite(c, "one")
		defer s.Stop(t.Context())
		limits := gateway.RateLimits{RequestsPerMinute: 100}
		if err := s.Admit(t.Context(), callWith(t, limits, 0)); err != nil {
			t.Fatal(err)
		}
		s.member.set("one", true)
		refused(t, s.Admit(t.Context(), callWith(t, limits, 0)), apierror.Overloaded, true)
		if err := s.Admit(t.Context(), callWith(t, gateway.RateLimits{}, 0)); err != nil {
			t.Errorf("a caller without limits: %v", err)
		}
		s.member.set("one", false)
		if err := s.Admit(t.Context(), callWith(t, limits, 0)); err != nil {
			t.Errorf("it is a member again: %v", err)
		}
		// Under another id it has nothing of what it had.
		c.die("one")
		c.join("two")
		s.member.set("two", false)
		call := callWith(t, limits, 0)
		if err := s.Admit(t.Context(), call); err == nil || retryOf(err) != 600*time.Millisecond {
			t.Errorf("what a dead node had counts as used: %v, again in %v", err, retryOf(err))
		}
	})
}

// TestALostAnswerHoldsNothing loses the answer by which a node was lent all that there is:
// the others get it all the same, though nobody asks that node any more.
func TestALostAnswerHoldsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommons()
		one := newSite(c, "one")
		defer one.Stop(t.Context())
		limits := gateway.RateLimits{RequestsPerMinute: 4, ConcurrentRequests: 4}
		c.lose = 1
		refused(t, one.Admit(t.Context(), callWith(t, limits, 0)), apierror.Overloaded, true)
		two := newSite(c, "two")
		defer two.Stop(t.Context())
		time.Sleep(time.Minute)
		for i := range 4 {
			if err := two.Admit(t.Context(), callWith(t, limits, 0)); err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
	})
}

// TestASpentLimitAsksForNothing refuses many calls, and counts what that costs.
func TestASpentLimitAsksForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommons()
		one, two := newSite(c, "one"), newSite(c, "two")
		defer one.Stop(t.Context())
		defer two.Stop(t.Context())
		limits := gateway.RateLimits{ConcurrentRequests: 2}
		for _, s := range []*site{one, two} {
			if err := s.Admit(t.Context(), callWith(t, limits, 0)); err != nil {
				t.Fatal(err)
			}
		}
		before := c.asked()
		for range 10_000 {
			refused(t, one.Admit(t.Context(), callWith(t, limits, 0)), apierror.RateLimited, true)
		}
		if asked := c.asked() - before; asked > 10 {
			t.Errorf("%d exchanges for 10,000 refusals", asked)
		}
	})
}

// TestNobodyIsRefusedWhoCameDuringAnExchange has callers come while one is under way that
// doesn't ask for them.
func TestNobodyIsRefusedWhoCameDuringAnExchange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCommons()
		c.slow = 3 * time.Millisecond
		one, two := newSite(c, "one"), newSite(c, "two")
		defer one.Stop(t.Context())
		defer two.Stop(t.Context())
		var wg sync.WaitGroup
		for i := range 64 {
			wg.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Microsecond)
				if err := begin([]*site{one, two}[i%2].Admitter, callWith(t, gateway.RateLimits{RequestsPerMinute: 64, ConcurrentRequests: 64}, 1<<40)); err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			})
		}
		wg.Wait()
		if asked := c.asked(); asked > 40 {
			t.Errorf("%d exchanges for 64 callers", asked)
		}
	})
}

// BenchmarkSharedAdmission is BenchmarkAdmission on a node whose leases are warm.
func BenchmarkSharedAdmission(b *testing.B) {
	c := newCommons()
	s := newSite(c, "one")
	defer s.Stop(context.Background())
	call := requestOf(b, "k", 100)
	call.Caller.Key = gateway.RateLimits{RequestsPerMinute: 1 << 30, TokensPerMinute: 1 << 40, ConcurrentRequests: 1 << 20}
	call.Caller.Budgets = []budget.Limit{
		limitOf(budget.Key, "k", budget.Month, budget.Tokens, 1<<50), limitOf(budget.Project, "p", budget.Day, budget.USD, 1<<50),
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Admit(context.Background(), call); err != nil {
			b.Fatal(err)
		}
		if err := s.Reserve(context.Background(), call); err != nil {
			b.Fatal(err)
		}
		s.Release(call, gateway.Result{})
	}
}
