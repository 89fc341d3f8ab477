package route_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/retry"
	"claude-code-api-service/internal/route"
)

func TestParseFallbacks(t *testing.T) {
	for _, test := range []struct{ pairs, fault string }{
		{"", ""},
		{"cli:direct,direct:cli", ""},
		{"opus:sonnet,sonnet:haiku", ""},
		{"claude-opus-5-5:sonnet,opus:haiku", ""},
		{"claude-of-tomorrow:opus", ""},
		{"cli:sonnet", "backend"},
		{"sonnet:direct", "backend"},
		{"cli:cli", "another one"},
		{"cli:direct,cli:direct", "only one"},
		{"opus:gpt-9", "must be two models"},
		{"gpt-9:opus", "must be two models"},
		{"opus:sonnet,opus:haiku", "only one other"},
		{"opus:opus", "itself"},
		{"opus:sonnet,sonnet:opus", "itself"},
		{"opus:sonnet,claude-sonnet-5-5:haiku,haiku:opus", "itself"},
	} {
		pairs := strings.Split(test.pairs, ",")
		if test.pairs == "" {
			pairs = nil
		}
		_, err := route.ParseFallbacks(pairs, resolve)
		if (err == nil) != (test.fault == "") || err != nil && !strings.Contains(err.Error(), test.fault) {
			t.Errorf("%s: %v, want %q", test.pairs, err, test.fault)
		}
	}
}

// down is a backend that always fails, and notes what it was asked for.
type down struct {
	name  string
	err   error
	asked *[]string
}

func (d down) Generate(_ context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	*d.asked = append(*d.asked, d.name+" "+strings.TrimSuffix(strings.TrimPrefix(call.Model, "claude-"), "-5-5"))
	if d.err == nil {
		return gateway.Result{}, out.Message([]byte("{}"))
	}
	return gateway.Result{}, d.err
}

// open is a gateway's rooms that let everything through.
type open struct{}

func (open) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	return &gateway.Caller{}, nil
}
func (open) Admit(context.Context, *gateway.Call) error   { return nil }
func (open) Reserve(context.Context, *gateway.Call) error { return nil }
func (open) Release(*gateway.Call, gateway.Result)        {}
func (open) Record(context.Context, gateway.Entry) error  { return nil }
func (open) Observe(gateway.Entry)                        {}
func (open) Event(message.Event) error                    { return nil }
func (open) Flush() error                                 { return nil }
func (open) Message([]byte) error                         { return nil }
func (open) End(gateway.Result) error                     { return nil }
func serve(t *testing.T, r *route.Router, c *gateway.Call) error { //nolint:thelper // it fails nothing
	g := gateway.New(gateway.Options{Authenticator: open{}, Admitter: open{}, Router: r, Recorder: open{}, Observer: open{}, Fallback: r})
	c.Clock = latency.Start()
	return g.Serve(t.Context(), c, open{})
}

func TestWhatServesInstead(t *testing.T) {
	full := apierror.FromUpstream(529, "")
	for _, test := range []struct {
		name, chain, members, prefer, byDefault string
		cli, direct                             error
		suits                                   bool // the CLI, what it is asked for
		asked, header                           string
	}{
		{name: "no chain", cli: full, asked: "cli opus"},
		{name: "another backend", chain: "cli:direct", cli: full, asked: "cli opus, direct opus", header: "direct"},
		{name: "the other way", chain: "direct:cli", byDefault: "direct", direct: full, suits: true, asked: "direct opus, cli opus", header: "cli"},
		{name: "what it can't serve", chain: "direct:cli", byDefault: "direct", direct: full, asked: "direct opus"},
		{name: "both fail", chain: "cli:direct,direct:cli", cli: full, direct: full, suits: true, asked: "cli opus, direct opus", header: "direct"},
		{name: "the caller named it", chain: "cli:direct", prefer: "cli", cli: full, asked: "cli opus"},
		{name: "the request is at fault", chain: "cli:direct,opus:sonnet", cli: apierror.FromUpstream(400, ""), asked: "cli opus"},
		{name: "our credential", chain: "cli:direct,opus:sonnet", cli: apierror.FromUpstream(401, ""), asked: "cli opus"},
		{name: "another model", chain: "opus:sonnet,sonnet:haiku", cli: full, asked: "cli opus, cli sonnet, cli haiku", header: "model=claude-haiku-5-5"},
		{name: "of a named backend", chain: "cli:direct,opus:sonnet", prefer: "cli", cli: full, asked: "cli opus, cli sonnet", header: "model=claude-sonnet-5-5"},
		{
			name: "the backend first, then the model", chain: "cli:direct,opus:sonnet", cli: full, direct: full,
			asked: "cli opus, direct opus, cli sonnet, direct sonnet", header: "direct, model=claude-sonnet-5-5",
		},
		{name: "a model named by its id", chain: "opus:sonnet", members: `"model":"claude-opus-5-5",`, cli: full, asked: "cli opus"},
		{
			name: "one that the chain names so", chain: "claude-opus-5-5:sonnet,sonnet:haiku", members: `"model":"claude-opus-5-5",`, cli: full,
			asked: "cli opus, cli sonnet, cli haiku", header: "model=claude-haiku-5-5",
		},
		{name: "its alias, too", chain: "claude-opus-5-5:sonnet", cli: full, asked: "cli opus, cli sonnet", header: "model=claude-sonnet-5-5"},
		{name: "a count", chain: "cli:direct,direct:cli", members: `count`, direct: full, asked: "direct opus"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var asked []string
			fallbacks, err := route.ParseFallbacks(pairs(test.chain), resolve)
			if err != nil {
				t.Fatal(err)
			}
			r := route.New(route.Options{
				Backends: map[string]gateway.Backend{"cli": down{"cli", test.cli, &asked}, "direct": down{"direct", test.direct, &asked}},
				Resolve:  resolve, Fallbacks: fallbacks, DefaultBackend: test.byDefault,
				Suits: func(name string, _ *gateway.Call) bool { return name == "direct" || test.suits || test.byDefault == "" },
			})
			members := test.members
			if members == "" || members == "count" {
				members = `"model":"opus",`
			}
			c := call(t, members)
			c.Prefer, c.CountOnly = test.prefer, test.members == "count"
			_ = serve(t, r, c)
			if got := strings.Join(asked, ", "); got != test.asked || c.Fallback() != test.header {
				t.Errorf("asked %s; header %q\nwant  %s; %q", got, c.Fallback(), test.asked, test.header)
			}
		})
	}
}

func pairs(chain string) []string {
	if chain == "" {
		return nil
	}
	return strings.Split(chain, ",")
}

// TestAnOpenBreakerIsPassedBy: a request that names no backend goes where it is
// served, and finds out by itself when the other one is back.
func TestAnOpenBreakerIsPassedBy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asked []string
		breakers := route.NewBreakers(route.BreakersOptions{Threshold: 2, Recovery: 30 * time.Second, Logger: slog.New(slog.DiscardHandler)})
		failing := &down{"cli", apierror.FromUpstream(529, ""), &asked}
		r := route.New(route.Options{
			Backends: map[string]gateway.Backend{
				"cli": breakers.Guard("cli", failing), "direct": breakers.Guard("direct", down{"direct", nil, &asked}),
			},
			Resolve: resolve, Breakers: breakers,
		})
		ask := func(prefer, model string) (*gateway.Call, error) {
			c := call(t, `"model":"`+model+`",`)
			c.Prefer = prefer
			err := serve(t, r, c)
			return c, err
		}
		for range 2 {
			if _, err := ask("", "opus"); err == nil {
				t.Fatal("no error")
			}
		}
		if c, err := ask("", "opus"); err != nil || c.Backend != "direct" || c.Fallback() != "" {
			t.Errorf("served by %s, %v", c.Backend, err)
		}
		if _, err := ask("cli", "opus"); !errors.Is(err, route.ErrOpen) {
			t.Errorf("one that insists: %v", err)
		}
		if c, _ := ask("", "haiku"); c.Backend != "cli" {
			t.Errorf("another family goes to %s", c.Backend)
		}
		failing.err = nil
		time.Sleep(30 * time.Second)
		if c, err := ask("", "opus"); err != nil || c.Backend != "cli" {
			t.Errorf("after its recovery: %s, %v", c.Backend, err)
		}
	})
}

// TestTheChoiceIsMadeAgain: two requests see a breaker that would let one through.
func TestTheChoiceIsMadeAgain(t *testing.T) {
	var asked []string
	r := route.New(route.Options{
		Backends: map[string]gateway.Backend{
			"cli":    down{"cli", &apierror.Error{Category: apierror.Overloaded, Cause: route.ErrOpen}, &asked},
			"direct": down{"direct", nil, &asked},
		},
		Resolve: resolve,
	})
	c := call(t, `"model":"opus",`)
	if err := serve(t, r, c); err != nil || c.Fallback() != "direct" {
		t.Errorf("%v, fallback %q", err, c.Fallback())
	}
	for _, prefer := range []string{"", "cli"} {
		r := r
		if prefer == "" {
			r = route.New(route.Options{Backends: map[string]gateway.Backend{"cli": down{"cli", &apierror.Error{Category: apierror.Overloaded, Cause: route.ErrOpen}, &asked}}, Resolve: resolve})
		}
		c := call(t, `"model":"opus",`)
		c.Prefer = prefer
		if err := serve(t, r, c); !errors.Is(err, route.ErrOpen) {
			t.Errorf("%q: %v", prefer, err)
		}
	}
}

// tries is a backend that fails as often as it has errors.
type tries struct {
	errs   []error
	asked  int
	begins bool // it begins to answer
	usage  int64
}

func (b *tries) Generate(_ context.Context, call *gateway.Call, out gateway.EventWriter) (result gateway.Result, err error) {
	b.asked++
	call.Warn("can't be set")
	if b.begins {
		_ = out.Event(message.Event{})
	}
	result.Usage.OutputTokens = b.usage
	if b.asked <= len(b.errs) {
		return result, b.errs[b.asked-1]
	}
	return result, nil
}

func TestRepeat(t *testing.T) {
	full, unreachable := apierror.FromUpstream(529, ""), apierror.New(apierror.ConnectionError, "")
	limited := func(wait time.Duration) []error {
		e := apierror.FromUpstream(429, "")
		e.RetryAfter = wait
		return []error{e}
	}
	for _, test := range []struct {
		name  string
		tries tries
		count bool
		asked int
		fails bool
	}{
		{name: "at once", asked: 1},
		{name: "overloaded", tries: tries{errs: []error{full, unreachable, apierror.FromUpstream(500, "")}}, asked: 4},
		{name: "for long", tries: tries{errs: []error{full, full, full, full, full}}, asked: 5, fails: true},
		{name: "the request is at fault", tries: tries{errs: []error{apierror.FromUpstream(400, "")}}, asked: 1, fails: true},
		{name: "silence", tries: tries{errs: []error{apierror.New(apierror.Timeout, "")}}, asked: 1, fails: true},
		{name: "a full queue", tries: tries{errs: []error{apierror.New(apierror.Overloaded, "")}}, asked: 1, fails: true},
		{name: "a worker that died", tries: tries{errs: []error{apierror.New(apierror.CLIError, "")}}, asked: 1, fails: true},
		{name: "it had begun", tries: tries{errs: []error{full}, begins: true}, asked: 1, fails: true},
		{name: "it has cost something", tries: tries{errs: []error{full}, usage: 7}, asked: 1, fails: true},
		{name: "a limit that ends soon", tries: tries{errs: limited(3 * time.Second)}, asked: 2},
		{name: "a limit that ends in an hour", tries: tries{errs: limited(time.Hour)}, asked: 1, fails: true},
		{name: "a count", tries: tries{errs: []error{full}}, count: true, asked: 1, fails: true},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := route.Repeat(&test.tries, retry.Policy{Retries: 4, Budget: retry.NewBudget()}, slog.New(slog.DiscardHandler))
				c := &gateway.Call{CountOnly: test.count}
				_, err := b.Generate(t.Context(), c, open{})
				if test.tries.asked != test.asked || (err != nil) != test.fails {
					t.Errorf("asked %d times: %v", test.tries.asked, err)
				}
				if len(c.Warnings) != 1 {
					t.Errorf("warnings %q", c.Warnings)
				}
			})
		})
	}
}
