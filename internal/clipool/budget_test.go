package clipool_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/simulator"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// till is an upstream that adds up what it has sold: what the usage of each answer
// said that left it, whether the caller was still there or not.
type till struct {
	*httptest.Server
	simulator *simulator.Simulator
	mu        sync.Mutex
	calls     int // that have sold something
	sold      message.Usage
}

func newTill(t *testing.T) *till {
	u := &till{simulator: simulator.New(simulator.Options{})}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		copied := &copying{ResponseWriter: w}
		u.simulator.ServeHTTP(copied, r)
		var answer message.Summary
		for line := range bytes.Lines(copied.body.Bytes()) {
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				kind := message.EventMessageDelta
				if bytes.Contains(data, []byte(`"type":"message_start"`)) {
					kind = message.EventMessageStart
				}
				if err := answer.Observe(message.Event{Type: kind, Data: data}); err != nil {
					t.Error(err)
				}
			}
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		// Some versions look with HEAD whether it is there, and a call that is
		// interrupted before its answer begins has sold nothing.
		if r.Method == http.MethodPost && answer.Usage != (message.Usage{}) {
			u.calls++
		}
		add(&u.sold, answer.Usage)
	}))
	t.Cleanup(u.simulator.Close)
	t.Cleanup(u.Close)
	return u
}

func add(to *message.Usage, u message.Usage) {
	to.InputTokens += u.InputTokens
	to.OutputTokens += u.OutputTokens
	to.CacheReadInputTokens += u.CacheReadInputTokens
	to.CacheCreationInputTokens += u.CacheCreationInputTokens
}

// copying keeps what it writes.
type copying struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (c *copying) Write(b []byte) (int, error) {
	n, err := c.ResponseWriter.Write(b)
	c.body.Write(b[:n])
	return n, err
}
func (c *copying) Unwrap() http.ResponseWriter { return c.ResponseWriter }
func (c *copying) Flush()                      { _ = http.NewResponseController(c.ResponseWriter).Flush() }

// listed gives the admission the list prices.
type listed struct{ *pricing.Catalogue }

func (l listed) ContextWindow(model string) int64 {
	m, _ := l.Find(model)
	return int64(m.ContextWindow)
}

func (l listed) Price(model string, prompt int64, hour bool) (input, output int64, known bool) {
	return l.Dearest(model, time.Now(), prompt, hour)
}

// counter is a whole service but for its HTTP: one key with budgets, the real CLI,
// the real ledger.
type counter struct {
	*gateway.Gateway
	caller *gateway.Caller
	pool   *clipool.Pool
	db     *sqlite.DB
	ledger *usage.Ledger
}

func (c *counter) Authenticate(context.Context, string, string) (*gateway.Caller, error) {
	return c.caller, nil
}

func (c *counter) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = gateway.BackendCLI, call.Request.Model
	return c.pool, nil
}
func (c *counter) Observe(gateway.Entry) {}

func newCounter(t *testing.T, version string, upstream *till, budgets ...budget.Limit) *counter {
	t.Helper()
	catalogue, err := pricing.New(pricing.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c := &counter{caller: &gateway.Caller{KeyID: "k", ProjectID: "p", Budgets: budgets}}
	c.db, err = sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "ledger.db")})
	if err != nil {
		t.Fatal(err)
	}
	c.ledger = usage.NewLedger(usage.Options{Store: c.db})
	t.Cleanup(func() {
		if err := c.ledger.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if err := c.db.Close(); err != nil {
			t.Error(err)
		}
	})
	process := claudecli.Options{Path: clitest.Path(t, version), Root: t.TempDir(), Model: model}
	features, err := claudecli.Probe(t.Context(), process, clitest.NewUpstream(t))
	if err != nil {
		t.Fatal(err)
	}
	process.BaseURL, process.APIKey = upstream.URL, "sk-simulator"
	c.pool = clipool.New(clipool.Options{Workers: 3, Starting: 2, QueuePerWorker: 100, Process: process, Price: catalogue.Cost})
	t.Cleanup(c.pool.Close)
	c.pool.Start(features)
	c.Gateway = gateway.New(gateway.Options{
		Authenticator: c, Router: c, Recorder: c.ledger, Observer: c,
		Admitter: admission.New(admission.Options{Store: c.db, Models: listed{catalogue}}),
	})
	return c
}

func (c *counter) ask(ctx context.Context, t *testing.T, id, body string, out gateway.EventWriter) error {
	t.Helper()
	call, err := c.Open(ctx, id, "/v1/messages", "key", "127.0.0.1")
	if err != nil {
		return err
	}
	if call.Request, err = message.ParseRequest([]byte(body)); err != nil {
		return err
	}
	return c.Serve(ctx, call, out)
}

// TestABudgetHoldsOnTheCLIPath has callers share a budget until it is spent. What
// the ledger adds up is within it, and is what the upstream has sold.
func TestABudgetHoldsOnTheCLIPath(t *testing.T) {
	for _, version := range []string{install.Version, install.OlderVersion} {
		t.Run(version, func(t *testing.T) {
			const tokens, micros = 8_000, 9_000
			upstream := newTill(t)
			c := newCounter(t, version, upstream,
				budget.Limit{Owner: budget.Owner{Kind: budget.Key, ID: "k"}, Period: budget.Total, Unit: budget.Tokens, Hard: tokens},
				budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: "p"}, Period: budget.Day, Unit: budget.USD, Hard: micros},
			)
			var wg sync.WaitGroup
			var answered, held, spentUp atomic.Int64
			for n := range 8 {
				wg.Go(func() {
					for i := range 40 {
						// One in three is cut: the CLI would have the model resume it. It takes so
						// long that a busy machine, too, has told the CLI before its end not to.
						limit, pause := 400, 1
						if (n+i)%3 == 0 {
							limit, pause = 60, 8
						}
						body := fmt.Sprintf(`{"model":%q,"max_tokens":%d,"stream":%t,"messages":[{"role":"user","content":"[[tokens=130 interval=%dms]] %d of %d"}]}`,
							model, limit, i%2 == 0, pause, i, n)
						err := c.ask(t.Context(), t, fmt.Sprint(n, i), body, &collector{})
						e := apierror.From(err)
						switch {
						case err == nil:
							answered.Add(1)
						case e.Category == apierror.BudgetExceeded && e.RetryAfter > 0:
							held.Add(1)
						case e.Category == apierror.BudgetExceeded:
							spentUp.Add(1)
							return
						default:
							t.Errorf("%s: %v", body, err)
							return
						}
					}
				})
			}
			wg.Wait()
			rows, err := c.db.ListUsage(t.Context(), 0, 10_000, usage.Filter{})
			if err != nil {
				t.Fatal(err)
			}
			var used message.Usage
			var cost int64
			for _, row := range rows {
				add(&used, row.Usage)
				if row.Status == http.StatusOK && row.CostMicroUSD == nil {
					t.Errorf("%s has no cost", row.RequestID)
				}
				if row.CostMicroUSD != nil {
					cost += *row.CostMicroUSD
				}
			}
			upstream.mu.Lock()
			defer upstream.mu.Unlock()
			t.Logf("%d answered, %d held, %d spent, used %+v for %d of %d, %d calls", answered.Load(), held.Load(), spentUp.Load(), used, cost, micros, upstream.calls)
			if used.Total() > tokens || cost > micros {
				t.Errorf("%d tokens and %d millionths of a dollar were spent, of %d and %d", used.Total(), cost, tokens, micros)
			}
			if used != upstream.sold || int64(upstream.calls) != answered.Load() {
				t.Errorf("the ledger has %+v, the upstream sold %+v in %d calls for %d answers", used, upstream.sold, upstream.calls, answered.Load())
			}
			if answered.Load() < 8 || held.Load()+spentUp.Load() == 0 {
				t.Errorf("%d were answered, %d found the budget held, %d spent", answered.Load(), held.Load(), spentUp.Load())
			}
		})
	}
}

// TestAnswersThatCallersLeaveAreCounted: of a stream that is broken off the upstream
// has told no end, and the CLI counts what it has read.
func TestAnswersThatCallersLeaveAreCounted(t *testing.T) {
	for _, version := range []string{install.Version, install.OlderVersion} {
		t.Run(version, func(t *testing.T) {
			upstream := newTill(t)
			c := newCounter(t, version, upstream)
			ctx, leave := context.WithCancel(t.Context())
			out := &collector{}
			out.onEvent = func() error {
				if out.events == 100 {
					leave()
				}
				return nil
			}
			err := c.ask(ctx, t, "left", fmt.Sprintf(`{"model":%q,"max_tokens":900,"stream":true,"messages":[{"role":"user","content":"[[tokens=400 interval=2ms]]"}]}`, model), out)
			if e := apierror.From(err); e == nil || e.Category != apierror.ClientClosed {
				t.Errorf("err = %v", err)
			}
			rows, err := c.db.ListUsage(t.Context(), 0, 10, usage.Filter{})
			if err != nil || len(rows) != 1 {
				t.Fatalf("%d rows, %v", len(rows), err)
			}
			if u := rows[0].Usage; u.OutputTokens < 50 || u.Prompt() == 0 || rows[0].CostMicroUSD == nil || *rows[0].CostMicroUSD <= 0 {
				t.Errorf("the ledger has %+v", rows[0])
			}
			if !strings.Contains(out.text.String(), "Echo") {
				t.Errorf("the caller got %s", out.text.String())
			}
		})
	}
}

// TestABudgetBoundsAnswersThatCannotBeLimited, in a mode where max_tokens can't be
// set, and says so.
func TestABudgetBoundsAnswersThatCannotBeLimited(t *testing.T) {
	for _, stream := range []bool{false, true} {
		p := newUnstartedPool(t, nil)
		p.Start(claudecli.Features{Emptying: claudecli.EmptyNever})
		call := newCall(t, "p", fmt.Sprintf(`{"max_tokens":9000,"stream":%t,"messages":[{"role":"user","content":"hello"}]}`, stream))
		call.MaxTokens = 10
		out := &collector{}
		result, err := p.Generate(t.Context(), call, out)
		if err != nil || result.StopReason != message.StopMaxTokens || !strings.Contains(out.text.String(), "pid=") {
			t.Errorf("stream %t: %+v, %v: %s", stream, result.Summary, err, out.text.String())
		}
		if got := strings.Join(call.Warnings, "; "); !strings.Contains(got, "max_tokens can't be set") || !strings.Contains(got, "cut early") {
			t.Errorf("warnings = %s", got)
		}
	}
}
