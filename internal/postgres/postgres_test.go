package postgres_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/storetest"
	"claude-code-api-service/internal/usage"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main(m))
}

// open opens a new database.
func open(t testing.TB) *postgres.DB {
	t.Helper()
	return openURL(t, pgtest.Database(t))
}

// openURL opens a database as one node does.
func openURL(t testing.TB, address string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(context.Background(), postgres.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// connect opens one connection without the package, as another program would.
func connect(t testing.TB, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func execute(t testing.TB, conn *pgx.Conn, statement string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// question asks for one value.
func question[T any](t testing.TB, conn *pgx.Conn, query string, args ...any) T {
	t.Helper()
	var answer T
	if err := conn.QueryRow(context.Background(), query, args...).Scan(&answer); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return answer
}

// eventually waits until a condition of the database holds, of which nothing
// tells.
func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
		<-tick.C
	}
}

func TestKeys(t *testing.T) {
	storetest.TestKeys(t, func(t *testing.T) apikey.Store { return open(t) })
}

func TestAccounts(t *testing.T) {
	storetest.TestAccounts(t, func(t *testing.T) storetest.AccountStore { return open(t) })
}

func TestUsage(t *testing.T) {
	storetest.TestUsage(t, func(t *testing.T) usage.Store { return open(t) })
}

func TestSums(t *testing.T) {
	storetest.TestSums(t, func(t *testing.T) usage.Store { return open(t) })
}

func TestDocuments(t *testing.T) {
	storetest.TestDocuments(t, func(t *testing.T) archive.Store { return open(t) })
}

func TestAudit(t *testing.T) {
	storetest.TestAudit(t, func(t *testing.T) audit.Store { return open(t) })
}

// TestAuditIsAppendOnly tries what another program could do to the table.
func TestAuditIsAppendOnly(t *testing.T) {
	address := pgtest.Database(t)
	db, raw := openURL(t, address), connect(t, address)
	if err := db.AppendAudit(t.Context(), []audit.Event{{Time: time.Unix(1, 0), Action: "key.created", Target: "key_1"}}); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"origin", "replica"} { // a replica fires only the triggers that are always enabled
		execute(t, raw, "SET session_replication_role = "+role)
		for _, change := range []string{
			"UPDATE audit SET target = 'another'",
			"DELETE FROM audit",
			"TRUNCATE audit",
			"INSERT INTO audit OVERRIDING SYSTEM VALUE SELECT * FROM audit ON CONFLICT (id) DO UPDATE SET target = 'another'",
			"MERGE INTO audit USING (VALUES (1)) AS v (x) ON true WHEN MATCHED THEN DELETE",
		} {
			if _, err := raw.Exec(t.Context(), change); err == nil || !strings.Contains(err.Error(), "append-only") {
				t.Errorf("as %s, %s: %v, want a refusal", role, change, err)
			}
		}
	}
	events, err := db.ListAudit(t.Context(), 0, 10, audit.Filter{})
	if err != nil || len(events) != 1 || events[0].Target != "key_1" {
		t.Errorf("the log has %+v, %v", events, err)
	}
}

// TestUnstorableTextsFindNothing asks for what a caller may write into a URL.
func TestUnstorableTextsFindNothing(t *testing.T) {
	db := open(t)
	for _, text := range []string{"a\x00b", "\xff"} {
		if _, err := db.Document(t.Context(), "response", "key_1", text); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("Document(%q) = %v", text, err)
		}
		if err := db.DeleteDocument(t.Context(), "response", "key_1", text); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("DeleteDocument(%q) = %v", text, err)
		}
		if list, err := db.Documents(t.Context(), "response", text); err != nil || len(list) != 0 {
			t.Errorf("Documents(%q) = %v, %v", text, list, err)
		}
		if list, err := db.ListAudit(t.Context(), 0, 10, audit.Filter{Project: text}); err != nil || len(list) != 0 {
			t.Errorf("ListAudit(%q) = %v, %v", text, list, err)
		}
		if list, err := db.ListUsage(t.Context(), 0, 10, usage.Filter{KeyID: text}); err != nil || len(list) != 0 {
			t.Errorf("ListUsage(%q) = %v, %v", text, list, err)
		}
		if list, err := db.SumUsage(t.Context(), usage.Filter{ProjectID: text}); err != nil || len(list) != 0 {
			t.Errorf("SumUsage(%q) = %v, %v", text, list, err)
		}
	}
}

// TestNoRowIsPassedOver holds back a transaction that has the smaller id: whoever
// pages through the ledger waits for it rather than miss it.
func TestNoRowIsPassedOver(t *testing.T) {
	address := pgtest.Database(t)
	one, two, raw, watch := openURL(t, address), openURL(t, address), connect(t, address), connect(t, address)
	execute(t, raw, "BEGIN")
	execute(t, raw, postgres.AppendUsage, postgres.AppendUsageArgs([]usage.Row{{RequestID: "slow"}}, nil)...)
	if err := one.AppendUsage(t.Context(), []usage.Row{{RequestID: "quick"}}, nil); err != nil {
		t.Fatalf("a writer waits for another one: %v", err)
	}
	listed := make(chan []usage.Row)
	go func() {
		rows, err := two.ListUsage(t.Context(), 0, 10, usage.Filter{})
		if err != nil {
			t.Error(err)
		}
		listed <- rows
	}()
	eventually(t, "the reader waits", func() bool {
		return question[bool](t, watch, "SELECT EXISTS (SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted)")
	})
	execute(t, raw, "COMMIT")
	rows := <-listed
	if len(rows) != 2 || rows[0].RequestID != "slow" || rows[1].RequestID != "quick" {
		t.Errorf("listed %+v, want the slow row and the quick one", rows)
	}
}

// TestCancelledQueryEnds leaves while the server works: it ends there too, and the
// connection is of use again.
func TestCancelledQueryEnds(t *testing.T) {
	address := pgtest.Database(t)
	db, raw, watch := openURL(t, address), connect(t, address), connect(t, address)
	execute(t, raw, "BEGIN")
	execute(t, raw, "LOCK TABLE usage_days IN ACCESS EXCLUSIVE MODE")
	ctx, leave := context.WithCancel(t.Context())
	asked := make(chan error)
	go func() {
		_, err := db.SumUsage(ctx, usage.Filter{})
		asked <- err
	}()
	waiting := func() bool {
		return question[bool](t, watch, "SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE application_name = 'claude-api' AND wait_event_type = 'Lock')")
	}
	eventually(t, "the query waits at the server", waiting)
	leave()
	if err := <-asked; !errors.Is(err, context.Canceled) {
		t.Errorf("SumUsage = %v, want context.Canceled", err)
	}
	eventually(t, "the query has ended at the server", func() bool { return !waiting() })
	execute(t, raw, "COMMIT")
	if _, err := db.SumUsage(t.Context(), usage.Filter{}); err != nil {
		t.Error(err)
	}
}
