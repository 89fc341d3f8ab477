package processapi_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/protocol/protocoltest"
	"claude-code-api-service/internal/sqlite"
)

// callers knows the one key of the rooms.
type callers struct{ err error }

func (c callers) Caller(ctx context.Context, _ string) (*gateway.Caller, error) {
	if c.err != nil {
		return nil, c.err
	}
	return (&protocoltest.Rooms{}).Authenticate(ctx, protocoltest.Key, "")
}

// desk is the real engine of jobs in a file, which starts when it is needed.
type desk struct {
	t       testing.TB
	path    string
	options processapi.Options
	handler *processapi.Handler

	mu     sync.Mutex
	engine *job.Engine
	end    func() error
}

func (d *desk) open() *job.Engine {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.engine != nil {
		return d.engine
	}
	store, err := sqlite.OpenJobs(context.Background(), sqlite.JobOptions{Path: d.path, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		d.t.Fatal(err)
	}
	e := job.New(job.Options{Store: store, Workers: map[job.Kind]int{job.KindProcess: 4, job.KindBatch: 2}})
	for kind, work := range processapi.Works(func() *processapi.Handler { return d.handler }) {
		e.Handle(kind, work)
	}
	if err := e.Start(context.Background()); err != nil {
		d.t.Fatal(err)
	}
	d.engine = e
	d.end = sync.OnceValue(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		return errors.Join(e.Stop(ctx), store.Close())
	})
	end := d.end
	d.t.Cleanup(func() {
		if err := end(); err != nil {
			d.t.Error(err)
		}
	})
	return e
}

// close ends the engine; the next use opens another on the same file.
func (d *desk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.end(); err != nil {
		d.t.Error(err)
	}
	d.engine = nil
}

func (d *desk) Submit(ctx context.Context, j job.Job) (job.Job, error) {
	return d.open().Submit(ctx, j)
}

func (d *desk) Job(ctx context.Context, keyID, id string) (job.Job, error) {
	return d.open().Job(ctx, keyID, id)
}

func (d *desk) List(ctx context.Context, keyID string, filter job.Filter) ([]job.Job, error) {
	return d.open().List(ctx, keyID, filter)
}
