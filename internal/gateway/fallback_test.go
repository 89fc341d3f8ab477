package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// attempt is what a backend does when it is asked.
type attempt struct {
	err    error
	usage  int64 // output tokens
	cost   int64 // of them; -1: not known
	begins bool  // it writes before it fails
}

// chain is a gateway's rooms whose backends fail as scripted, one after the other.
type chain struct {
	*rooms
	attempts []attempt
	choices  []gateway.Choice // what serves each attempt
	reserved []gateway.Choice
	spent    []int64 // micro-dollars that Reserve hears of
	refuse   int     // the number of the reservation that is refused; 0: none
	asked    int
	warned   []string // what the caller would read when the last backend is asked
}

func (c *chain) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = c.choices[0].Backend, c.choices[0].Model
	return c, nil
}

func (c *chain) Next(call *gateway.Call, failed error) gateway.Backend {
	if !apierror.From(failed).MayPass() || c.asked == len(c.choices) {
		return nil
	}
	call.Backend, call.Model = c.choices[c.asked].Backend, c.choices[c.asked].Model
	return c
}

func (c *chain) Reserve(_ context.Context, call *gateway.Call) error {
	c.reserved = append(c.reserved, gateway.Choice{Backend: call.Backend, Model: call.Model})
	c.spent = append(c.spent, call.Spent.MicroUSD)
	if len(c.reserved) == c.refuse {
		return apierror.New(apierror.RateLimited, "too many tokens")
	}
	return nil
}

func (c *chain) Generate(_ context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	a := c.attempts[c.asked]
	c.asked++
	c.warned = slices.Clone(call.Warnings)
	call.Warn(fmt.Sprintf("of attempt %d", c.asked))
	result := gateway.Result{Summary: message.Summary{Usage: message.Usage{OutputTokens: a.usage}}}
	if a.cost >= 0 && a.usage > 0 {
		result.CostMicroUSD = &a.cost
	}
	if a.err == nil || a.begins {
		if err := out.Message([]byte("{}")); err != nil {
			return result, err
		}
	}
	return result, a.err
}

func TestFallback(t *testing.T) {
	down, bad, silent := apierror.New(apierror.Overloaded, "down"), apierror.New(apierror.BadRequest, "bad"), apierror.New(apierror.Timeout, "silent")
	opus, direct, sonnet := gateway.Choice{Backend: "cli", Model: "opus"}, gateway.Choice{Backend: "direct", Model: "opus"}, gateway.Choice{Backend: "direct", Model: "sonnet"}
	for _, test := range []struct {
		name     string
		attempts []attempt
		refuse   int
		err      error
		answered gateway.Choice
		header   string
		asked    int
		reserved int
		tokens   int64
		cost     int64 // -1: not known
		charged  budget.Amount
	}{
		{name: "not needed", attempts: []attempt{{usage: 3, cost: 30}}, answered: opus, asked: 1, reserved: 1, tokens: 3, cost: 30},
		{name: "another backend", attempts: []attempt{{err: down}, {usage: 3, cost: 30}}, answered: direct, header: "direct", asked: 2, reserved: 2, tokens: 3, cost: 30},
		{
			name: "another model, too", attempts: []attempt{{err: down}, {err: down}, {usage: 3, cost: 30}}, answered: sonnet,
			header: "direct, model=sonnet", asked: 3, reserved: 3, tokens: 3, cost: 30,
		},
		{name: "all fail", attempts: []attempt{{err: down}, {err: down}, {err: down}}, err: down, answered: sonnet, header: "direct, model=sonnet", asked: 3, reserved: 3},
		{name: "the request is at fault", attempts: []attempt{{err: bad}}, err: bad, answered: opus, asked: 1, reserved: 1},
		{name: "it had begun", attempts: []attempt{{err: down, begins: true, usage: 1, cost: 10}}, err: down, answered: opus, asked: 1, reserved: 1, tokens: 1, cost: 10},
		{name: "the other can't serve it", attempts: []attempt{{err: down}, {err: bad}}, err: down, answered: opus, asked: 2, reserved: 2},
		{name: "it can't be paid there", attempts: []attempt{{err: down}}, refuse: 2, err: down, answered: opus, asked: 1, reserved: 2},
		{
			name: "a failure that had a cost", attempts: []attempt{{err: down, usage: 2, cost: 20}, {usage: 3, cost: 30}}, answered: direct, header: "direct",
			asked: 2, reserved: 2, tokens: 5, cost: 50,
		},
		{
			name: "a failure whose cost isn't known", attempts: []attempt{{err: down, usage: 2, cost: -1}, {usage: 3, cost: 30}}, answered: direct, header: "direct",
			asked: 2, reserved: 2, tokens: 5, cost: -1, charged: budget.Amount{MicroUSD: 70 + 30},
		},
		{
			name: "a failure of which nothing is known", attempts: []attempt{{err: silent}, {usage: 3, cost: 30}}, answered: direct, header: "direct",
			asked: 2, reserved: 2, tokens: 3, cost: 30, charged: budget.Amount{Tokens: 7, MicroUSD: 70},
		},
		{
			name: "only the failure had a cost", attempts: []attempt{{err: down, usage: 2, cost: 20}, {err: bad}}, err: down, answered: opus, asked: 2, reserved: 2,
			tokens: 2, cost: 20,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &chain{rooms: &rooms{}, attempts: test.attempts, refuse: test.refuse, choices: []gateway.Choice{opus, direct, sonnet}}
			g := gateway.New(gateway.Options{Authenticator: c, Admitter: c, Router: c, Recorder: c, Observer: c, Fallback: c})
			call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start(), Warnings: []string{"of the request"}, Held: budget.Amount{Tokens: 7, MicroUSD: 70}}
			err := g.Serve(t.Context(), call, c)
			if test.err == nil && err != nil || !errors.Is(err, test.err) || test.err != nil && apierror.From(err) != test.err { //nolint:errorlint // the very one that the caller reads
				t.Errorf("err = %v", err)
			}
			if c.asked != test.asked || len(c.reserved) != test.reserved || call.Fallback() != test.header {
				t.Errorf("asked %d times, reserved %v, header %q", c.asked, c.reserved, call.Fallback())
			}
			if len(c.rows) != 1 || len(c.released) != 1 {
				t.Fatalf("%d rows, released %d times", len(c.rows), len(c.released))
			}
			row := c.rows[0]
			if row.Backend != test.answered.Backend || row.Routed != test.answered.Model || row.Chosen != opus {
				t.Errorf("the ledger has %s, %s, chosen %v", row.Backend, row.Routed, row.Chosen)
			}
			if row.Result.Usage.OutputTokens != test.tokens {
				t.Errorf("the ledger has %d tokens", row.Result.Usage.OutputTokens)
			}
			if cost := row.Result.CostMicroUSD; test.tokens > 0 && (test.cost < 0) != (cost == nil) || cost != nil && *cost != test.cost {
				t.Errorf("the ledger has the cost %v", cost)
			}
			// What isn't known of an attempt is charged beside the row.
			if row.Charged != test.charged {
				t.Errorf("charged %+v, want %+v", row.Charged, test.charged)
			}
			// Each attempt is held beside what the former ones have spent.
			want := map[int64]int64{20: 20, -1: 70}[test.attempts[0].cost]
			if errors.Is(test.attempts[0].err, silent) {
				want = 70
			}
			if test.reserved > 1 && c.spent[1] != want {
				t.Errorf("%d are held as spent", c.spent[1])
			}
			// Nothing that a failed backend couldn't honour is told of the answer.
			if test.err == nil && test.asked > 1 {
				told := strings.Join(call.Warnings, "; ")
				if strings.Contains(told, "attempt 1") || !strings.HasPrefix(told, "of the request") || !strings.Contains(told, fmt.Sprintf("attempt %d", test.asked)) {
					t.Errorf("warnings: %s", told)
				}
				if !slices.ContainsFunc(c.warned, func(w string) bool { return strings.HasPrefix(w, "fallback: ") && strings.Contains(w, test.header) }) {
					t.Errorf("told when it was asked: %q", c.warned)
				}
			}
		})
	}
}

func TestARequestIsWrittenAnewForAnotherModel(t *testing.T) {
	down := apierror.New(apierror.UpstreamError, "down")
	c := &chain{
		rooms: &rooms{}, attempts: []attempt{{err: down}, {err: down}, {}},
		choices: []gateway.Choice{{Backend: "cli", Model: "opus"}, {Backend: "direct", Model: "opus"}, {Backend: "cli", Model: "sonnet"}},
	}
	g := gateway.New(gateway.Options{Authenticator: c, Admitter: c, Router: c, Recorder: c, Observer: c, Fallback: c, Strict: true})
	call := &gateway.Call{Request: &message.Request{}, Clock: latency.Start(), Strict: true}
	var written []string
	call.Rerouted = func() error { written = append(written, call.Model); return nil }
	if err := g.Serve(t.Context(), call, c); err != nil {
		t.Fatal(err) // also of a strict call: its request is honoured
	}
	if !slices.Equal(written, []string{"opus", "sonnet"}) || call.Fallback() != "model=sonnet" {
		t.Errorf("written for %v, fallback %q", written, call.Fallback())
	}
}

func TestNobodyFallsBackForACallerWhoLeft(t *testing.T) {
	ctx, leave := context.WithCancel(t.Context())
	c := &chain{rooms: &rooms{}, attempts: []attempt{{}}, choices: []gateway.Choice{{Backend: "cli", Model: "opus"}, {Backend: "direct", Model: "opus"}}}
	c.attempts[0].err = apierror.New(apierror.ConnectionError, "down")
	g := gateway.New(gateway.Options{Authenticator: c, Admitter: c, Router: leaving{c, leave}, Recorder: c, Observer: c, Fallback: c})
	err := g.Serve(ctx, &gateway.Call{Request: &message.Request{}, Clock: latency.Start()}, c)
	if apierror.From(err).Category != apierror.ClientClosed || c.asked != 1 {
		t.Errorf("asked %d times: %v", c.asked, err)
	}
}

// leaving is a router whose caller leaves while it works.
type leaving struct {
	gateway.Router
	leave context.CancelFunc
}

func (l leaving) Route(call *gateway.Call) (gateway.Backend, error) {
	defer l.leave()
	return l.Router.Route(call)
}
