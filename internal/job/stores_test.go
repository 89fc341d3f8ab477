package job_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/sqlite"
)

func TestMain(m *testing.M) {
	if os.Getenv(childStep) != "" {
		child()
		return
	}
	goleak.VerifyTestMain(pgtest.Main(m))
}

// patience bounds every wait.
const patience = 30 * time.Second

// place is where jobs are kept: a file's path or a database's URL.
type place struct{ file, url string }

// open opens a place as one node does.
func (p place) open(ctx context.Context) (store job.Store, bus job.Bus, closeAll func() error, err error) {
	if p.file != "" {
		jobs, err := sqlite.OpenJobs(ctx, sqlite.JobOptions{Path: p.file})
		if err != nil {
			return nil, nil, nil, err
		}
		return jobs, nil, jobs.Close, nil
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: p.url})
	if err != nil {
		return nil, nil, nil, err
	}
	jobs, err := db.OpenJobs(ctx, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, nil, nil, errors.Join(err, db.Close())
	}
	return jobs, db, func() error { return errors.Join(jobs.Close(), db.Close()) }, nil
}

// another is an empty one of the same kind.
func (p place) another(t *testing.T) place {
	if p.file != "" {
		return place{file: filepath.Join(t.TempDir(), "tasks.db")}
	}
	return place{url: pgtest.Database(t)}
}

// each runs a test with each kind of store.
func each(t *testing.T, test func(t *testing.T, p place)) {
	t.Helper()
	t.Run("SQLite", func(t *testing.T) { test(t, place{file: filepath.Join(t.TempDir(), "tasks.db")}) })
	t.Run("PostgreSQL", func(t *testing.T) { test(t, place{url: pgtest.Database(t)}) })
}

// node is an engine, and how it is stopped.
type node struct {
	*job.Engine
	store job.Store
	stop  func()
}

// engine makes one that isn't started. It is stopped with the test at the latest.
func engine(t testing.TB, p place, options job.Options) *node {
	t.Helper()
	store, bus, closeAll, err := p.open(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	options.Store, options.Bus = store, bus
	n := &node{Engine: job.New(options), store: store}
	stopped := false
	n.stop = func() {
		if stopped {
			return
		}
		stopped = true
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := errors.Join(n.Stop(ctx), closeAll()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}
	t.Cleanup(n.stop)
	return n
}

// start is an engine that does tasks by work, some at once.
func start(t testing.TB, p place, workers int, work job.Work) *node {
	t.Helper()
	n := engine(t, p, job.Options{Workers: map[job.Kind]int{job.KindTask: workers}})
	n.Handle(job.KindTask, work)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return n
}

func task(id string) job.Job {
	return job.Job{ID: id, Kind: job.KindTask, KeyID: "key_1", ProjectID: "alpha", Request: jsontext.Value(`{}`)}
}

func submit(t testing.TB, n *node, j job.Job) job.Job {
	t.Helper()
	j, err := n.Submit(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// ended waits for a job's end, and gives it with its events.
func ended(t testing.TB, n *node, id string) (job.Job, []job.Event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var events []job.Event
	for event, err := range n.Events(ctx, "key_1", id, 0) {
		if err != nil {
			t.Fatalf("job %s: %v", id, err)
		}
		if event.Seq > 0 {
			events = append(events, event)
		}
	}
	j, err := n.Job(ctx, "key_1", id)
	if err != nil {
		t.Fatal(err)
	}
	return j, events
}

// gapless says that events are all from 1 on.
func gapless(t testing.TB, events []job.Event) {
	t.Helper()
	for i, event := range events {
		if event.Seq != int64(i+1) {
			t.Fatalf("event %d has number %d", i+1, event.Seq)
		}
	}
}

func text(s string) job.Event { return job.Event{Type: "text", Data: jsontext.Value(s)} }
