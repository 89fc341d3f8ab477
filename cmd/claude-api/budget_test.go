package main

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/usage"
)

// manyCallers is how many ask at once where limits must hold exactly.
const manyCallers = 64

// outcome is what one request came to.
type outcome int

const (
	served outcome = iota
	again          // a limit or the pool is full of requests that run
	usedUp         // a limit is used up
)

// way is one of the routes on which answers are generated.
type way struct {
	path string
	// ask makes one request, and gives what it came to and the cost that the answer
	// told, in millionths of a US dollar; NaN where it tells none.
	ask func(t testing.TB, s *service, backend string) (outcome, float64)
}

// plainWay posts a body. spent is the status of a budget that is used up.
func plainWay(path, body string, spent int, cost func(body string) float64) way {
	return way{path, func(t testing.TB, s *service, backend string) (outcome, float64) {
		a := s.post(t, path, body, "X-Claude-Backend", backend)
		switch {
		case a.status == http.StatusOK && !strings.Contains(a.body, "Echo"):
			t.Errorf("%s: %s", path, a.body)
		case a.status == http.StatusOK:
			return served, cost(a.body)
		case a.status == spent && a.header.Get("X-Should-Retry") == "false", a.status == http.StatusTooManyRequests && a.header.Get("X-Error-Category") == "rate_limited":
			return usedUp, 0
		case a.status != http.StatusTooManyRequests && a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "":
			t.Errorf("%s: %d %v %s", path, a.status, a.header, a.body)
			return usedUp, 0
		}
		return again, 0
	}}
}

func untold(string) float64 { return math.NaN() }

// costAt reads a cost in US dollars at a path of a JSON body.
func costAt(path ...string) func(body string) float64 {
	return func(body string) float64 {
		var value any
		if err := json.Unmarshal([]byte(body), &value); err != nil {
			return math.NaN()
		}
		for _, name := range path {
			object, _ := value.(map[string]any)
			value = object[name]
		}
		cost, ok := value.(float64)
		if !ok {
			return math.NaN()
		}
		return math.Round(cost * 1e6)
	}
}

// ways are all routes, each with a small request.
func ways() []way {
	const few, long = `"max_tokens":40`, "[[tokens=40]]"
	return []way{
		plainWay("/v1/chat/completions", chat("chat "+long, few), 429, costAt("cost")),
		plainWay("/v1/chat/completions", chat("chat "+long, few, `"stream":true`), 429, untold),
		plainWay("/v1/messages", strings.Replace(messagesBody("messages "+long), "1000", "40", 1), 402, untold),
		plainWay("/v1/messages", strings.Replace(messagesBody("messages "+long, `"stream":true`), "1000", "40", 1), 402, untold),
		plainWay("/v1/responses", `{"model":"haiku","max_output_tokens":40,"input":"responses `+long+`"}`, 429, untold),
		plainWay("/v1/process", processBody("process "+long, few), 403, costAt("metadata", "cost_usd")),
		{"/v1/batch", askBatch},
		{"/v1/stream", askStream},
	}
}

func askBatch(t testing.TB, s *service, backend string) (outcome, float64) {
	a := s.post(t, "/v1/batch", `{"prompts":["one"],"model":"haiku","max_tokens":40}`, "X-Claude-Backend", backend)
	result := decode[struct {
		Completed int
		Results   []struct{ Error string }
	}](t, a.body)
	switch {
	case a.status != http.StatusOK || len(result.Results) != 1:
		t.Errorf("/v1/batch: %d %s", a.status, a.body)
		return usedUp, 0
	case result.Completed == 1:
		return served, costAt("total_cost")(a.body)
	case strings.Contains(result.Results[0].Error, "leaves too little"), strings.Contains(result.Results[0].Error, "per minute"):
		return usedUp, 0
	case strings.Contains(result.Results[0].Error, "held"), strings.Contains(result.Results[0].Error, "queue"), strings.Contains(result.Results[0].Error, "concurrent"):
		return again, 0
	}
	t.Errorf("/v1/batch: %s", a.body)
	return usedUp, 0
}

func askStream(t testing.TB, s *service, backend string) (outcome, float64) {
	c := s.socket(t)
	defer func() { _ = c.CloseNow() }()
	c.send(streamChat("stream", `"max_tokens":40`, fmt.Sprintf(`"use_cli":%t`, backend == "cli")))
	m := c.receive()
	for m.Type == "token" {
		m = c.receive()
	}
	switch {
	case m.Type == "done" && m.Cost != nil:
		return served, math.Round(*m.Cost * 1e6)
	case m.Error.Code == "insufficient_quota", m.Error.Code == "budget_exceeded", m.Error.Code == "rate_limit_exceeded", m.Error.Code == "rate_limited":
		return refusedBy(m)
	case m.Type == "error":
		return again, 0
	}
	t.Errorf("/v1/stream: %+v", m)
	return usedUp, 0
}

// refusedBy tells a limit that is held from one that is used up.
func refusedBy(m streamed) (outcome, float64) {
	if strings.Contains(m.Error.Message, "held") || strings.Contains(m.Error.Message, "concurrent") {
		return again, 0
	}
	return usedUp, 0
}

// limited makes a key with these limits, and a service that uses it.
func (s *service) limited(t testing.TB, create apikey.Create) (*service, apikey.Key) {
	t.Helper()
	create.ProjectID = "limited"
	if create.RequestsPerMinute == nil {
		create.RequestsPerMinute = new(int)
	}
	text, key, err := apikey.NewKeys(apikey.Options{Store: s.ledger(t)}).Create(t.Context(), create)
	if err != nil {
		t.Fatal(err)
	}
	with := *s
	with.key = text
	return &with, key
}

// together has many callers use all routes until a limit is used up, and gives how
// many were served and what the answers that tell their cost told, by route.
func together(t *testing.T, s *service, backend string) (requests int64, told map[string]float64) {
	t.Helper()
	routes := ways()
	var mu sync.Mutex
	var count atomic.Int64
	told = map[string]float64{}
	start := make(chan struct{})
	var tasks sync.WaitGroup
	for i := range manyCallers {
		tasks.Go(func() {
			w := routes[i%len(routes)]
			<-start
			for t.Context().Err() == nil && !t.Failed() {
				what, cost := w.ask(t, s, backend)
				switch what {
				case usedUp:
					return
				case again:
					<-time.After(5 * time.Millisecond) // between two tries
				case served:
					count.Add(1)
					mu.Lock()
					told[w.path] += cost
					mu.Unlock()
				}
			}
		})
	}
	close(start)
	tasks.Wait()
	return count.Load(), told
}

// TestBudgetsAreExact has 64 callers on every route spend one budget, on both
// backends: what they spend never passes the limit, all of it can be spent, and
// answers, ledger and sums are equal to the millionth of a dollar.
func TestBudgetsAreExact(t *testing.T) {
	up := newUpstream(t)
	s := serve(t, up.url, clitest.Path(t, install.Version))
	s.ready(t)
	for _, test := range []struct {
		backend string
		limit   budget.Limit
		// most is the most that one request reserves, which can be left at the end.
		most int64
	}{
		{"direct", budget.Limit{Period: budget.Month, Unit: budget.USD, Hard: 2_000}, 250},
		{"direct", budget.Limit{Period: budget.Day, Unit: budget.Tokens, Hard: 6_000}, 1_400},
		{"cli", budget.Limit{Period: budget.Total, Unit: budget.Tokens, Hard: 7_500}, 5_600},
	} {
		t.Run(fmt.Sprint(test.backend, " ", test.limit.Unit), func(t *testing.T) {
			caller, key := s.limited(t, apikey.Create{Budgets: []budget.Limit{test.limit}})
			requests, told := together(t, caller, test.backend)
			db := s.ledger(t)
			spent, rows, byPath := int64(0), int64(0), map[string]float64{}
			cost := int64(0)
			list, err := db.ListUsage(t.Context(), 0, 1_000_000, usage.Filter{KeyID: key.ID})
			if err != nil {
				t.Fatal(err)
			}
			for _, r := range list {
				if r.Usage.Total() == 0 {
					continue
				}
				if r.CostMicroUSD == nil || r.Backend != test.backend {
					t.Fatalf("a row without a price, or of another backend: %+v", r)
				}
				rows++
				cost += *r.CostMicroUSD
				byPath[r.Endpoint] += float64(*r.CostMicroUSD)
				spent += budget.Amount{Tokens: r.Usage.Total(), MicroUSD: *r.CostMicroUSD}.In(test.limit.Unit)
			}
			t.Logf("%d requests spent %d of %d %s", requests, spent, test.limit.Hard, test.limit.Unit)
			if spent > test.limit.Hard || spent <= test.limit.Hard-test.most {
				t.Errorf("%d of %d %s were spent", spent, test.limit.Hard, test.limit.Unit)
			}
			if rows != requests {
				t.Errorf("%d rows for %d answers", rows, requests)
			}
			for path, micros := range told {
				if !math.IsNaN(micros) && micros != byPath[path] {
					t.Errorf("%s: the answers told %v, the ledger %v millionths of a dollar", path, micros, byPath[path])
				}
			}
			owner := budget.Owner{Kind: budget.Key, ID: key.ID}
			kept, err := db.Spent(t.Context(), owner, test.limit.Period, test.limit.Period.Start(time.Now().UTC()))
			if err != nil || kept.In(test.limit.Unit) != spent || kept.MicroUSD != cost {
				t.Errorf("the sums are %+v, %v; the rows' %d, %d millionths of a dollar", kept, err, spent, cost)
			}
			// What is held came back: with more budget the next request is served at once.
			test.limit.Owner, test.limit.Hard = owner, test.limit.Hard+test.most
			if err := apikey.NewKeys(apikey.Options{Store: db}).SetBudget(t.Context(), test.limit); err != nil {
				t.Fatal(err)
			}
			eventually(t, patience, "the raised budget holds", func() bool {
				what, _ := ways()[0].ask(t, caller, test.backend)
				return what == served
			})
		})
	}
}

// TestRatesAreExact has 64 callers ask at once: as many as a minute allows are
// served, whichever routes they take.
func TestRatesAreExact(t *testing.T) {
	const limit = 20
	s := serve(t, newUpstream(t).url, "off")
	caller, key := s.limited(t, apikey.Create{RequestsPerMinute: new(limit)})
	began := time.Now()
	requests, _ := together(t, caller, "direct")
	// One more comes free every three seconds.
	if most := limit + int64(time.Since(began)/(time.Minute/limit)); requests < limit || requests > most {
		t.Errorf("%d requests of %d callers were served, the limit is %d", requests, manyCallers, limit)
	}
	rows, err := s.ledger(t).ListUsage(t.Context(), 0, 1000, usage.Filter{KeyID: key.ID})
	if err != nil || int64(len(rows)) != requests {
		t.Errorf("%d rows, %v; want %d", len(rows), err, requests)
	}
}

// TestConcurrencyIsExact has 64 callers open streams at once: as many as may run at
// a time are served.
func TestConcurrencyIsExact(t *testing.T) {
	const limit = 7
	s := serve(t, newUpstream(t).url, "off")
	caller, _ := s.limited(t, apikey.Create{ConcurrentRequests: limit})
	statuses := make([]int, manyCallers)
	var tasks sync.WaitGroup
	held := make(chan struct{})
	var asked sync.WaitGroup
	asked.Add(manyCallers)
	for i := range manyCallers {
		tasks.Go(func() {
			body := chat("long [[tokens=5000 interval=20ms]]", `"stream":true`)
			response, err := caller.client.Do(caller.request(t.Context(), t, http.MethodPost, "/v1/chat/completions", body))
			if err == nil {
				statuses[i] = response.StatusCode
				defer func() { _ = response.Body.Close() }()
			}
			asked.Done()
			<-held // nobody leaves before all have asked
		})
	}
	asked.Wait()
	close(held)
	tasks.Wait()
	slices.Sort(statuses)
	if running, _ := slices.BinarySearch(statuses, 429); running != limit || statuses[0] != 200 || statuses[manyCallers-1] != 429 {
		t.Errorf("%d of %d callers run at once, the limit is %d: %v", running, manyCallers, limit, statuses)
	}
	// Those that left make room.
	eventually(t, patience, "the place of one who left is free", func() bool {
		return caller.post(t, "/v1/chat/completions", chat("short")).status == http.StatusOK
	})
}
