package simulator

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	headerTimeout = 10 * time.Second
	idleTimeout   = 2 * time.Minute
	// closeTimeout bounds Close: by then every handler has seen its connection
	// gone.
	closeTimeout = 2 * time.Second
)

// ErrStarted is returned by Start on a simulator that listens already.
var ErrStarted = errors.New("simulator is already started")

// server is the simulator's own listener. Its zero value is one that isn't
// started.
type server struct {
	mu      sync.Mutex
	http    *http.Server
	served  chan struct{} // closed when the accept loop has ended
	end     context.CancelFunc
	closing atomic.Bool
	url     atomic.Pointer[string]
}

// Start listens on addr ("host:port"; port 0 takes a free one; without a host,
// or "", 127.0.0.1) and serves until Close. It returns the base URL, such as
// http://127.0.0.1:4711.
func (s *Simulator) Start(addr string) (string, error) {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.http != nil {
		return "", ErrStarted
	}
	if addr == "" {
		addr = ":0"
	}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", fmt.Errorf("simulator address: %w", err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	listener, err := net.Listen("tcp", net.JoinHostPort(host, port)) //nolint:noctx // to listen waits for nobody
	if err != nil {
		return "", fmt.Errorf("simulator: %w", err)
	}
	ctx, end := context.WithCancel(context.Background())
	srv := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
		ConnState:         s.countConnections,
	}
	served := make(chan struct{})
	s.server.http, s.server.served, s.server.end = srv, served, end
	url := "http://" + listener.Addr().String()
	s.server.url.Store(&url)
	go func() {
		defer close(served)
		_ = srv.Serve(listener) // always http.ErrServerClosed, or the listener broke and clients see it
	}()
	return url, nil
}

// URL is where the simulator listens since the last Start; "" before.
func (s *Simulator) URL() string {
	if url := s.server.url.Load(); url != nil {
		return *url
	}
	return ""
}

// Close stops listening, cuts every connection and waits, at most two seconds,
// until the answers in flight have ended; those aren't counted as cancelled by
// the client. It may be called at any time and more than once; Start may follow.
func (s *Simulator) Close() {
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	if s.server.http == nil {
		return
	}
	s.server.closing.Store(true)
	// The connections go first: a handler that the context ended before would
	// send its client an empty answer.
	_ = s.server.http.Close()
	s.server.end()
	<-s.server.served
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	_ = s.Wait(ctx, func(stats Stats) bool { return stats.InFlight == 0 && stats.ConnectionsOpen == 0 })
	s.server.closing.Store(false)
	s.server.http = nil
}

func (s *Simulator) countConnections(_ net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		s.record.change(func(c *Stats) { c.ConnectionsOpened++; c.ConnectionsOpen++ })
	case http.StateClosed, http.StateHijacked:
		s.record.change(func(c *Stats) { c.ConnectionsOpen-- })
	case http.StateActive, http.StateIdle:
	}
}
