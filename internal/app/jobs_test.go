package app

import (
	"context"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/job"
)

// TestJobsAreHandedOn stops a service while a job runs. The one that takes over on the
// same data goes on with it, as soon as the first has stopped.
func TestJobsAreHandedOn(t *testing.T) {
	c := settings(t)
	start := func(work job.Work) *App {
		t.Helper()
		own := *c
		a, err := New(t.Context(), &own, silent())
		if err != nil {
			t.Fatal(err)
		}
		a.jobs.Handle(job.KindBatch, work)
		if err := a.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		return a
	}
	stop := func(a *App) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := a.Stop(ctx); err != nil {
			t.Error(err)
		}
	}
	began := make(chan struct{})
	first := start(func(ctx context.Context, r *job.Run) (jsontext.Value, error) {
		if err := r.Note(ctx, jsontext.Value(`"half"`)); err != nil {
			return nil, err
		}
		close(began)
		<-ctx.Done()
		return nil, context.Cause(ctx)
	})
	j, err := first.jobs.Submit(t.Context(), job.Job{Kind: job.KindBatch, KeyID: "key_1"})
	if err != nil {
		t.Fatal(err)
	}
	<-began
	second := start(func(_ context.Context, r *job.Run) (jsontext.Value, error) { return r.Job().Progress, nil })
	defer stop(second)
	if got, err := second.jobs.Job(t.Context(), "key_1", j.ID); err != nil || got.State != job.Running {
		t.Errorf("the second service reads %+v, %v", got, err)
	}
	stop(first)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for _, err := range second.jobs.Events(ctx, "key_1", j.ID, 0) {
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := second.jobs.Job(t.Context(), "key_1", j.ID)
	if err != nil || got.State != job.Completed || string(got.Result) != `"half"` || got.Attempt != 2 {
		t.Errorf("it ended as %+v, %v", got, err)
	}
}
