package httpserver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// lastWords is how long requests that were cancelled may take to tell their
// callers so.
const lastWords = 2 * time.Second

// Shutdown says no in /ready at once, and goes on serving for DrainDelay, with connections
// that are closed behind each answer, so that no request fails whose sender asks
// there. Then nothing new is welcome: requests get 503. It goes on listening until
// those in flight have ended, so that nobody is refused a connection who could have
// been told. When ctx ends first, it cancels them, gives them two seconds, closes
// their connections and returns ctx's error. Further calls wait for the first one's
// end and return the same; Close hurries it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() { s.stopErr = s.shutdown(ctx) })
	return s.stopErr
}

func (s *Server) shutdown(ctx context.Context) error {
	s.leave()
	if s.served.Load() { // who has never listened tells nobody
		s.delay(ctx)
	}
	s.begin()
	// Nothing else ends connections that were taken over.
	drained := make(chan error, len(s.options.Drain))
	for _, drain := range s.options.Drain {
		go func() { drained <- drain(ctx) }()
	}
	var err error
	if s.quiet(ctx) {
		err = s.server.Shutdown(ctx)
	} else {
		err = ctx.Err()
	}
	if err != nil {
		s.cancel(ErrStopped)
		s.lastWords()
	}
	for range s.options.Drain {
		err = errors.Join(err, <-drained)
	}
	s.cancel(ErrStopped)
	return err
}

// delay waits for DrainDelay, or until ctx ends or the server is closed.
func (s *Server) delay(ctx context.Context) {
	timer := time.NewTimer(s.options.DrainDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-s.base.Done():
	case <-ctx.Done():
	}
}

// quiet waits until no request runs, or the server is closed. It says no when ctx
// ended first.
func (s *Server) quiet(ctx context.Context) bool {
	for s.active.Load() > 0 {
		select {
		case <-s.idle:
		case <-s.base.Done():
			return true
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// Idle waits until no request runs any more, also none whose connection was closed:
// what records requests must not end before. After ctx it gives up.
func (s *Server) Idle(ctx context.Context) error {
	for s.active.Load() > 0 {
		select {
		case <-s.idle:
		case <-ctx.Done():
			return fmt.Errorf("%d requests don't end: %w", s.active.Load(), ctx.Err())
		}
	}
	return nil
}

// enter counts a request, unless nothing new is welcome. exit must be called
// after one that was.
func (s *Server) enter() (welcome bool) {
	s.active.Add(1)
	if s.isStopping() {
		s.exit()
		return false
	}
	return true
}

func (s *Server) exit() {
	if s.active.Add(-1) > 0 || !s.isStopping() {
		return
	}
	select {
	case s.idle <- struct{}{}:
	default:
	}
}

func (s *Server) isStopping() bool { return isClosed(s.stopping) }

// isLeaving says that the server is to be asked for nothing more, though it may still
// answer.
func (s *Server) isLeaving() bool { return isClosed(s.leaving) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// lastWords gives requests that were cancelled a moment, then closes their
// connections.
func (s *Server) lastWords() {
	soon, done := context.WithTimeout(context.Background(), lastWords)
	defer done()
	if s.server.Shutdown(soon) != nil {
		_ = s.server.Close() // it can only fail to close listeners a second time
	}
}

// Close stops at once: it cancels the requests in flight and closes their
// connections. It may be called at any time and more than once, also during a
// Shutdown, which then returns soon.
func (s *Server) Close() error {
	s.leave()
	s.begin()
	s.cancel(ErrStopped)
	return s.server.Close()
}
