package main

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/postgres/pgtest"
)

// TestKeysPage runs every command of docs/keys.md on both databases, in the order
// of the page, in one shell that ends at the first failure.
func TestKeysPage(t *testing.T) {
	run := func(t *testing.T, variables ...string) {
		t.Helper()
		runPage(t, "keys.md", 9, environment(t, variables...))
	}
	t.Run("SQLite", func(t *testing.T) { run(t) })
	t.Run("PostgreSQL", func(t *testing.T) { run(t, "CLAUDE_API_DATABASE_URL="+pgtest.Database(t)) })
}

func TestExitCodes(t *testing.T) {
	env := environment(t)
	for _, tt := range []struct {
		args string
		want int
	}{
		{"keys list", exitDone},
		{"keys test key_0000000000000000", exitFailed},
		{"keys list --sing", exitUsage},
		{"budgets set --project-id shop --period day --usd much", exitUsage},
	} {
		if got := start(t, env, strings.Fields(tt.args)...).exit(t); got != tt.want {
			t.Errorf("%s: exit code %d, want %d", tt.args, got, tt.want)
		}
	}
}
