package adminapi_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// begin makes a call that runs.
func (s *stand) begin(id string) *gateway.Call {
	call := &gateway.Call{
		RequestID: id, Endpoint: "/v1/messages", Caller: &gateway.Caller{KeyID: s.adminID, ProjectID: "alpha"}, Request: &message.Request{Model: "haiku"},
		Clock: latency.Start(), Backend: gateway.BackendDirect, Model: "claude-haiku-5-5",
	}
	call.Clock.Mark(latency.Auth)
	call.Clock.Mark(latency.Decode)
	s.options.Monitor.Opened(call)
	s.options.Monitor.Routed(call)
	call.Clock.Mark(latency.Admit)
	return call
}

// finish ends it.
func (s *stand) finish(call *gateway.Call) {
	call.Clock.Mark(latency.FirstByte)
	call.Clock.Mark(latency.Generate)
	call.Clock.Finish()
	cost := int64(25)
	s.options.Monitor.Observe(gateway.Entry{
		RequestID: call.RequestID, Time: call.Clock.StartTime(), Endpoint: call.Endpoint, Address: "198.51.100.7", Caller: call.Caller, Backend: call.Backend,
		Requested: call.Asked(), Routed: call.Model, Status: 200, Clock: &call.Clock, Part: call.Part,
		Result: gateway.Result{Summary: message.Summary{Model: call.Model, Usage: message.Usage{InputTokens: 3, OutputTokens: 5, CacheReadInputTokens: 2}}, CostMicroUSD: &cost},
	})
	s.options.Monitor.Closed(call)
}

// get asks by the admin key and decodes the answer.
func get[T any](t *testing.T, s *stand, path string) (value T) {
	t.Helper()
	a := s.ask(t, http.MethodGet, path, "", byKey(s.admin))
	if a.status != http.StatusOK || a.header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s", path, a.status, a.body)
	}
	if err := json.Unmarshal([]byte(a.body), &value); err != nil {
		t.Fatalf("%s: %v in %s", path, err, a.body)
	}
	return value
}

type seenRequest struct {
	ID          string             `json:"id"`
	KeyID       string             `json:"key_id"`
	KeyName     string             `json:"key_name"`
	Status      int                `json:"status"`
	Stage       string             `json:"stage"`
	Stages      map[string]float64 `json:"stages"`
	Elapsed     *float64           `json:"elapsed_ms"`
	Cost        *int64             `json:"cost_micro_usd"`
	CacheRead   int64              `json:"cache_read_input_tokens"`
	FirstToken  *float64           `json:"ttft_ms"`
	ModelRouted string             `json:"model_routed"`
	StartedAt   time.Time          `json:"started_at"`
}

type seenRequests struct {
	Live   []seenRequest `json:"live"`
	Recent []seenRequest `json:"recent"`
}

func TestRequests(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	if a := s.ask(t, http.MethodGet, "/admin/v1/requests", "", byKey(s.admin)); strings.TrimSpace(a.body) != `{"live":[],"recent":[]}` {
		t.Errorf("nothing runs: %s", a.body)
	}
	s.finish(s.begin("req_first"))
	s.finish(s.begin("req_second"))
	running := s.begin("req_live")
	all := get[seenRequests](t, s, "/admin/v1/requests")
	if len(all.Live) != 1 || len(all.Recent) != 2 {
		t.Fatalf("%+v", all)
	}
	live, newest := all.Live[0], all.Recent[0]
	if live.ID != "req_live" || live.Status != 0 || live.Stage != "first_byte" || live.KeyName != "the boss" || live.Cost != nil || live.FirstToken != nil || live.Elapsed == nil {
		t.Errorf("it runs: %+v", live)
	}
	if _, in := live.Stages["first_byte"]; !in || len(live.Stages) != 4 {
		t.Errorf("its stages: %v", live.Stages)
	}
	if newest.ID != "req_second" || newest.Status != 200 || newest.Stage != "" || newest.Cost == nil || *newest.Cost != 25 || newest.CacheRead != 2 ||
		newest.FirstToken == nil || newest.ModelRouted != "claude-haiku-5-5" || newest.Stages["total"] < newest.Stages["admit"] || time.Since(newest.StartedAt) > time.Minute {
		t.Errorf("it has ended: %+v", newest)
	}
	if body := s.ask(t, http.MethodGet, "/admin/v1/requests", "", byKey(s.admin)).body; strings.Contains(body, "198.51.100.7") {
		t.Error("a client's address is told")
	}
	for query, want := range map[string][2]int{"live=true": {1, 0}, "live=false": {0, 2}, "limit=1": {1, 1}, "limit=0": {1, 0}} {
		if got := get[seenRequests](t, s, "/admin/v1/requests?"+query); len(got.Live) != want[0] || len(got.Recent) != want[1] {
			t.Errorf("%s: %d and %d", query, len(got.Live), len(got.Recent))
		}
	}
	for path, param := range map[string]string{
		"requests?live=x": "live", "requests?limit=-1": "limit", "requests?limit=501": "limit", "requests?limit=x": "limit",
		"latency?window=2m": "window", "timeline?minutes=0": "minutes", "timeline?minutes=16": "minutes",
	} {
		if a := s.ask(t, http.MethodGet, "/admin/v1/"+path, "", byKey(s.admin)); a.status != http.StatusBadRequest || a.param(t) != param {
			t.Errorf("%s: %d %s", path, a.status, a.body)
		}
	}
	s.finish(running)
}

func TestLatencyAndTimeline(t *testing.T) {
	s, closing := newStand(t, nil)
	defer closing()
	for range 4 {
		s.finish(s.begin("req"))
	}
	type percentiles struct {
		P50 *float64 `json:"p50_ms"`
		P95 *float64 `json:"p95_ms"`
	}
	for query, seconds := range map[string]float64{"": 300, "?window=1m": 60, "?window=5m": 300, "?window=15m": 900} {
		got := get[struct {
			Window float64 `json:"window_seconds"`
			Series []struct {
				Endpoint string                 `json:"endpoint"`
				Backend  string                 `json:"backend"`
				Model    string                 `json:"model"`
				Count    int64                  `json:"count"`
				Errors   int64                  `json:"errors"`
				P99      *float64               `json:"p99_ms"`
				Max      *float64               `json:"max_ms"`
				First    *float64               `json:"ttft_p95_ms"`
				Stages   map[string]percentiles `json:"stages"`
			} `json:"series"`
		}](t, s, "/admin/v1/latency"+query)
		if got.Window != seconds || len(got.Series) != 1 {
			t.Fatalf("%q: %+v", query, got)
		}
		one := got.Series[0]
		if one.Endpoint != "/v1/messages" || one.Backend != "direct" || one.Model != "claude-haiku-5-5" || one.Count != 4 || one.Errors != 0 ||
			one.P99 == nil || one.Max == nil || *one.P99 > *one.Max || one.First == nil || len(one.Stages) != 5 || one.Stages["admit"].P95 == nil {
			t.Errorf("%q: %+v", query, one)
		}
	}
	timeline := get[struct {
		Step     float64   `json:"step_seconds"`
		Start    time.Time `json:"start"`
		Requests []int64   `json:"requests"`
		Errors   []int64   `json:"errors"`
		Tokens   []int64   `json:"tokens"`
		Cost     []int64   `json:"cost_micro_usd"`
		P50      []float64 `json:"p50_ms"`
		P95      []float64 `json:"p95_ms"`
	}](t, s, "/admin/v1/timeline")
	sum := func(list []int64) (n int64) {
		for _, v := range list {
			n += v
		}
		return n
	}
	if timeline.Step != 5 || len(timeline.P50) != 180 || len(timeline.P95) != 180 || len(timeline.Errors) != 180 || sum(timeline.Requests) != 4 || sum(timeline.Tokens) != 32 ||
		sum(timeline.Cost) != 100 || time.Since(timeline.Start) < 14*time.Minute || time.Since(timeline.Start) > 16*time.Minute {
		t.Errorf("%+v", timeline)
	}
}

func TestOverview(t *testing.T) {
	until := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s, closing := newStand(t, func(o *adminapi.Options) {
		o.State = func() adminapi.State {
			return adminapi.State{
				Version: "1.2.3", Uptime: 7.5, Node: "local", Nodes: []adminapi.Node{{ID: "local", AliveAt: until}}, Status: "degraded", Ready: adminapi.Ready{Reason: "starting"},
				Parts: map[string]adminapi.Service{"cli": {Status: "ok", Detail: "fine"}}, Pool: &adminapi.Pool{Idle: 2, Max: 5},
				Breakers:   []adminapi.Breaker{{Backend: "cli", Family: "haiku", State: adminapi.BreakerOpen, Until: &until}, {Backend: "cli", Family: "opus", State: adminapi.BreakerClosed, Failures: 2}},
				QueuedJobs: 3, RunningJobs: 4, WaitingApprovals: 5,
			}
		}
		o.ResidentBytes = func() int64 { return 77 }
	})
	defer closing()
	s.begin("req")
	part := s.begin("part")
	part.Part = true
	s.options.Monitor.Routed(part)
	body := s.ask(t, http.MethodGet, "/admin/v1/overview", "", byKey(s.admin)).body
	var got map[string]any
	if err := json.Unmarshal([]byte(body), &got); err != nil {
		t.Fatal(err)
	}
	memory, _ := got["memory"].(map[string]any)
	if memory["rss_bytes"] != 77.0 || memory["goroutines"].(float64) < 1 {
		t.Errorf("memory: %v", memory)
	}
	delete(got, "memory")
	rest, err := json.Marshal(got, json.Deterministic(true))
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"breakers":[{"backend":"cli","failures":0,"family":"haiku","state":"open","until":"2030-01-02T03:04:05Z"},{"backend":"cli","failures":2,"family":"opus","state":"closed"}],` +
		`"live":1,"node":"local","nodes":[{"alive_at":"2030-01-02T03:04:05Z","id":"local"}],` +
		`"pool":{"busy":0,"held":0,"idle":2,"max":5,"min":0,"mode":"","parked":0,"queued":0,"reason":"","starting":0},"queued_jobs":3,` +
		`"rates":{"cost_micro_usd_per_minute":0,"error_ratio":0,"errors_per_second":0,"requests_per_second":0,"tokens_per_second":0},` +
		`"ready":{"ready":false,"reason":"starting"},"running_jobs":4,"services":{"cli":{"detail":"fine","status":"ok"}},"status":"degraded","uptime_seconds":7.5,"version":"1.2.3","waiting_approvals":5}`
	if string(rest) != want {
		t.Errorf("got  %s\nwant %s", rest, want)
	}
}

func TestWorkers(t *testing.T) {
	var killed []string
	s, closing := newStand(t, nil)
	defer closing()
	if a := s.ask(t, http.MethodGet, "/admin/v1/workers", "", byKey(s.admin)); strings.TrimSpace(a.body) != `{"max":0,"min":0,"workers":[]}` && strings.TrimSpace(a.body) != `{"workers":[],"max":0,"min":0}` {
		t.Errorf("without a CLI: %s", a.body)
	}
	if a := s.ask(t, http.MethodDelete, "/admin/v1/workers/x", "", byKey(s.admin)); a.status != http.StatusNotFound || a.param(t) != "id" {
		t.Errorf("without a CLI: %d %s", a.status, a.body)
	}
	with := s.options
	with.Workers = func() adminapi.Workers {
		return adminapi.Workers{Max: 5, Min: 2, Workers: []adminapi.Worker{{ID: "worker_1", PID: 42, State: "busy", RequestID: "req_9"}}}
	}
	with.Kill = func(id string) error {
		switch id {
		case "worker_1":
			killed = append(killed, id)
			return nil
		case "worker_2":
			return adminapi.ErrStarting
		}
		return adminapi.ErrNoWorker
	}
	s.mux = http.NewServeMux()
	s.handler.With(with).Register(s.mux)
	all := get[adminapi.Workers](t, s, "/admin/v1/workers")
	if len(all.Workers) != 1 || all.Workers[0].PID != 42 || all.Max != 5 {
		t.Errorf("%+v", all)
	}
	for id, status := range map[string]int{"worker_1": 204, "worker_2": 409, "worker_3": 404} {
		if a := s.ask(t, http.MethodDelete, "/admin/v1/workers/"+id, "", byKey(s.admin)); a.status != status {
			t.Errorf("%s: %d %s", id, a.status, a.body)
		}
	}
	if got := s.audited(t); len(killed) != 1 || !slices.Equal(got, []string{"worker.killed worker_1"}) {
		t.Errorf("killed %q, audited %q", killed, got)
	}
}

func TestReload(t *testing.T) {
	var done adminapi.Reload
	var err error
	s, closing := newStand(t, func(o *adminapi.Options) {
		o.Reload = func(context.Context) (adminapi.Reload, error) { return done, err }
	})
	defer closing()
	reload := func() answer { return s.ask(t, http.MethodPost, "/admin/v1/reload", "", byKey(s.admin)) }
	if a := reload(); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"changed":[],"need_start":[]}` {
		t.Errorf("nothing has changed: %d %s", a.status, a.body)
	}
	done = adminapi.Reload{Changed: []string{"--strict"}, NeedStart: []string{"--listen"}}
	if a := reload(); a.status != http.StatusOK || strings.TrimSpace(a.body) != `{"changed":["--strict"],"need_start":["--listen"]}` {
		t.Errorf("%d %s", a.status, a.body)
	}
	err = errors.New("--model-map: there is no model x")
	if a := reload(); a.status != http.StatusBadRequest || !strings.Contains(a.body, "--model-map") {
		t.Errorf("one that can't be used: %d %s", a.status, a.body)
	}
	err = adminapi.ErrNothingToRead
	if a := reload(); a.status != http.StatusNotImplemented {
		t.Errorf("inside a program: %d %s", a.status, a.body)
	}
	if got := s.audited(t); !slices.Equal(got, []string{"service.reloaded ", "service.reloaded "}) {
		t.Errorf("audited: %q", got)
	}
}
