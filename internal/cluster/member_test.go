package cluster_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/cluster"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// database is a Store as a database is one: it has a clock of its own, and may be away
// or slow.
type database struct {
	mu      sync.Mutex
	members map[string]time.Time // until when
	claims  map[[3]string]cluster.Claim
	away    bool
	slow    time.Duration // how late an answer comes
}

func newDatabase() *database {
	return &database{members: map[string]time.Time{}, claims: map[[3]string]cluster.Claim{}}
}

var errAway = errors.New("the database is away")

func (d *database) set(away bool, slow time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.away, d.slow = away, slow
}

// living are the members, as the others see them.
func (d *database) living() (ids []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for id, until := range d.members {
		if time.Now().Before(until) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (d *database) do(ctx context.Context, change func() error) error {
	d.mu.Lock()
	away, slow := d.away, d.slow
	var err error
	if !away {
		err = change()
	}
	d.mu.Unlock()
	if away {
		err = errAway
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(slow):
		return err
	}
}

func (d *database) JoinNode(ctx context.Context, id string, ttl time.Duration) error {
	return d.do(ctx, func() error { d.members[id] = time.Now().Add(ttl); return nil })
}

func (d *database) RenewNode(ctx context.Context, id string, ttl time.Duration) error {
	return d.do(ctx, func() error {
		if until, found := d.members[id]; !found || !time.Now().Before(until) {
			return cluster.ErrGone
		}
		d.members[id] = time.Now().Add(ttl)
		return nil
	})
}

func (d *database) Nodes(ctx context.Context, ttl time.Duration) (nodes []cluster.Node, err error) {
	err = d.do(ctx, func() error {
		for id, until := range d.members {
			nodes = append(nodes, cluster.Node{ID: id, Alive: until.Add(-ttl)})
		}
		return nil
	})
	return nodes, err
}

func (d *database) LeaveNode(ctx context.Context, id string) error {
	return d.do(ctx, func() error { delete(d.members, id); return nil })
}

func (d *database) Claim(ctx context.Context, c cluster.Claim) (held bool, note string, err error) {
	name := [3]string{c.Kind, c.KeyID, c.ID}
	err = d.do(ctx, func() error {
		if other, found := d.claims[name]; found && other.Node != c.Node {
			note = other.Note
			return nil
		}
		d.claims[name], held, note = c, true, c.Note
		return nil
	})
	return held, note, err
}

func (d *database) Release(ctx context.Context, c cluster.Claim) error {
	name := [3]string{c.Kind, c.KeyID, c.ID}
	return d.do(ctx, func() error {
		if d.claims[name].Node == c.Node {
			delete(d.claims, name)
		}
		return nil
	})
}

func join(t *testing.T, d *database) *cluster.Member {
	t.Helper()
	m, err := cluster.Join(t.Context(), cluster.Options{Store: d})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestMembershipLastsUntilLeave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase()
		m := join(t, d)
		id := m.ID()
		for range 600 {
			time.Sleep(time.Second)
			if !m.Valid() || !m.Is(id) || m.Is("node_other") {
				t.Fatalf("after %v: Valid %v, Is %v", time.Second, m.Valid(), m.Is(id))
			}
		}
		if err := m.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if m.Valid() || m.Is(id) || len(d.living()) != 0 {
			t.Errorf("after Leave: Valid %v, the others see %v", m.Valid(), d.living())
		}
	})
}

// TestNobodyIsValidWhomTheOthersTakeForDead lets the database be away for different
// times: at no moment does a node believe in a membership that the others don't see.
func TestNobodyIsValidWhomTheOthersTakeForDead(t *testing.T) {
	for _, tt := range []struct {
		away, slow time.Duration
		same       bool // it keeps its id
	}{
		{away: time.Second, same: true},
		{away: 6 * time.Second, same: true},
		{away: 30 * time.Second},
		{away: 2 * time.Second, slow: 1900 * time.Millisecond, same: true},
		{away: 20 * time.Second, slow: 1900 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDatabase()
			m := join(t, d)
			id := m.ID()
			d.set(false, tt.slow)
			time.Sleep(5 * time.Second)
			d.set(true, tt.slow)
			invalid := false
			for range 2 * (tt.away / time.Millisecond) {
				time.Sleep(time.Millisecond / 2)
				living := d.living()
				if m.Valid() && len(living) == 0 {
					t.Fatalf("away for %v: the node is valid, for the others it is dead", tt.away)
				}
				invalid = invalid || !m.Valid()
			}
			if invalid == tt.same {
				t.Errorf("away for %v: invalid %v", tt.away, invalid)
			}
			d.set(false, 0)
			time.Sleep(5 * time.Second)
			if same := m.Is(id); same != tt.same || !m.Valid() {
				t.Errorf("away for %v: the same member %v, valid %v", tt.away, same, m.Valid())
			}
			if err := m.Leave(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestJoinFails(t *testing.T) {
	d := newDatabase()
	d.set(true, 0)
	if _, err := cluster.Join(t.Context(), cluster.Options{Store: d}); !errors.Is(err, errAway) {
		t.Errorf("Join = %v", err)
	}
}

func TestLocal(t *testing.T) {
	m := cluster.Local()
	if !m.Valid() || m.ID() != "local" || !m.Is("local") || m.Is("node_other") || m.Leave(t.Context()) != nil {
		t.Errorf("%v, %s", m.Valid(), m.ID())
	}
	if held, _, err := m.Claim(t.Context(), "kind", "key", "id", ""); !held || err != nil || m.Release(t.Context(), "kind", "key", "id") != nil {
		t.Errorf("Claim = %v, %v", held, err)
	}
}

func TestClaims(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDatabase()
		one, two := join(t, d), join(t, d)
		claim := func(m *cluster.Member, note string, held bool, others string) {
			t.Helper()
			if got, text, err := m.Claim(t.Context(), "kind", "key", "id", note); got != held || !held && text != others || err != nil {
				t.Errorf("Claim = %v, %q, %v; want %v, %q", got, text, err, held, others)
			}
		}
		claim(one, "first", true, "")
		claim(one, "again", true, "")
		claim(two, "second", false, "again")
		d.set(true, 0)
		if err := one.Release(t.Context(), "kind", "key", "id"); !errors.Is(err, errAway) {
			t.Errorf("Release = %v", err)
		}
		if _, _, err := two.Claim(t.Context(), "kind", "key", "id", ""); !errors.Is(err, errAway) {
			t.Errorf("Claim = %v", err)
		}
		d.set(false, 0)
		claim(two, "second", false, "again")
		time.Sleep(5 * time.Second)
		claim(two, "second", true, "")
		if err := two.Release(t.Context(), "kind", "key", "id"); err != nil {
			t.Error(err)
		}
		claim(one, "third", true, "")
		// One that is made again isn't released late.
		d.set(true, 0)
		_ = one.Release(t.Context(), "kind", "key", "id")
		d.set(false, 0)
		claim(one, "fourth", true, "")
		time.Sleep(5 * time.Second)
		claim(two, "second", false, "fourth")
		for _, m := range []*cluster.Member{one, two} {
			if err := m.Leave(t.Context()); err != nil {
				t.Error(err)
			}
		}
	})
}
