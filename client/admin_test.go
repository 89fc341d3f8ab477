package client_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/client"
	"claude-code-api-service/internal/apikey"
)

// testAdmin looks at a service that has served something, as those who run it do.
func testAdmin(t *testing.T, s *stand) {
	admin := s.as(t, s.key(t, apikey.Create{ProjectID: "ops", Admin: true})).Admin()
	var meta client.Meta
	if _, err := s.Process(within(t), client.ProcessRequest{Model: "haiku", Prompt: "seen by admins"}, client.Into(&meta)); err != nil {
		t.Fatal(err)
	}

	o, err := admin.Overview(within(t))
	if err != nil || o.Status != client.HealthOK || !o.Ready.Ready || o.Uptime <= 0 || o.Pool == nil || o.Pool.Max != 2 || o.Services["direct"].Status != client.HealthOK ||
		o.Memory.Goroutines == 0 || len(o.Breakers) == 0 || o.Breakers[0].State != "closed" {
		t.Errorf("%+v %v", o, err)
	}
	requests, err := admin.Requests(within(t), 500)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(requests.Recent, func(r client.Request) bool { return r.ID == meta.RequestID })
	if i < 0 {
		t.Fatalf("the request isn't among %d", len(requests.Recent))
	}
	if r := requests.Recent[i]; r.Endpoint != "/v1/process" || r.Status != http.StatusOK || r.Backend != meta.Backend || r.ProjectID != "p" || r.ElapsedMS <= 0 ||
		r.Stages["total"] <= 0 || r.OutputTokens == 0 || r.CostMicroUSD == nil || r.TTFTMS == nil || r.ModelAnswered != "claude-haiku-5-5" {
		t.Errorf("%+v", r)
	}
	latency, err := admin.Latency(within(t), 15*time.Minute)
	if err != nil || latency.WindowSeconds != 900 || !slices.ContainsFunc(latency.Series, func(l client.LatencySeries) bool {
		return l.Endpoint == "/v1/process" && l.Count > 0 && l.P95MS >= l.P50MS && l.P50MS > 0 && l.Stages["auth"].P95MS > 0
	}) {
		t.Errorf("%+v %v", latency, err)
	}
	if line, err := admin.Timeline(within(t), 15); err != nil || line.StepSeconds == 0 || line.Start.IsZero() || len(line.Requests) == 0 || len(line.P95MS) != len(line.Requests) {
		t.Errorf("%+v %v", line, err)
	}
	testAdminWorkers(t, admin)
	testAdminTasks(t, s, admin)
	testAdminFollow(t, admin)
	_, err = admin.Reload(within(t)) // this program gives the service its configuration
	refused(t, err, http.StatusNotImplemented, "not_implemented")
	_, err = s.Admin().Overview(within(t))
	refused(t, err, http.StatusForbidden, client.CategoryPermission)
}

func testAdminWorkers(t *testing.T, admin *client.Admin) {
	workers, err := admin.Workers(within(t))
	if err != nil || workers.Max != 2 || len(workers.Workers) == 0 {
		t.Fatalf("%+v %v", workers, err)
	}
	w := workers.Workers[0]
	if w.ID == "" || w.PID == 0 || w.State == "" || w.AgeSeconds <= 0 {
		t.Errorf("%+v", w)
	}
	if err := admin.EndWorker(within(t), w.ID); err != nil {
		t.Error(err)
	}
	refused(t, admin.EndWorker(within(t), "worker_none"), http.StatusNotFound, "not_found")
}

// testAdminTasks follows and ends another key's task.
func testAdminTasks(t *testing.T, s *stand, admin *client.Admin) {
	task, err := s.TaskAsync(within(t), client.TaskRequest{Description: writes, Model: "haiku", Tools: []string{}, Approval: client.ApprovalAsk})
	if err != nil {
		t.Fatal(err)
	}
	var last client.TaskEvent
	for e, err := range admin.TaskEvents(within(t), task.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if last = e; e.Type == client.EventApproval {
			if err := admin.AnswerTask(within(t), task.ID, e.N, client.Answer{Decision: client.Allow}); err != nil {
				t.Error(err)
			}
		}
	}
	if last.Task == nil || last.Task.Status != client.StatusCompleted || len(last.Task.Artifacts) != 1 {
		t.Errorf("%+v", last)
	}
	page, err := admin.Tasks(within(t), client.TaskFilter{Limit: 1})
	if err != nil || len(page.Tasks) != 1 || page.Tasks[0].ID != task.ID || page.Tasks[0].KeyID == "" || page.Tasks[0].ProjectID != "p" {
		t.Errorf("%+v %v", page, err)
	}
	if got, err := admin.Task(within(t), task.ID); err != nil || got.Result != "it is written" {
		t.Errorf("%+v %v", got, err)
	}
	if _, forgotten, err := admin.CancelTask(within(t), task.ID); err != nil || !forgotten {
		t.Errorf("forgotten: %v, %v", forgotten, err)
	}
}

func testAdminFollow(t *testing.T, admin *client.Admin) {
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	var failed error
	for e, err := range admin.Follow(ctx) {
		if err != nil {
			failed = err
			continue
		}
		if e.Type == "overview" {
			var o client.Overview
			if err := json.Unmarshal(e.Data, &o); err != nil || o.Version == "" {
				t.Errorf("%s: %v", e.Data, err)
			}
			cancel()
		}
	}
	if !errors.Is(failed, context.Canceled) {
		t.Errorf("the stream ends with %v", failed)
	}
}
