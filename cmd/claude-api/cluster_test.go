package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/simulator"
)

var clusterDuration = flag.Duration("cluster-duration", 6*time.Second, "how long TestCluster loads the nodes, beside what is waited for")

// Limits of the keys of TestCluster.
const (
	clusterNodes       = 3
	clusterRPM         = 300
	clusterTPM         = 20_000
	clusterConcurrency = 4
	clusterBudget      = 12_000 // tokens, for ever
)

// fleet is some nodes on one database, behind a balancer.
type fleet struct {
	t        *testing.T
	address  string
	env      []string // of the commands
	upstream *gauge
	balancer *balancer
	nodes    map[string]*service
	data     map[string]string
	keys     map[string]string // by name
	caller   *http.Client
	began    time.Time

	phase   atomic.Value // string
	over    atomic.Bool
	mu      sync.Mutex // guards what follows
	whole   map[string]string
	refused map[string]int // by key
	failed  []string
	jobs    []string // the paths of those that were accepted
}

// gauge is the upstream, which knows how many requests of each key run.
type gauge struct {
	*simulator.Simulator
	url  string
	mu   sync.Mutex
	now  map[string]int
	most map[string]int
}

var keyMark = regexp.MustCompile(`key-[a-z]+`)

func newGauge(t *testing.T) *gauge {
	t.Helper()
	g := &gauge{Simulator: simulator.New(simulator.Options{}), now: map[string]int{}, most: map[string]int{}}
	server := httptest.NewServer(g)
	g.url = server.URL
	t.Cleanup(server.Close)
	return g
}

// ServeHTTP implements http.Handler.
func (g *gauge) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	key := string(keyMark.Find(body))
	g.mu.Lock()
	g.now[key]++
	g.most[key] = max(g.most[key], g.now[key])
	g.mu.Unlock()
	defer func() {
		g.mu.Lock()
		g.now[key]--
		g.mu.Unlock()
	}()
	g.Simulator.ServeHTTP(w, r)
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	c := &fleet{
		t: t, address: pgtest.Database(t), upstream: newGauge(t), balancer: newBalancer(t),
		nodes: map[string]*service{}, data: map[string]string{}, keys: map[string]string{},
		caller: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}},
		whole:  map[string]string{}, refused: map[string]int{},
	}
	t.Cleanup(c.caller.CloseIdleConnections)
	c.phase.Store("start")
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(c.address), 0o600); err != nil {
		t.Fatal(err)
	}
	c.env = environment(t, "CLAUDE_API_DATABASE_URL_FILE="+file)
	for n := range clusterNodes {
		name := fmt.Sprint("node", n+1)
		c.data[name] = t.TempDir()
		c.start(name)
	}
	return c
}

// start starts a node, anew or again, and puts it behind the balancer.
func (c *fleet) start(name string) {
	c.t.Helper()
	env := append(slices.Clone(c.env), "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+c.upstream.url, "CLAUDE_API_CLAUDE_PATH=off")
	s := connect(c.t, start(c.t, env, "serve", "--listen=127.0.0.1:0", "--data-dir="+c.data[name], "--drain-delay=1", "--shutdown-timeout=30"))
	s.data, s.env = c.data[name], c.env
	c.nodes[name] = s
	s.ready(c.t)
	c.balancer.add(name, s.url)
}

// key makes a key with limits.
func (c *fleet) key(name string, flags ...string) {
	c.t.Helper()
	args := append([]string{"keys", "create", "--data-dir=" + c.data["node1"], "--project-id=" + name, "-q"}, flags...)
	c.keys[name] = command(c.t, c.env, args...)
}

// send makes one request through the balancer, and gives what came, or why nothing
// whole did.
func (c *fleet) send(ctx context.Context, key, method, path, id, body string) (*answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, c.balancer.URL+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	r.Header.Set("X-Api-Key", c.keys[key])
	r.Header.Set("X-Request-ID", id)
	response, err := c.caller.Do(r)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	return &answer{response.StatusCode, response.Header, response.Trailer, string(text)}, err
}

// load makes requests of a key until it is over.
func (c *fleet) load(key string, caller int) {
	for n := 0; !c.over.Load(); n++ {
		id := fmt.Sprintf("%s.%d.%d", key, caller, n)
		stream := (caller+n)%2 == 0
		body := chat("load key-"+key+" [[delay=5ms tokens=20]]", `"max_tokens":100`)
		if stream {
			body = chat("load key-"+key+" [[delay=5ms tokens=20]]", `"max_tokens":100`, `"stream":true`)
		}
		c.judge(key, id, stream, body)
	}
}

// judge makes a request and notes what became of it.
func (c *fleet) judge(key, id string, stream bool, body string) {
	phase := c.phase.Load().(string)
	a, err := c.send(c.t.Context(), key, http.MethodPost, "/v1/chat/completions", id, body)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case err == nil && a.status == http.StatusOK && (!stream || strings.Contains(a.body, "data: [DONE]")):
		c.whole[id] = key
	case err == nil && key != "free" && (a.status == http.StatusTooManyRequests || a.status == http.StatusForbidden):
		c.refused[key]++
	default:
		c.failed = append(c.failed, fmt.Sprintf("%s to %s: %s: %v %+v", phase, c.phase.Load(), id, err, a))
	}
}

// later asks for an answer later, now and then until it is over.
func (c *fleet) later() {
	for n := 0; !c.over.Load(); n++ {
		id := fmt.Sprint("later.", n)
		path, body := "/v1/process", processBody("later key-later [[delay=300ms]]", `"async_processing":true`)
		if n%5 == 0 {
			path, body = "/v1/batch", `{"model":"haiku","prompts":["a [[delay=200ms]]","b [[delay=200ms]]","c [[delay=200ms]]"],"async_processing":true}`
		}
		phase := c.phase.Load()
		a, err := c.send(c.t.Context(), "free", http.MethodPost, path, id, body)
		c.mu.Lock()
		if err == nil && a.status == http.StatusAccepted {
			c.jobs = append(c.jobs, a.header.Get("Location"))
		} else {
			c.failed = append(c.failed, fmt.Sprintf("%s to %s: %s: %v %+v", phase, c.phase.Load(), id, err, a))
		}
		c.mu.Unlock()
		<-time.After(50 * time.Millisecond) // so many are wanted, and no more
	}
}

// failures takes those of what was asked for up to now.
func (c *fleet) failures() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	failed := c.failed
	c.failed = nil
	return failed
}

// during waits for a share of the whole time.
func (c *fleet) during(share float64) {
	<-time.After(time.Duration(share * float64(*clusterDuration)))
}

// TestCluster loads three nodes on one database behind a balancer. One is killed, and then
// each is stopped and started again, one after the other: what was answered is in the ledger,
// nothing fails but what the killed node was answering, no limit is passed at any moment, and
// everything that was asked for later is done.
func TestCluster(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	c := newFleet(t)
	c.key("free", "--rate-limit=0")
	c.key("rate", fmt.Sprint("--rate-limit=", clusterRPM))
	c.key("tokens", "--rate-limit=0", fmt.Sprint("--tokens-per-minute=", clusterTPM))
	c.key("atonce", "--rate-limit=0", fmt.Sprint("--concurrent-requests=", clusterConcurrency))
	c.key("budget", "--rate-limit=0", fmt.Sprint("--budget-tokens-total=", clusterBudget))
	eventually(t, patience, "all nodes are in service", func() bool { return c.balancer.count() == clusterNodes })
	c.began = time.Now()
	var callers sync.WaitGroup
	for key, n := range map[string]int{"free": 4, "rate": 2, "tokens": 2, "atonce": 8, "budget": 2} {
		for caller := range n {
			callers.Go(func() { c.load(key, caller) })
		}
	}
	callers.Go(c.later)

	c.during(0.2)
	c.allServed("undisturbed")
	c.kill("node1")
	c.during(0.2)
	for _, f := range c.failures() {
		// A request that was in flight there is told by its balancer.
		if !strings.Contains(f, "node1") && !strings.Contains(f, "EOF") {
			t.Errorf("the kill cost more than what was in flight: %s", f)
		}
	}
	c.start("node1")
	eventually(t, patience, "the killed node is back", func() bool { return c.balancer.count() == clusterNodes })
	c.failures()
	for _, name := range slices.Sorted(maps.Keys(c.nodes)) {
		c.during(0.1)
		c.roll(name)
	}
	c.during(0.2)
	c.phase.Store("end")
	c.over.Store(true)
	callers.Wait()
	took := time.Since(c.began)
	c.allServed("a rolling restart")
	c.jobsAreDone()
	c.limitsHeld(took)
	c.ledgerIsTrue()
}

// allServed minds every failure.
func (c *fleet) allServed(what string) {
	c.t.Helper()
	for _, f := range c.failures() {
		c.t.Errorf("%s: %s", what, f)
	}
}

// kill kills a node with what it is answering.
func (c *fleet) kill(name string) {
	c.phase.Store("kill " + name)
	c.nodes[name].signal(c.t, syscall.SIGKILL)
	<-c.nodes[name].ended
	c.phase.Store("killed " + name)
}

// roll stops a node and starts it again.
func (c *fleet) roll(name string) {
	c.t.Helper()
	c.phase.Store("roll " + name)
	s := c.nodes[name]
	s.signal(c.t, syscall.SIGTERM)
	if code := s.exit(c.t); code != 0 {
		c.t.Errorf("%s: exit code %d: %s", name, code, s.stderr.String())
	}
	c.start(name)
	eventually(c.t, patience, name+" is back", func() bool { return c.balancer.count() == clusterNodes })
	c.phase.Store("rolled " + name)
}

// jobsAreDone waits until everything that was accepted is done.
func (c *fleet) jobsAreDone() {
	c.t.Helper()
	for i, path := range c.jobs {
		eventually(c.t, patience, path+" is done", func() bool {
			a, err := c.send(c.t.Context(), "free", http.MethodGet, path, fmt.Sprint("ask.", i), "")
			if err != nil || a.status != http.StatusOK {
				c.t.Fatalf("%s: %v %+v", path, err, a)
			}
			if strings.Contains(a.body, `"status":"failed"`) {
				c.t.Fatalf("%s: %s", path, a.body)
			}
			return strings.Contains(a.body, `"completed_at"`)
		})
	}
	var lost, again, twice int
	c.ask(`SELECT count(*) FROM jobs WHERE state <> $1`, "completed", &lost)
	c.ask(`SELECT count(*) FROM jobs WHERE attempt > 1 AND kind = $1`, "process", &again)
	c.ask(`SELECT count(*) FROM (SELECT FROM usage WHERE endpoint = '/v1/process' AND status = 200 AND request_id LIKE $1
		GROUP BY request_id HAVING count(*) > 1) AS twice`, "later.%", &twice)
	if lost > 0 || twice > again {
		c.t.Errorf("%d jobs aren't completed, %d were answered twice, and %d begun again", lost, twice, again)
	}
	c.t.Logf("%d jobs done, %d begun again, %d answered again", len(c.jobs), again, twice)
}

// limitsHeld holds what was answered against the limits.
func (c *fleet) limitsHeld(took time.Duration) {
	c.t.Helper()
	counts := map[string]int{}
	for _, key := range c.whole {
		counts[key]++
	}
	c.t.Logf("in %v: served %v, refused %v", took.Round(time.Millisecond), counts, c.refused)
	minutes := took.Minutes()
	if most := clusterRPM * (1 + minutes); float64(counts["rate"]) > most+1 {
		c.t.Errorf("%d requests of a key that may have %.0f", counts["rate"], most)
	}
	c.upstream.mu.Lock()
	most := c.upstream.most["key-atonce"]
	c.upstream.mu.Unlock()
	if most > clusterConcurrency {
		c.t.Errorf("%d requests at once of a key that may have %d", most, clusterConcurrency)
	}
	if tokens, most := c.tokens("tokens"), clusterTPM*(1+minutes); float64(tokens) > most {
		c.t.Errorf("%d tokens of a key that may have %.0f", tokens, most)
	}
	if tokens := c.tokens("budget"); tokens > clusterBudget {
		c.t.Errorf("%d tokens of a budget of %d", tokens, clusterBudget)
	}
	for _, key := range []string{"free", "rate", "tokens", "atonce", "budget"} {
		if counts[key] == 0 {
			c.t.Errorf("nothing of %s was served", key)
		}
	}
}

// tokens is what the ledger says of a project.
func (c *fleet) tokens(project string) (tokens int64) {
	c.ask(`SELECT coalesce(sum(input_tokens + output_tokens), 0) FROM usage WHERE project_id = $1`, project, &tokens)
	return tokens
}

func (c *fleet) ask(query, argument string, value any) {
	c.t.Helper()
	conn, err := pgx.Connect(c.t.Context(), c.address)
	if err != nil {
		c.t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(c.t.Context())) }()
	if err := conn.QueryRow(c.t.Context(), query, argument).Scan(value); err != nil {
		c.t.Fatal(err)
	}
}

// ledgerIsTrue holds the ledger against what was answered, and what every node says
// is left of a budget against the ledger.
func (c *fleet) ledgerIsTrue() {
	c.t.Helper()
	counts := recorded(c.t, c.address)
	for id := range c.whole {
		if counts[id] != 1 {
			c.t.Errorf("%s was answered and is in the ledger %d times", id, counts[id])
		}
	}
	if off := outOfBalanceOnPostgres(c.t, c.address); off != "" {
		c.t.Errorf("the days' sums aren't what the ledger says: %s", off)
	}
	left := clusterBudget - c.tokens("budget")
	for name, s := range c.nodes {
		s.key = c.keys["budget"]
		var told int64
		eventually(c.t, patience, fmt.Sprintf("%s tells that %d tokens are left (it told %d)", name, left, told), func() bool {
			a := decode[struct{ Remaining *int64 }](c.t, s.get(c.t, "/v1/usage?period=month").body)
			if a.Remaining != nil {
				told = *a.Remaining
			}
			return a.Remaining != nil && *a.Remaining == left
		})
	}
}
