package postgres_test

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"claude-code-api-service/internal/cluster"
	"claude-code-api-service/internal/postgres"
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
	nodes, err := db.Nodes(ctx, time.Hour)
	if err != nil || len(nodes) != 2 || nodes[0].ID != "one" || nodes[1].ID != "three" || nodes[0].Alive.Before(nodes[1].Alive) || time.Since(nodes[0].Alive) > time.Minute {
		t.Errorf("Nodes = %+v, %v", nodes, err)
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

func TestClaims(t *testing.T) {
	address := pgtest.Database(t)
	one, two, raw := openURL(t, address), openURL(t, address), connect(t, address)
	ctx := t.Context()
	if err := errors.Join(one.JoinNode(ctx, "one", time.Hour), two.JoinNode(ctx, "two", time.Hour)); err != nil {
		t.Fatal(err)
	}
	claim := func(node, note string, held bool, want string) {
		t.Helper()
		db := map[string]*postgres.DB{"one": one, "two": two}[node]
		got, text, err := db.Claim(ctx, cluster.Claim{Kind: "kind", KeyID: "key", ID: "id", Node: node, Note: note})
		if got != held || !held && text != want || err != nil {
			t.Errorf("Claim = %v, %q, %v; want %v, %q", got, text, err, held, want)
		}
	}
	claim("one", "first", true, "")
	claim("one", "again", true, "")
	claim("two", "second", false, "again")
	if err := two.Release(ctx, cluster.Claim{Kind: "kind", KeyID: "key", ID: "id", Node: "two"}); err != nil {
		t.Error(err)
	}
	claim("two", "second", false, "again")
	if err := one.Release(ctx, cluster.Claim{Kind: "kind", KeyID: "key", ID: "id", Node: "one"}); err != nil {
		t.Error(err)
	}
	claim("two", "second", true, "")
	// It ends with its node.
	execute(t, raw, `UPDATE nodes SET expires_at = clock_timestamp() WHERE id = 'two'`)
	if err := one.RenewNode(ctx, "one", time.Hour); err != nil {
		t.Error(err)
	}
	claim("one", "third", true, "")
	if _, _, err := two.Claim(ctx, cluster.Claim{Kind: "kind", KeyID: "key", ID: "other", Node: "two"}); !errors.Is(err, cluster.ErrGone) {
		t.Errorf("Claim of a node that is gone: %v", err)
	}
}

// TestOneOfManyClaims has many nodes claim the same at once.
func TestOneOfManyClaims(t *testing.T) {
	address := pgtest.Database(t)
	db := openURL(t, address)
	const nodes = 8
	for n := range nodes {
		if err := db.JoinNode(t.Context(), fmt.Sprint(n), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	for id := range 20 {
		var held atomic.Int64
		var wg sync.WaitGroup
		for n := range nodes {
			wg.Go(func() {
				got, _, err := db.Claim(t.Context(), cluster.Claim{Kind: "kind", ID: fmt.Sprint(id), Node: fmt.Sprint(n)})
				if err != nil {
					t.Error(err)
				}
				if got {
					held.Add(1)
				}
			})
		}
		wg.Wait()
		if held.Load() != 1 {
			t.Errorf("%d nodes hold the claim", held.Load())
		}
	}
}
