package postgres_test

import (
	"log/slog"
	"testing"

	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/postgres"
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
