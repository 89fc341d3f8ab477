package sqlite_test

import (
	"path/filepath"
	"testing"

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
