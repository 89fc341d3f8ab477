// Package httpserver is the service's HTTP face around its protocols: routes,
// request ids, recovery, limits, the access log, health and the way to stop.
package httpserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/apierror"
)

// Defaults of Options.
const (
	// DefaultMaxHeaderBytes bounds a request's header. Callers send keys, ids and
	// beta names; 64 KiB is ample, and net/http's own 1 MiB is memory that
	// anybody may take without a key.
	DefaultMaxHeaderBytes = 64 << 10
	// DefaultReadHeaderTimeout is how long a caller may take to send a header.
	DefaultReadHeaderTimeout = 10 * time.Second
	// DefaultIdleTimeout is how long a connection is kept between requests. It is
	// longer than the 90 s after which Go's clients, and the 60 s after which
	// common load balancers close theirs, so that it is them who close.
	DefaultIdleTimeout = 120 * time.Second
)

// Options configure a Server.
type Options struct {
	// Name and Version are told on GET / and by /health.
	Name    string
	Version string
	// Register adds the protocols' routes. The server itself owns "/" (for what
	// no route matches), "/{$}", the routes of health and /metrics; a second
	// registration of one panics.
	Register []func(mux *http.ServeMux)
	// Endpoints names what exists, each as "METHOD /path", for GET / and for the
	// answer to an unknown path.
	Endpoints []string
	// Metrics serves GET /metrics. May be nil.
	Metrics http.Handler
	// Services gives the state of what the service consists of, for /health. It
	// must answer from memory: from atomics, never waiting for a lock that a
	// request may hold. The map is not changed afterwards. May be nil.
	Services func() map[string]Service
	// Ready says whether new requests are welcome, and if not, why; the same
	// rules hold. May be nil: ready until it is stopped.
	Ready func() (ready bool, reason string)
	// Drain ends what outlives its request: connections that were upgraded, answers
	// that are asked for later. Each is called once when the server stops, and gives
	// what runs until ctx ends to finish; then it must return soon.
	Drain []func(ctx context.Context) error
	// Logger gets the access log and what goes wrong. May be nil.
	Logger *slog.Logger

	MaxHeaderBytes    int           // 0: DefaultMaxHeaderBytes
	ReadHeaderTimeout time.Duration // 0: DefaultReadHeaderTimeout
	IdleTimeout       time.Duration // 0: DefaultIdleTimeout
}

// Server serves the service's routes. It is safe for concurrent use.
//
// It sets no limit on the time that a body or an answer takes, because streams
// last as long as they last; the protocols bound each read and write.
type Server struct {
	options Options
	log     *slog.Logger
	started time.Time
	mux     *http.ServeMux
	server  *http.Server

	base     context.Context // of every request
	cancel   context.CancelCauseFunc
	stopping atomic.Bool
	stop     sync.Once
	stopErr  error
}

// ErrStopped is the cause (see context.Cause) of the contexts of requests that
// were still running when the server had to stop.
// It is one that callers may read.
var ErrStopped error = &apierror.Error{Category: apierror.Overloaded, Message: "the service is stopping", RetryAfter: time.Second}

// New makes a Server. It panics when two routes conflict.
func New(options Options) *Server {
	s := &Server{
		options: options, log: options.Logger, started: time.Now(),
		mux: http.NewServeMux(),
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.base, s.cancel = context.WithCancelCause(context.Background())
	s.registerOwn()
	for _, register := range options.Register {
		register(s.mux)
	}
	s.server = &http.Server{
		Handler:           s,
		MaxHeaderBytes:    or(options.MaxHeaderBytes, DefaultMaxHeaderBytes),
		ReadHeaderTimeout: or(options.ReadHeaderTimeout, DefaultReadHeaderTimeout),
		IdleTimeout:       or(options.IdleTimeout, DefaultIdleTimeout),
		ErrorLog:          slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext:       func(net.Listener) context.Context { return s.base },
	}
	return s
}

func or[T comparable](value, otherwise T) T {
	var zero T
	if value == zero {
		return otherwise
	}
	return value
}

// Context is the context from which every request's is made. It ends when the
// server stops without waiting any longer.
func (s *Server) Context() context.Context { return s.base }

// Serve answers on a listener, which it closes, until the server is stopped. It
// returns nil after Shutdown or Close, else why it ended. It may run on several
// listeners at once.
func (s *Server) Serve(l net.Listener) error {
	err := s.server.Serve(l)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// lastWords is how long requests that were cancelled may take to tell their
// callers so.
const lastWords = 2 * time.Second

// Shutdown takes no new connections and waits until the requests in flight have
// ended. When ctx ends first, it cancels them, gives them two seconds, closes
// their connections and returns ctx's error. Further calls wait for the first
// one's end and return the same; Close hurries it.
func (s *Server) Shutdown(ctx context.Context) error {
	s.stop.Do(func() { s.stopErr = s.shutdown(ctx) })
	return s.stopErr
}

func (s *Server) shutdown(ctx context.Context) error {
	s.stopping.Store(true)
	// http.Server.Shutdown knows nothing of connections that were taken over.
	drained := make(chan error, len(s.options.Drain))
	for _, drain := range s.options.Drain {
		go func() { drained <- drain(ctx) }()
	}
	err := s.server.Shutdown(ctx)
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
	s.stopping.Store(true)
	s.cancel(ErrStopped)
	return s.server.Close()
}
