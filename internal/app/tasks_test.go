package app

import (
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// TestSpentOn reads more than one page of the ledger, in which others have rows too.
func TestSpentOn(t *testing.T) {
	store, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(t.TempDir(), "db")})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = store.Close() }()
	now := time.Now()
	j := job.Job{ID: "task_a", KeyID: "k", ProjectID: "p", Created: now}
	row := func(id string, n int, at time.Time) usage.Row {
		return usage.Row{RequestID: fmt.Sprintf("%s.%d", id, n), Time: at, KeyID: "k", ProjectID: "p", CostMicroUSD: new(int64(3))}
	}
	rows := []usage.Row{row("task_a-1", 0, now.Add(-time.Hour)), row("task_ab-1", 0, now), {RequestID: "task_a-1.x", Time: now, KeyID: "k", ProjectID: "p"}}
	for n := range ledgerPage {
		rows = append(rows, row("task_a-1", n+1, now.Add(time.Second)), row("req_x", n, now))
	}
	if err := store.AppendUsage(t.Context(), append(rows, row("task_a-2", 1, now)), nil); err != nil {
		t.Fatal(err)
	}
	if spent, err := spentOn(t.Context(), store, j); err != nil || spent != 3*(ledgerPage+1) {
		t.Errorf("%d, %v", spent, err)
	}
}
