package postgres_test

import (
	"errors"
	"testing"
	"time"

	"claude-code-api-service/internal/cluster"
	"claude-code-api-service/internal/postgres/pgtest"
)

func TestNodes(t *testing.T) {
	address := pgtest.Database(t)
	db, raw := openURL(t, address), connect(t, address)
	ctx := t.Context()
	living := func() string {
		return question[string](t, raw, `SELECT coalesce(string_agg(id, ' ' ORDER BY id), '') FROM nodes`)
	}
	if err := errors.Join(db.JoinNode(ctx, "one", time.Hour), db.JoinNode(ctx, "two", time.Hour), db.JoinNode(ctx, "three", time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := db.RenewNode(ctx, "one", time.Hour); err != nil || living() != "one three two" {
		t.Errorf("RenewNode = %v; there are %s", err, living())
	}
	if err := errors.Join(db.LeaveNode(ctx, "two"), db.LeaveNode(ctx, "two")); err != nil || living() != "one three" {
		t.Errorf("LeaveNode = %v; there are %s", err, living())
	}
	for _, gone := range []string{"two", "never"} {
		if err := db.RenewNode(ctx, gone, time.Hour); !errors.Is(err, cluster.ErrGone) {
			t.Errorf("RenewNode(%s) = %v, want ErrGone", gone, err)
		}
	}
	// Its time is over: it can't renew any more, and the next to renew removes it.
	execute(t, raw, `UPDATE nodes SET expires_at = clock_timestamp() WHERE id = 'three'`)
	if err := db.RenewNode(ctx, "three", time.Hour); !errors.Is(err, cluster.ErrGone) {
		t.Errorf("RenewNode after its time = %v, want ErrGone", err)
	}
	if err := db.RenewNode(ctx, "one", time.Hour); err != nil || living() != "one" {
		t.Errorf("RenewNode = %v; there are %s", err, living())
	}
}

// TestARenewalUnderWayKeepsTheNode holds a renewal open while its time ends: another
// node's look doesn't take the node for dead.
func TestARenewalUnderWayKeepsTheNode(t *testing.T) {
	address := pgtest.Database(t)
	db, raw := openURL(t, address), connect(t, address)
	ctx := t.Context()
	if err := errors.Join(db.JoinNode(ctx, "slow", time.Hour), db.JoinNode(ctx, "other", time.Hour)); err != nil {
		t.Fatal(err)
	}
	execute(t, raw, `UPDATE nodes SET expires_at = clock_timestamp() WHERE id = 'slow'`) // in a moment of before
	tx, err := raw.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(ctx, `UPDATE nodes SET expires_at = clock_timestamp() + interval '1 hour' WHERE id = 'slow'`); err != nil {
		t.Fatal(err)
	}
	if err := db.RenewNode(ctx, "other", time.Hour); err != nil {
		t.Error(err)
	}
	if err := tx.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	if err := db.RenewNode(ctx, "slow", time.Hour); err != nil {
		t.Errorf("RenewNode = %v: it was renewed in time", err)
	}
}

// TestLostMembershipOnADatabase is a Member on the real store.
func TestLostMembershipOnADatabase(t *testing.T) {
	address := pgtest.Database(t)
	raw := connect(t, address)
	m, err := cluster.Join(t.Context(), cluster.Options{Store: openURL(t, address)})
	if err != nil {
		t.Fatal(err)
	}
	former := m.ID()
	execute(t, raw, `DELETE FROM nodes`)
	eventually(t, "the node joins again", func() bool { return m.ID() != former && m.Valid() })
	if n := question[int](t, raw, `SELECT count(*)::int FROM nodes WHERE id = $1`, m.ID()); n != 1 || m.Is(former) {
		t.Errorf("%d rows of %s, still %s: %v", n, m.ID(), former, m.Is(former))
	}
	if err := m.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if n := question[int](t, raw, `SELECT count(*)::int FROM nodes`); n != 0 {
		t.Errorf("%d nodes after Leave", n)
	}
}
