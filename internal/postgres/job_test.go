package postgres_test

import (
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/storetest"
)

func openJobs(t *testing.T, db *postgres.DB) *postgres.Jobs {
	t.Helper()
	jobs, err := db.OpenJobs(t.Context(), slog.New(slog.DiscardHandler))
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
	storetest.TestJobs(t, func(t *testing.T) job.Store { return openJobs(t, open(t)) })
}

// TestJobsWithFewRights has a user who may make tables in one schema only.
func TestJobsWithFewRights(t *testing.T) {
	address := pgtest.Database(t)
	conn := connect(t, address)
	for _, statement := range []string{
		"CREATE ROLE narrow LOGIN PASSWORD 'narrow'", "CREATE SCHEMA theirs AUTHORIZATION narrow", "ALTER ROLE narrow SET search_path = theirs",
	} {
		execute(t, conn, statement)
	}
	defer execute(t, conn, "DROP ROLE narrow")
	defer execute(t, conn, "DROP OWNED BY narrow")
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword("narrow", "narrow")
	db, err := postgres.Open(t.Context(), postgres.Options{URL: u.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	jobs, err := db.OpenJobs(t.Context(), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = jobs.Close() }()
	_, err = jobs.Submit(t.Context(), job.Job{ID: "task_1", Kind: job.KindTask, KeyID: "key_1", Priority: 2, MaxAttempts: 1})
	_, recoverErr := jobs.Recover(t.Context(), time.Hour)
	if err := errors.Join(err, recoverErr); err != nil {
		t.Error(err)
	}
}

// TestManyNodesOpenJobsAtOnce makes River's tables from several nodes.
func TestManyNodesOpenJobsAtOnce(t *testing.T) {
	address := pgtest.Database(t)
	var wg sync.WaitGroup
	for range 4 {
		db := openURL(t, address)
		wg.Go(func() {
			jobs, err := db.OpenJobs(t.Context(), slog.New(slog.DiscardHandler))
			if err != nil {
				t.Error(err)
				return
			}
			if err := jobs.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// TestNoTicketNoJob breaks the insertion of tickets: the job isn't kept either.
func TestNoTicketNoJob(t *testing.T) {
	address := pgtest.Database(t)
	jobs := openJobs(t, openURL(t, address))
	conn := connect(t, address)
	execute(t, conn, "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$")
	execute(t, conn, "CREATE TRIGGER broken BEFORE INSERT ON claude_api_river.river_job FOR EACH ROW EXECUTE FUNCTION broken()")
	j := job.Job{ID: "task_1", Kind: job.KindTask, KeyID: "key_1", Priority: 2, MaxAttempts: 1}
	if _, err := jobs.Submit(t.Context(), j); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("submitted: %v", err)
	}
	if _, err := jobs.Job(t.Context(), "key_1", "task_1"); !errors.Is(err, job.ErrNotFound) {
		t.Errorf("the job: %v", err)
	}
}

// TestPriorityRises lets a job wait so long that it is as urgent as one of a higher
// priority of the same key, and so comes first.
func TestPriorityRises(t *testing.T) {
	address := pgtest.Database(t)
	jobs := openJobs(t, openURL(t, address))
	for _, j := range []job.Job{{ID: "patient", Priority: job.PriorityLast}, {ID: "urgent", Priority: job.PriorityFirst}} {
		j.Kind, j.KeyID, j.MaxAttempts = job.KindTask, "key_1", 1
		if _, err := jobs.Submit(t.Context(), j); err != nil {
			t.Fatal(err)
		}
	}
	execute(t, connect(t, address), fmt.Sprintf("UPDATE jobs SET created_at = created_at - interval '%d seconds' WHERE id = 'patient'", int(3*job.AgeEvery.Seconds())))
	if j, err := jobs.Claim(t.Context(), job.KindTask, "node", time.Minute); err != nil || j.ID != "patient" {
		t.Errorf("first comes %s, %v", j.ID, err)
	}
}
