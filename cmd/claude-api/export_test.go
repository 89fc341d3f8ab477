package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// An export reads page by page; nothing is lost or doubled between two.
func TestExportPages(t *testing.T) {
	data, env := t.TempDir(), environment(t)
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: filepath.Join(data, "claude-api.db")})
	if err != nil {
		t.Fatal(err)
	}
	const n = 2*page + 1
	var rows []usage.Row
	var events []audit.Event
	for i := range n {
		rows = append(rows, usage.Row{RequestID: fmt.Sprint(i), Time: time.Now(), KeyID: "key_1", ProjectID: []string{"shop", "bank"}[i%2]})
		events = append(events, audit.Event{Time: time.Now(), Action: "key.created", RequestID: fmt.Sprint(i)})
	}
	if err := db.PutProject(t.Context(), apikey.Project{ID: "bank"}); err != nil {
		t.Fatal(err)
	}
	if err := db.AppendUsage(t.Context(), rows, nil); err != nil {
		t.Fatal(err)
	}
	if err := db.AppendAudit(t.Context(), events); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		args        []string
		first, step int
	}{
		{[]string{"usage", "export"}, 0, 1},
		{[]string{"usage", "export", "--project-id", "bank"}, 1, 2},
		{[]string{"audit", "export"}, 0, 1},
	} {
		want := tt.first
		for line := range strings.Lines(command(t, env, append(tt.args, "--data-dir", data)...)) {
			if !strings.Contains(line, fmt.Sprintf(`"request_id":"%d"`, want)) {
				t.Fatalf("%v: %s where %d should be", tt.args, line, want)
			}
			want += tt.step
		}
		if want < n {
			t.Errorf("%v ends before %d", tt.args, want)
		}
	}
	if list := command(t, env, "audit", "list", "--data-dir", data, "--limit", "3", "-o", "csv"); !strings.HasSuffix(list, fmt.Sprintf(",%d", n-1)) ||
		strings.Count(list, "\n") != 3 {
		t.Errorf("the newest are\n%s", list)
	}
}
