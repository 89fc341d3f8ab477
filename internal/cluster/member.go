// Package cluster knows the nodes that share a database: each is a member for as long as it
// says so in time.
package cluster

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"
)

// The times of a membership.
const (
	// TTL is how long after its last renewal the others take a node for dead.
	TTL = 10 * time.Second
	// renewEvery is how often a member renews, retryEvery how soon it tries again what
	// has failed, and renewTimeout how long one attempt may take.
	renewEvery   = 2 * time.Second
	retryEvery   = 250 * time.Millisecond
	renewTimeout = 2 * time.Second
	// validity is how long after the beginning of its last renewal a member takes
	// itself for one: less than TTL, so that it stops before the others go on without
	// it.
	validity = 8 * time.Second
	// joinTimeout bounds an attempt to join.
	joinTimeout = 5 * time.Second
)

// ErrGone says that a node isn't a member any more: the others took it for dead.
var ErrGone = errors.New("the node isn't a member of the cluster any more")

// Store keeps the members. Every time is the store's own, so that nodes need no common
// clock. It is safe for concurrent use.
type Store interface {
	// JoinNode makes a member, for ttl.
	JoinNode(ctx context.Context, id string, ttl time.Duration) error
	// RenewNode makes a membership last for ttl from now, or gives ErrGone. It also
	// ends the memberships whose time is over.
	RenewNode(ctx context.Context, id string, ttl time.Duration) error
	// LeaveNode ends a membership, also one that has ended.
	LeaveNode(ctx context.Context, id string) error
	// Nodes gives the members, by id.
	Nodes(ctx context.Context, ttl time.Duration) ([]Node, error)
	// Claim makes a claim, which ends with its node's membership, or finds that the node
	// has it. Else it gives the note of the one that is there, "" when that has just
	// ended. ErrGone: the node isn't a member.
	Claim(ctx context.Context, c Claim) (held bool, note string, err error)
	// Release ends the node's claim, if it is there.
	Release(ctx context.Context, c Claim) error
}

// Node is a member.
type Node struct {
	ID    string
	Alive time.Time // its last renewal, by the store's clock
}

// Options are what a Member needs.
type Options struct {
	Store Store
	// Log hears of memberships that begin and of those that were lost; nil is silent.
	Log *slog.Logger
}

// Member is this node among those that share its database. It is safe for concurrent
// use, and asks nobody for what its methods say, Leave excepted.
type Member struct {
	store Store // nil: there is only this node
	log   *slog.Logger

	mu      sync.Mutex // guards what follows
	id      string
	renewed time.Time // when the last renewal that succeeded began; zero: no member

	unreleased unreleased

	end  context.CancelFunc
	done sync.WaitGroup
}

// Local is the member of a database that is this process's alone: valid for ever, with
// the id "local".
func Local() *Member { return &Member{id: "local"} }

// Join makes this node a member, and renews that until Leave. A node that couldn't
// renew in time joins again under a new id, for what it held was given to others.
func Join(ctx context.Context, options Options) (*Member, error) {
	m := &Member{store: options.Store, log: options.Log}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	if err := m.join(ctx); err != nil {
		return nil, fmt.Errorf("join the cluster: %w", err)
	}
	ctx, m.end = context.WithCancel(context.WithoutCancel(ctx))
	m.done.Go(func() { m.renew(ctx) })
	return m, nil
}

// ID is under which name the node is a member, or was last. It changes when the node
// was away for too long.
func (m *Member) ID() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id
}

// Valid says whether the node is a member for sure, whatever the others think that it
// can't hear.
func (m *Member) Valid() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.valid()
}

// Is says whether the node is a member for sure, and still under this id: whoever holds
// something as that member may go on.
func (m *Member) Is(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.id == id && m.valid()
}

// valid looks at both clocks: the one that nobody sets stands still while the machine
// sleeps.
func (m *Member) valid() bool {
	if m.store == nil {
		return true
	}
	now := time.Now()
	return !m.renewed.IsZero() && now.Sub(m.renewed) < validity && now.Round(0).Sub(m.renewed.Round(0)) < validity
}

// Nodes gives the nodes that live, this one too, by id. It asks the store.
func (m *Member) Nodes(ctx context.Context) ([]Node, error) {
	if m.store == nil {
		return []Node{{m.ID(), time.Now()}}, nil
	}
	return m.store.Nodes(ctx, TTL)
}

// Leave ends the membership: what the node held is the others' at once. It must be
// called once, when nothing needs the membership any more.
func (m *Member) Leave(ctx context.Context) error {
	if m.store == nil {
		return nil
	}
	m.end()
	m.done.Wait()
	m.mu.Lock()
	m.renewed = time.Time{}
	m.mu.Unlock()
	if err := m.store.LeaveNode(ctx, m.ID()); err != nil {
		return fmt.Errorf("leave the cluster: %w", err)
	}
	return nil
}

func (m *Member) join(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	id, began := "node_"+rand.Text(), time.Now()
	if err := m.store.JoinNode(ctx, id, TTL); err != nil {
		return err
	}
	m.mu.Lock()
	m.id, m.renewed = id, began
	m.mu.Unlock()
	m.log.LogAttrs(ctx, slog.LevelInfo, "joined the cluster", slog.String("node", id))
	return nil
}

// renew keeps the membership until ctx ends.
func (m *Member) renew(ctx context.Context) {
	timer := time.NewTimer(renewEvery)
	defer timer.Stop()
	failing := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		err := m.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if failed := err != nil; failed != failing {
			failing = failed
			if failing {
				m.log.LogAttrs(ctx, slog.LevelWarn, "the membership of the cluster can't be renewed", slog.Any("error", err))
			} else {
				m.log.LogAttrs(ctx, slog.LevelInfo, "the membership of the cluster is renewed again")
			}
		}
		next := renewEvery
		if failing {
			next = retryEvery
		}
		timer.Reset(next)
	}
}

// once renews the membership, or begins another one where it is lost.
func (m *Member) once(ctx context.Context) error {
	attempt, cancel := context.WithTimeout(ctx, renewTimeout)
	defer cancel()
	id, began := m.ID(), time.Now()
	err := m.store.RenewNode(attempt, id, TTL)
	switch {
	case err == nil:
		m.mu.Lock()
		m.renewed = began
		m.mu.Unlock()
		m.unreleased.release(attempt, m.store)
		return nil
	case !errors.Is(err, ErrGone):
		return err
	}
	m.mu.Lock()
	first := !m.renewed.IsZero()
	m.renewed = time.Time{}
	m.mu.Unlock()
	if first {
		m.log.LogAttrs(ctx, slog.LevelWarn, "the others took this node for dead: it joins again", slog.String("former", id))
	}
	return m.join(ctx)
}
