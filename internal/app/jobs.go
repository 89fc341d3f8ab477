package app

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/sqlite"
)

// How many jobs that aren't tasks a node runs at once, of each kind. They wait most of
// the time for what they ask of the backends, which have limits of their own.
const (
	processJobs = 32
	batchJobs   = 8
)

// jobsTimeout is how long jobs get, when the service stops, that were told to end and
// haven't: the ledger needs the rest.
const jobsTimeout = 3 * time.Second

// JobStore keeps jobs. It is safe for concurrent use.
type JobStore interface {
	job.Store
	// Close ends its use.
	Close() error
}

// OpenJobs opens the place of jobs that belongs to a Store: the same PostgreSQL database,
// or a file beside the other data. ctx ends the opening only.
func OpenJobs(ctx context.Context, data *config.Data, store Store, log *slog.Logger) (JobStore, error) {
	log = job.Quiet(log)
	if db, ok := store.(*postgres.DB); ok {
		jobs, err := db.OpenJobs(ctx, log)
		if err != nil {
			return nil, fmt.Errorf("--database-url: %w", err)
		}
		return jobs, nil
	}
	jobs, err := sqlite.OpenJobs(ctx, sqlite.JobOptions{Path: filepath.Join(data.DataDir, "tasks.db"), Synchronous: data.Synchronous, Log: log})
	if err != nil {
		return nil, err
	}
	return jobs, nil
}

// makeJobs makes what runs jobs. Who does them says so before Start.
func (a *App) makeJobs(ctx context.Context) error {
	store, err := OpenJobs(ctx, &a.config.Data, a.store.Store, a.log)
	if err != nil {
		return err
	}
	a.later(func(context.Context) error { return store.Close() })
	options := job.Options{
		Store: store, TTL: a.config.TaskTTL.Duration(), Log: a.log,
		Workers: map[job.Kind]int{job.KindTask: a.config.MaxTasks, job.KindProcess: processJobs, job.KindBatch: batchJobs},
	}
	if a.bus != nil {
		options.Bus = a.bus
	}
	watchJobs(a.instruments.Registerer(), &options)
	a.jobs = job.New(options)
	a.later(func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, jobsTimeout)
		defer cancel()
		return a.jobs.Stop(ctx)
	})
	return nil
}
