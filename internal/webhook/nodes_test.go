package webhook_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/webhook"
)

// claims are those of several nodes.
type claims struct {
	mu    sync.Mutex
	taken map[string]string // whose
	err   error
}

func (c *claims) die(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, whose := range c.taken {
		if whose == node {
			delete(c.taken, name)
		}
	}
}

func (c *claims) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.taken)
}

type node struct {
	*claims
	name string
}

func (n *node) Claim(_ context.Context, kind, keyID, id, _ string) (held bool, others string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := kind + "/" + keyID + "/" + id
	whose, found := n.taken[name]
	if n.err != nil || found && whose != n.name {
		return false, "", n.err
	}
	n.taken[name] = n.name
	return true, "", nil
}

func (n *node) Release(_ context.Context, kind, keyID, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name := kind + "/" + keyID + "/" + id; n.taken[name] == n.name {
		delete(n.taken, name)
	}
	return n.err
}

// startAs starts the Sender of a node.
func (s *stand) startAs(shared *claims, name string) *webhook.Sender {
	s.nodes = &node{shared, name}
	return s.start()
}

// TestManyNodesTellOnce has every node see the same event, before, while and after it
// is delivered.
func TestManyNodesTellOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 503, 503, 503)
		shared := &claims{taken: map[string]string{}}
		senders := map[string]*webhook.Sender{}
		for _, name := range []string{"one", "two", "three"} {
			senders[name] = s.startAs(shared, name)
		}
		for range 5 {
			for _, sender := range senders {
				sender.Notify(s.event("one"))
				synctest.Wait()
			}
			late := s.startAs(shared, "late")
			time.Sleep(2 * time.Second)
			s.close(late)
		}
		time.Sleep(time.Hour)
		for _, sender := range senders {
			s.close(sender)
		}
		if n := len(s.receiver.deliveries()); n != 4 || s.news != 1 || shared.count() != 0 {
			t.Errorf("%d attempts, %d news, %d claims are left; want three that failed and one that didn't", n, s.news, shared.count())
		}
	})
}

// TestTheTellingNodeDies leaves a letter undelivered: another node delivers it.
func TestTheTellingNodeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t, 503)
		shared := &claims{taken: map[string]string{}}
		one := s.startAs(shared, "one")
		one.Notify(s.event("one"))
		synctest.Wait()
		s.close(one) // as far as the others can see
		two := s.startAs(shared, "two")
		time.Sleep(time.Hour)
		if n := len(s.receiver.deliveries()); n != 1 {
			t.Fatalf("%d attempts while the claim holds", n)
		}
		shared.die("one")
		time.Sleep(10 * time.Minute)
		if n := len(s.receiver.deliveries()); n != 2 || s.news != 1 {
			t.Errorf("%d attempts, %d news", n, s.news)
		}
		s.close(two)
	})
}

// TestClaimsFail tells rather twice than never.
func TestClaimsFail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		sender := s.startAs(&claims{taken: map[string]string{}, err: errors.New("the database is away")}, "one")
		sender.Notify(s.event("one"))
		synctest.Wait()
		s.close(sender)
		if n := len(s.receiver.deliveries()); n != 1 || s.news != 1 {
			t.Errorf("%d attempts, %d news", n, s.news)
		}
	})
}
