package sqlite_test

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/storetest"
)

func TestAudit(t *testing.T) {
	storetest.TestAudit(t, func(t *testing.T) audit.Store { return open(t, sqlite.Options{}) })
}

// TestAuditIsAppendOnly tries what another program could do to the file.
func TestAuditIsAppendOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := open(t, sqlite.Options{Path: path})
	if err := db.AppendAudit(t.Context(), []audit.Event{{Time: time.Unix(1, 0), Action: "key.created", Target: "key_1"}}); err != nil {
		t.Fatal(err)
	}
	raw := openRaw(t, path)
	for _, change := range []string{
		"UPDATE audit SET target = 'another'",
		"DELETE FROM audit",
		"REPLACE INTO audit (id, time, actor, address, action, target, project_id, detail, request_id) VALUES (1, 0, '', '', '', 'another', '', '', '')",
	} {
		if _, err := raw.ExecContext(t.Context(), change); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v, want a refusal", change, err)
		}
	}
	events, err := db.ListAudit(t.Context(), 0, 10, audit.Filter{})
	if err != nil || len(events) != 1 || events[0].Target != "key_1" {
		t.Errorf("the log has %+v, %v", events, err)
	}
}
