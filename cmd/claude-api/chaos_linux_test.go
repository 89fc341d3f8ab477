package main

import (
	"flag"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/chaostest"
)

var (
	chaosSeed     = flag.Uint64("chaos-seed", 1, "what TestChaos throws at the service follows from it")
	chaosDuration = flag.Duration("chaos-duration", 15*time.Second, "how long TestChaos does so")
)

const (
	// chaosCallers ask at once: more than the CLI's workers and their queue take.
	chaosCallers = 24
	chaosWorkers = 3
	// chaosPatience is how long a request may take whose caller doesn't leave: beyond
	// it, it hangs. Everything is slow here: a place in the queue behind workers that
	// are stuck for seconds each, and the race detector.
	chaosPatience = 60 * time.Second
	// chaosCalm is how long the service may take, when the load has ended, until
	// nothing of it is left.
	chaosCalm = 20 * time.Second
)

// chaos is one run.
type chaos struct {
	*service
	t     *testing.T
	up    *chaostest.Upstream
	keys  *apikey.Keys
	over  atomic.Bool // the load ends
	start footprint
	// credential is the file with the service's credential for its upstream.
	credential string

	mu        sync.Mutex
	texts     map[chaostest.Who]string // the keys' texts
	ids       map[chaostest.Who]string
	exchanges []*exchange
	nonces    map[string]string // nonce → the name of the plan whose it is
	full      []span            // when the database's disk was full
	health    []time.Duration   // how long each look at /health took
	wrong     []string
}

// span is a part of the run.
type span struct{ from, to time.Time }

func (s span) overlaps(o span) bool { return s.from.Before(o.to) && o.from.Before(s.to) }

// TestChaos has callers of all kinds on all routes while the upstream, the CLI's
// processes, the database's disk and the keys misbehave as the seed says; then it
// looks whether everybody was answered, and nothing was lost or left behind.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a quarter of a minute")
	}
	t.Logf("-chaos-seed=%d -chaos-duration=%v", *chaosSeed, *chaosDuration)
	c := newChaos(t, *chaosSeed)
	c.load(*chaosDuration)
	c.calm()
	c.spendable()
	c.concurrent()
	c.stop()
	c.judge()
	c.report()
}

func newChaos(t *testing.T, seed uint64) *chaos {
	t.Helper()
	up, err := chaostest.NewUpstream(seed)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = up.Close() })
	cli, err := exec.LookPath(fakeCLI)
	if err != nil {
		t.Fatal(err)
	}
	credential := filepath.Join(t.TempDir(), "credential")
	c := &chaos{t: t, up: up, credential: credential, texts: map[chaostest.Who]string{}, ids: map[chaostest.Who]string{}, nonces: map[string]string{}}
	c.rotateCredential(0)
	c.service = serve(t, up.URL(), cli, "ANTHROPIC_API_KEY=", "ANTHROPIC_API_KEY_FILE="+credential, fmt.Sprintf("--max-workers=%d", chaosWorkers),
		"CLAUDE_API_SDK_TIMEOUT_SECONDS=2", "CLAUDE_API_SDK_MAX_RETRIES=1", "CLAUDE_API_SHUTDOWN_TIMEOUT=40",
		"CLAUDE_API_CIRCUIT_BREAKER_RECOVERY_SECONDS=0.2", "CLAUDE_API_QUEUE_TIMEOUT=20",
		"CLAUDE_API_CLAUDE_ENV=GORACE,"+chaostest.ScriptsVariable, chaostest.ScriptsVariable+"="+up.Scripts(), "FOO_SECRET="+plantedSecret)
	c.ready(t)
	c.keys = apikey.NewKeys(apikey.Options{Store: c.ledger(t)})
	for _, who := range []chaostest.Who{chaostest.Steady, chaostest.Poor, chaostest.Rotated} {
		c.newKey(who)
	}
	// The engine of later work begins beside the rest, and is whole when it has chosen a
	// leader: nothing tells of that but that nothing more is started.
	const steady = 3 * time.Second
	most, since := 0, time.Now()
	c.start = c.awaitFootprint("the service has started", func(f footprint) bool {
		if f.goroutines > most {
			most, since = f.goroutines, time.Now()
		}
		return time.Since(since) > steady
	})
	return c
}

// newKey makes the key that requests of a kind bear from now on.
func (c *chaos) newKey(who chaostest.Who) {
	wish := apikey.Create{ProjectID: "chaos", RequestsPerMinute: new(int), ConcurrentRequests: 10 * chaosCallers}
	hard := int64(1_000_000_000)
	if who == chaostest.Poor {
		hard = 2_000
	}
	wish.Budgets = []budget.Limit{{Period: budget.Total, Unit: budget.Tokens, Hard: hard}}
	text, key, err := c.keys.Create(c.t.Context(), wish)
	if err != nil {
		c.t.Error(err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.texts[who], c.ids[who] = text, key.ID
}

func (c *chaos) keyOf(who chaostest.Who) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.texts[who]
}

// load lets everything loose and waits until every request has ended.
func (c *chaos) load(duration time.Duration) {
	c.up.Arm(true)
	var callers, others sync.WaitGroup
	ended := make(chan struct{})
	others.Go(func() { c.watchHealth(ended) })
	others.Go(func() { c.fillDisk(duration) })
	others.Go(func() { c.changeKeys(ended) })
	others.Go(func() { c.reload(ended) })
	for caller := range chaosCallers {
		callers.Go(func() {
			for n := 0; !c.over.Load(); n++ {
				plan := chaostest.NewPlan(*chaosSeed, caller, n)
				c.mu.Lock()
				c.nonces[plan.Nonce] = plan.Name
				c.mu.Unlock()
				made := c.ask(plan)
				c.mu.Lock()
				c.exchanges = append(c.exchanges, made...)
				c.mu.Unlock()
			}
		})
	}
	<-time.After(duration)
	c.over.Store(true)
	callers.Wait()
	close(ended)
	others.Wait()
	c.up.Arm(false)
}

// fail notes what is wrong; the report shows it.
func (c *chaos) fail(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wrong = append(c.wrong, fmt.Sprintf(format, args...))
}

// stop ends the service with a signal while requests run, to which the upstream and
// the CLI do what they do: each must be answered, or told that the service stops.
func (c *chaos) stop() {
	c.up.Arm(true)
	var running, sent sync.WaitGroup
	for caller := chaosCallers; caller < 2*chaosCallers; caller++ {
		plan := chaostest.NewPlan(*chaosSeed, caller, 0)
		if plan.Route == chaostest.Once || plan.Route == chaostest.Async { // they ask again when the service is gone
			plan.Route = chaostest.Chat
		}
		plan.Who = chaostest.Steady
		c.nonces[plan.Nonce] = plan.Name
		sent.Add(1)
		running.Go(func() {
			sent.Done()
			made := c.ask(plan)
			c.mu.Lock()
			defer c.mu.Unlock()
			c.exchanges = append(c.exchanges, made...)
		})
	}
	sent.Wait()
	<-time.After(200 * time.Millisecond) // some are in the middle by then
	c.signal(c.t, syscall.SIGTERM)
	began := time.Now()
	if code := c.exit(c.t); code != 0 {
		c.fail("SIGTERM ended the service with %d:\n%s", code, tail(c.stderr.String(), 4_000))
	}
	c.t.Logf("SIGTERM: ended after %v", time.Since(began).Round(time.Millisecond))
	running.Wait()
	log := c.stderr.String() + c.stdout.String()
	for what, text := range map[string]string{"a panic": "panic:", "a goroutine's trace": "goroutine ", "the upstream's credential": plantedKey, "a variable of the machine": plantedSecret, "a prompt": "nonce-"} {
		if at := strings.Index(log, text); at >= 0 {
			c.fail("%s is in the log: %.2000s", what, log[max(0, at-300):])
		}
	}
	for who, text := range c.texts {
		if strings.Contains(log, text) {
			c.fail("the key of %s is in the log", who)
		}
	}
}

func tail(text string, most int) string { return text[max(0, len(text)-most):] }

// report fails the test for what is wrong, a few of a kind, and shows figures.
func (c *chaos) report() {
	counts := map[string]int{}
	byRoute := map[string]int{}
	var harmed, harmedWhole int
	for _, e := range c.exchanges {
		counts[string(e.verdict)]++
		if e.verdict == gotWhole {
			byRoute[string(e.plan.Route)+" on "+e.plan.Backend]++
		}
		if e.plan.Harmed() {
			harmed++
			if e.verdict == gotWhole {
				harmedWhole++
			}
		}
	}
	c.t.Logf("%d requests: %v; %d of them harmed, %d of these whole all the same; %d calls of the upstream, %d starts of the CLI",
		len(c.exchanges), counts, harmed, harmedWhole, c.up.Calls(), c.up.Processes())
	c.t.Logf("whole answers: %v", byRoute)
	slices.Sort(c.health)
	if n := len(c.health); n > 0 {
		c.t.Logf("/health: %d looks, median %v, p99 %v, worst %v", n, c.health[n/2], c.health[n*99/100], c.health[n-1])
	}
	reasons := map[string]int{}
	for _, e := range c.exchanges {
		if e.verdict == gotRefused {
			reasons[fmt.Sprint(e.status, " ", e.category())]++
			if !e.plan.Harmed() && e.plan.Who == chaostest.Steady && !c.diskWasFull(e.took) {
				reasons["with nothing wrong with it itself: "+e.category()]++
			}
		}
	}
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		c.t.Logf("refused: %5d %s", reasons[reason], reason)
	}
	if len(byRoute) < 8 {
		c.fail("only these were answered: %v", byRoute)
	}
	const most = 25
	for i, text := range c.wrong {
		if i == most {
			c.t.Errorf("and %d more", len(c.wrong)-most)
			break
		}
		c.t.Error(text)
	}
	if c.t.Failed() {
		c.t.Logf("again with: make chaos SEED=%d DURATION=%v", *chaosSeed, *chaosDuration)
	}
}
