package main

import (
	"bytes"
	"database/sql"
	"fmt"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	_ "modernc.org/sqlite"
)

// TestKillInLoad kills the service in the middle of load: whatever a caller had
// read to its end is in the ledger, and the next start takes up the same data.
func TestKillInLoad(t *testing.T) {
	const callers, enough = 16, 400
	up := newUpstream(t)
	s := serve(t, up.url, "off")
	var answered sync.Map // request id → whether it was a stream
	var count atomic.Int64
	reached := make(chan struct{})
	var tasks sync.WaitGroup
	for i := range callers {
		tasks.Go(func() {
			for j := 0; ; j++ {
				id := fmt.Sprintf("load.%d.%d", i, j)
				if !s.complete(t, id, (i+j)%2 == 0) {
					return // the service is gone
				}
				answered.Store(id, true)
				if count.Add(1) == enough {
					close(reached)
				}
			}
		})
	}
	select {
	case <-reached:
	case <-within(t).Done():
		t.Fatalf("only %d answers", count.Load())
	}
	s.signal(t, syscall.SIGKILL)
	tasks.Wait()
	s.exit(t)

	path := filepath.Join(s.data, "claude-api.db")
	if got := integrity(t, path); got != "ok" {
		t.Fatalf("integrity_check: %s", got)
	}
	if off := outOfBalance(t, path); off != "" {
		t.Errorf("what was spent isn't what the ledger says: %s", off)
	}
	again := serveOn(t, s.data, up.url, "off")
	recorded := map[string]int{}
	for _, r := range rows(t, again.ledger(t)) {
		recorded[r.RequestID]++
	}
	lost := 0
	for id := range answered.Range {
		switch recorded[id.(string)] {
		case 1:
		case 0:
			lost++
		default:
			t.Errorf("%s is recorded %d times", id, recorded[id.(string)])
		}
	}
	if lost > 0 {
		t.Errorf("of %d whole answers %d aren't in the ledger", count.Load(), lost)
	}
	t.Logf("%d whole answers, %d rows", count.Load(), len(recorded))
	// The keys survived too.
	for _, key := range []string{s.key, again.key} {
		again.key = key
		if a := again.post(t, "/v1/chat/completions", chat("again")); a.status != http.StatusOK {
			t.Errorf("after the crash: %d %s", a.status, a.body)
		}
	}
}

// complete makes one request and says whether its whole answer was read: of a
// stream, up to the mark of its end.
func (s *service) complete(t *testing.T, id string, stream bool) bool {
	body := chat("load")
	if stream {
		body = chat("load [[tokens=5]]", `"stream":true`)
	}
	response, err := s.client.Do(s.request(t.Context(), t, http.MethodPost, "/v1/chat/completions", body, "X-Request-ID", id))
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if stream {
		return bytes.Contains(got, []byte("data: [DONE]"))
	}
	if err == nil && !strings.Contains(string(got), "Echo: load") {
		t.Errorf("answered %d %s", response.StatusCode, got)
	}
	return err == nil
}

func integrity(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var result string
	if err := db.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&result); err != nil {
		t.Fatal(err)
	}
	return result
}

// outOfBalance compares the sums of days with those of the ledger's rows, "" when
// all are equal.
func outOfBalance(t *testing.T, path string) string {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	var off sql.Null[string]
	err = db.QueryRowContext(t.Context(), `
		WITH rows AS (
			SELECT project_id, key_id, answered_model AS model, sum(input_tokens + output_tokens) AS tokens, sum(cost_micro_usd) AS cost
			FROM usage WHERE cost_micro_usd IS NOT NULL GROUP BY 1, 2, 3
		), days AS (
			SELECT project_id, key_id, model, sum(input_tokens + output_tokens) AS tokens, sum(cost_micro_usd) AS cost FROM usage_days GROUP BY 1, 2, 3
		)
		SELECT group_concat(coalesce(rows.key_id, days.key_id) || ': ' || coalesce(rows.tokens, 0) || ' in the ledger, ' || coalesce(days.tokens, 0) || ' by days', '; ')
		FROM rows FULL JOIN days USING (project_id, key_id, model)
		WHERE coalesce(days.tokens, 0) <> coalesce(rows.tokens, 0) OR coalesce(days.cost, 0) <> coalesce(rows.cost, 0)`).Scan(&off)
	if err != nil {
		t.Fatal(err)
	}
	return off.V
}
