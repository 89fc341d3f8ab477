package idempotency_test

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"testing/synctest"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/idempotency"
	"claude-code-api-service/internal/protocol"
)

// claims are those of several nodes.
type claims struct {
	mu    sync.Mutex
	taken map[string][2]string // node and note
	err   error
}

func (c *claims) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.err = err
}

// die ends a node's claims.
func (c *claims) die(node string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, taken := range c.taken {
		if taken[0] == node {
			delete(c.taken, name)
		}
	}
}

// node is one of them.
type node struct {
	*claims
	name string
}

func (n *node) Claim(_ context.Context, kind, keyID, id, note string) (held bool, others string, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name := kind + "/" + keyID + "/" + id
	taken, found := n.taken[name]
	if n.err != nil || found && taken[0] != n.name {
		return false, taken[1], n.err
	}
	n.taken[name] = [2]string{n.name, note}
	return true, "", nil
}

func (n *node) Release(_ context.Context, kind, keyID, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if name := kind + "/" + keyID + "/" + id; n.err == nil && n.taken[name][0] == n.name {
		delete(n.taken, name)
	}
	return n.err
}

// newNodes makes two stands that share an archive and see each other's claims.
func newNodes(t *testing.T) (one, two *stand, shared *claims) {
	t.Helper()
	shared = &claims{taken: map[string][2]string{}}
	one, two = newStand(t), newStand(t)
	two.memory = one.memory
	for name, s := range map[string]*stand{"one": one, "two": two} {
		s.rooms.Message = []byte(`{"a":1}`)
		s.Keeper = idempotency.New(idempotency.Options{
			Archive: s.memory, Nodes: &node{shared, name}, Log: slog.New(slog.NewTextHandler(&s.log, nil)),
		})
	}
	return one, two, shared
}

func TestWhileAnotherNodeServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, shared := newNodes(t)
		goOn := make(chan struct{})
		one.serve = func(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
			<-goOn
			return protocol.Serve(r.Context(), one.rooms.Gateway(), call, &encoder{w: w, call: call, stream: protocol.NewStream(w, protocol.SetHeader)}, nil)
		}
		done := make(chan answer, 1)
		go func() { done <- one.send(t.Context(), "k", plain) }()
		synctest.Wait()
		same, other := two.send(t.Context(), "k", plain), two.send(t.Context(), "k", streamed)
		if !refused(same, 409, "idempotency_in_progress", "") || same.header.Get("Retry-After") != "1" {
			t.Errorf("the same: %d %v", same.status, same.header)
		}
		if !refused(other, 422, "idempotency_mismatch", "false") {
			t.Errorf("another: %d %v", other.status, other.header)
		}
		close(goOn)
		if first := <-done; first.status != 200 {
			t.Errorf("the first: %d", first.status)
		}
		if again := two.send(t.Context(), "k", plain); again.body != `{"a":1}` || again.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("the same, later: %d %v", again.status, again.header)
		}
		if two.count.Load() != 0 || one.count.Load() != 1 || len(shared.taken) != 0 {
			t.Errorf("served %d and %d times, %d claims are left", one.count.Load(), two.count.Load(), len(shared.taken))
		}
	})
}

// TestTheServingNodeDies: whoever asks again is served by another one.
func TestTheServingNodeDies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two, shared := newNodes(t)
		goOn, ended := make(chan struct{}), make(chan struct{})
		one.serve = func(http.ResponseWriter, *http.Request, *gateway.Call) error {
			<-goOn // for ever, to those who watch
			return errors.New("dead")
		}
		go func() { one.send(t.Context(), "k", plain); close(ended) }()
		synctest.Wait()
		shared.die("one")
		if a := two.send(t.Context(), "k", plain); a.status != 200 || two.count.Load() != 1 {
			t.Errorf("after the death: %d %s, served %d times", a.status, a.body, two.count.Load())
		}
		close(goOn)
		<-ended
	})
}

func TestClaimsFail(t *testing.T) {
	one, two, shared := newNodes(t)
	shared.fail(errors.New("the database is away"))
	if a := one.send(t.Context(), "k", plain); a.status != 503 || a.header.Get("Retry-After") == "" || one.count.Load() != 0 {
		t.Errorf("%d %v, served %d times", a.status, a.header, one.count.Load())
	}
	shared.fail(nil)
	if a := two.send(t.Context(), "k", plain); a.status != 200 || two.count.Load() != 1 {
		t.Errorf("%d, served %d times", a.status, two.count.Load())
	}
}
