package session

import (
	"context"
	"reflect"
	"time"

	"claude-code-api-service/internal/gateway"
)

// place is where a session is at work, or has a process at rest. The lock of Sessions
// guards it, but whoever has entered it owns the conversation.
type place struct {
	name         string
	keyID, id    string
	conversation Conversation // nil: there is none
	caller       *gateway.Caller
	model        string
	turns        int // how many are in the conversation
	size         int // of the transcript then
	used         time.Time
	idle         *time.Timer
	work         chan struct{} // is closed when who is in it leaves; nil: nobody is
	cancel       context.CancelCauseFunc
}

func (p *place) busy() bool { return p.work != nil }

// serves says that the process at rest has the conversation as it is now, and was
// started for this model and a caller who may do what this one may.
func (p *place) serves(caller *gateway.Caller, d *document, model string) bool {
	if p.conversation == nil || p.turns != d.Turns || p.model != model || !reflect.DeepEqual(p.caller, caller) {
		return false
	}
	select {
	case <-p.conversation.Exited():
		return false
	default:
		return true
	}
}

// enter takes a session for one piece of work, until leave. Another one is refused
// meanwhile, on this node and on others.
func (s *Sessions) enter(ctx context.Context, keyID, id string) (context.Context, *place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, p, err := s.take(ctx, keyID, id)
	if err != nil {
		return nil, nil, err
	}
	s.mu.Unlock()
	err = s.claim(ctx, p)
	s.mu.Lock()
	if err != nil {
		s.free(p)
		return nil, nil, err
	}
	return ctx, p, nil
}

// enterToDelete is enter, but ends what is at work here.
func (s *Sessions) enterToDelete(ctx context.Context, keyID, id string) (context.Context, *place, error) {
	for {
		if _, err := s.get(ctx, keyID, id); err != nil {
			return nil, nil, err
		}
		s.mu.Lock()
		other := s.places[name(keyID, id)]
		var work chan struct{}
		if other != nil && other.busy() {
			work = other.work
			other.cancel(errDeleted())
		}
		s.mu.Unlock()
		if work == nil {
			return s.enter(ctx, keyID, id)
		}
		select {
		case <-work:
		case <-ctx.Done():
			return nil, nil, context.Cause(ctx)
		}
	}
}

// take is enter on this node. The lock is held.
func (s *Sessions) take(ctx context.Context, keyID, id string) (context.Context, *place, error) {
	if s.closed {
		return nil, nil, errStopping
	}
	p := s.places[name(keyID, id)]
	switch {
	case p == nil:
		p = &place{name: name(keyID, id), keyID: keyID, id: id}
		s.places[p.name] = p
	case p.busy():
		return nil, nil, errBusy()
	}
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
	ctx, p.cancel = context.WithCancelCause(ctx)
	p.work = make(chan struct{})
	return ctx, p, nil
}

// claimKind is what a session at work is called among the nodes.
const claimKind = "session"

func (s *Sessions) claim(ctx context.Context, p *place) error {
	if s.options.Claims == nil {
		return nil
	}
	held, _, err := s.options.Claims.Claim(ctx, claimKind, p.keyID, p.id, "")
	switch {
	case err != nil:
		return internal("whether another node is at work on the session isn't known", err)
	case !held:
		return errBusy()
	}
	return nil
}

// leave gives a session back. Its process, where it has one, waits for the next
// message.
func (s *Sessions) leave(p *place) {
	if s.options.Claims != nil {
		ctx, cancel := context.WithTimeout(context.Background(), releaseTimeout)
		defer cancel()
		if err := s.options.Claims.Release(ctx, claimKind, p.keyID, p.id); err != nil {
			s.log.Warn("a session stays claimed by this node for a while", "session", p.id, "error", err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free(p)
}

const releaseTimeout = 5 * time.Second

// free is leave on this node. The lock is held.
func (s *Sessions) free(p *place) {
	p.cancel(nil)
	close(p.work)
	p.work = nil
	if p.conversation == nil || s.closed {
		s.retire(p)
		return
	}
	p.used = time.Now()
	p.idle = time.AfterFunc(s.options.Idle, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.places[p.name] == p && !p.busy() && time.Since(p.used) >= s.options.Idle {
			s.retire(p)
		}
	})
	s.makeRoom(s.options.MaxProcesses)
}

// makeRoom ends those processes at rest that were used least recently, until no more
// than so many are left. The lock is held.
func (s *Sessions) makeRoom(most int) {
	for {
		resting, oldest := 0, (*place)(nil)
		for _, p := range s.places {
			if p.conversation == nil || p.busy() {
				continue
			}
			if resting++; oldest == nil || p.used.Before(oldest.used) {
				oldest = p
			}
		}
		if resting <= most {
			return
		}
		s.retire(oldest)
	}
}

// retire ends the process of a place in which nobody is, off the lock, and the place.
// The lock is held.
func (s *Sessions) retire(p *place) {
	if p.idle != nil {
		p.idle.Stop()
		p.idle = nil
	}
	if c := p.conversation; c != nil {
		p.conversation = nil
		s.ending.Go(c.Close)
	}
	delete(s.places, p.name)
}

// end ends the process of a place that was entered.
func (s *Sessions) end(p *place) {
	s.mu.Lock()
	c := p.conversation
	p.conversation = nil
	s.mu.Unlock()
	if c != nil {
		c.Close()
	}
}
