package sqlite_test

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/riverqueue/river"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/storetest"
)

func openJobs(t *testing.T, options sqlite.JobOptions) *sqlite.Jobs {
	t.Helper()
	if options.Path == "" {
		options.Path = filepath.Join(t.TempDir(), "tasks.db")
	}
	jobs, err := sqlite.OpenJobs(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := jobs.Close(); err != nil {
			t.Error(err)
		}
	})
	return jobs
}

func TestJobs(t *testing.T) {
	storetest.TestJobs(t, func(t *testing.T) job.Store { return openJobs(t, sqlite.JobOptions{}) })
}

// TestJobsFileIsPrivate looks at the file's rights, and those of what belongs to it.
func TestJobsFileIsPrivate(t *testing.T) {
	folder := t.TempDir()
	jobs := openJobs(t, sqlite.JobOptions{Path: filepath.Join(folder, "tasks.db")})
	if _, err := jobs.Submit(t.Context(), job.Job{ID: "task_1", Kind: job.KindTask, KeyID: "key_1", Priority: 2, MaxAttempts: 1}); err != nil {
		t.Fatal(err)
	}
	files, err := os.ReadDir(folder)
	if err != nil || len(files) < 3 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		info, err := file.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", file.Name(), info.Mode(), err)
		}
	}
}

// TestOneProcessHasTheQueue gives it on when the first one stops.
func TestOneProcessHasTheQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	first, second := openJobs(t, sqlite.JobOptions{Path: path}), openJobs(t, sqlite.JobOptions{Path: path})
	config := func(id string) *river.Config {
		workers := river.NewWorkers()
		river.AddWorker(workers, river.WorkFunc(func(context.Context, *river.Job[job.Ticket]) error { return nil }))
		return &river.Config{ID: id, Workers: workers, Queues: map[string]river.QueueConfig{"task": {MaxWorkers: 1}}, Logger: slog.New(slog.DiscardHandler)}
	}
	client, err := first.Client(t.Context(), config("first"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := second.Client(t.Context(), config("second")); !errors.Is(err, job.ErrElsewhere) {
		t.Errorf("the second: %v", err)
	}
	// What the first runs is lost with it, but for what runs in requests.
	for _, id := range []string{"queued", "begun"} {
		j := job.Job{ID: id, Kind: job.KindTask, KeyID: "key_1", Priority: 2, MaxAttempts: 2, Node: "first", Attempt: 1}
		if id == "begun" {
			_, err = first.Begin(t.Context(), j, time.Hour)
		} else if _, err = first.Submit(t.Context(), j); err == nil {
			_, err = first.Claim(t.Context(), job.KindTask, "first", time.Hour)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := client.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	client, err = second.Client(t.Context(), config("second"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Stop(t.Context()); err != nil {
			t.Error(err)
		}
	}()
	if jobs, err := second.Recover(t.Context(), time.Hour); err != nil || len(jobs) != 1 || jobs[0].ID != "queued" || jobs[0].State != job.Queued {
		t.Errorf("recovered %+v, %v", jobs, err)
	}
}

// TestFullDisk has no room for another job, and says so. When there is room again, those
// that are there go on.
func TestFullDisk(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	jobs := openJobs(t, sqlite.JobOptions{Path: path, MaxPages: 200})
	e := job.New(job.Options{Store: jobs})
	large := job.Job{Kind: job.KindTask, KeyID: "key_1", Request: jsontext.Value(`"` + strings.Repeat("x", 50_000) + `"`)}
	var kept []job.Job
	var err error
	for err == nil {
		var j job.Job
		if j, err = e.Submit(t.Context(), large); err == nil {
			kept = append(kept, j)
		}
	}
	var told *apierror.Error
	if !errors.As(err, &told) || told.Category != apierror.Overloaded || told.RetryAfter == 0 || strings.Contains(told.Message, path) {
		t.Errorf("a full disk is %v", err)
	}
	list, err := e.List(t.Context(), "key_1", job.Filter{})
	if err != nil || len(list) != len(kept) || len(kept) == 0 {
		t.Errorf("%d are listed of %d, %v", len(list), len(kept), err)
	}
	jobs = openJobs(t, sqlite.JobOptions{Path: path})
	j, err := jobs.Claim(t.Context(), job.KindTask, "node", time.Minute)
	if err != nil || j.ID != kept[0].ID {
		t.Fatalf("%s, %v", j.ID, err)
	}
	if err := jobs.Finish(t.Context(), job.Hold{ID: j.ID, Node: "node", Attempt: 1}, job.End{State: job.Completed}); err != nil {
		t.Error(err)
	}
}

// TestNoTicketNoJob breaks the insertion of tickets: the job isn't kept either.
func TestNoTicketNoJob(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	jobs := openJobs(t, sqlite.JobOptions{Path: path})
	raw := openRaw(t, path)
	if _, err := raw.ExecContext(t.Context(), `CREATE TRIGGER broken BEFORE INSERT ON river_job BEGIN SELECT raise(ABORT, 'broken'); END`); err != nil {
		t.Fatal(err)
	}
	j := job.Job{ID: "task_1", Kind: job.KindTask, KeyID: "key_1", Priority: 2, MaxAttempts: 1}
	if _, err := jobs.Submit(t.Context(), j); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("submitted: %v", err)
	}
	if _, err := jobs.Job(t.Context(), "key_1", "task_1"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the job: %v", err)
	}
}

// TestPriorityRises lets a job wait so long that it comes before one of a higher
// priority of the same key.
func TestPriorityRises(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	jobs := openJobs(t, sqlite.JobOptions{Path: path})
	for id, priority := range map[string]int{"patient": job.PriorityLast, "urgent": job.PriorityFirst} {
		if _, err := jobs.Submit(t.Context(), job.Job{ID: id, Kind: job.KindTask, KeyID: "key_1", Priority: priority, MaxAttempts: 1}); err != nil {
			t.Fatal(err)
		}
	}
	raw := openRaw(t, path)
	if _, err := raw.ExecContext(t.Context(), `UPDATE jobs SET created_at = created_at - ?, seq = 0 WHERE id = 'patient'`, (3 * job.AgeEvery).Microseconds()); err != nil {
		t.Fatal(err)
	}
	if j, err := jobs.Claim(t.Context(), job.KindTask, "node", time.Minute); err != nil || j.ID != "patient" {
		t.Errorf("first comes %s, %v", j.ID, err)
	}
}

// TestManyProcessesOpenJobsAtOnce makes a new file from several processes.
func TestManyProcessesOpenJobsAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tasks.db")
	var wg sync.WaitGroup
	for range 4 {
		cmd := childProcess(t, "open jobs", path)
		wg.Go(func() {
			if err := cmd.Run(); err != nil {
				t.Errorf("a process couldn't open the file: %v", err)
			}
		})
	}
	wg.Wait()
	openJobs(t, sqlite.JobOptions{Path: path})
}
