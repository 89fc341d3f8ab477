package cluster

import (
	"context"
	"fmt"
	"sync"
)

// Claim is something that one member has taken for itself, so that no other does the
// same. Kind, KeyID and ID together name it.
type Claim struct {
	Kind, KeyID, ID string
	Node            string // whose it is
	Note            string // for the others
}

// Claim takes something for this node alone, until Release or the end of the
// membership, or finds that the node has it. When another node has it, held is false,
// and others is the note that it has left. An error says that nobody knows. Where
// there is only this node, everything is held.
func (m *Member) Claim(ctx context.Context, kind, keyID, id, note string) (held bool, others string, err error) {
	if m.store == nil {
		return true, "", nil
	}
	c := Claim{Kind: kind, KeyID: keyID, ID: id, Node: m.ID()}
	m.unreleased.remove(c)
	c.Note = note
	if held, others, err = m.store.Claim(ctx, c); err != nil {
		return false, "", fmt.Errorf("claim: %w", err)
	}
	return held, others, nil
}

// Release gives back what Claim took. What can't be given back now is when the
// membership is renewed.
func (m *Member) Release(ctx context.Context, kind, keyID, id string) error {
	if m.store == nil {
		return nil
	}
	c := Claim{Kind: kind, KeyID: keyID, ID: id, Node: m.ID()}
	if err := m.store.Release(ctx, c); err != nil {
		m.unreleased.add(c)
		return fmt.Errorf("release a claim: %w", err)
	}
	return nil
}

// unreleased are claims that nobody needs and that couldn't be released. The lock is
// held while they are, so that none is released that was made again.
type unreleased struct {
	mu     sync.Mutex
	claims []Claim
}

func (u *unreleased) add(c Claim) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.claims = append(u.claims, c)
}

func (u *unreleased) remove(c Claim) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for i, other := range u.claims {
		if other == c {
			u.claims = append(u.claims[:i:i], u.claims[i+1:]...)
			return
		}
	}
}

func (u *unreleased) release(ctx context.Context, store Store) {
	u.mu.Lock()
	defer u.mu.Unlock()
	for len(u.claims) > 0 {
		if store.Release(ctx, u.claims[0]) != nil {
			return
		}
		u.claims = u.claims[1:]
	}
}
