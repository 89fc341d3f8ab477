// Package httpserver is the service's HTTP face around its protocols: routes,
// request ids, recovery, limits, the access log, health and the way to stop.
package httpserver

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/trace"
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
	// DefaultWriteTimeout is how long a caller may take for a piece of an answer of
	// at most maxPiece bytes before it counts as gone. It bounds how long somebody
	// who stops reading can hold a worker; a slow reader isn't hurt.
	DefaultWriteTimeout = 60 * time.Second
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
	// Links are further places that GET / names, by what is there.
	Links map[string]string
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
	// DrainDelay is how long the server goes on serving when it is to stop: until
	// balancers have seen that /ready says 503.
	DrainDelay time.Duration
	// TLS is what ServeTLS needs: at least GetCertificate. May be nil.
	TLS *tls.Config
	// CORSOrigins are the origins whose pages may read answers, as browsers write
	// them (https://app.example:8443). Empty: none.
	CORSOrigins []string
	// RequestTimeout is how long one request may take in all; 0: as long as it
	// takes. Connections that are upgraded are none.
	RequestTimeout time.Duration
	// Logger gets the access log and what goes wrong. May be nil.
	Logger *slog.Logger
	// Tracer makes spans of requests. nil: none are made, and what callers say of their
	// traces is in the log and goes on.
	Tracer Tracer

	MaxHeaderBytes int // 0: DefaultMaxHeaderBytes
	// ReadHeaderTimeout bounds a header, and a body that nobody reads: that of a
	// caller whose key is wrong. 0: DefaultReadHeaderTimeout.
	ReadHeaderTimeout time.Duration
	IdleTimeout       time.Duration // 0: DefaultIdleTimeout
	WriteTimeout      time.Duration // 0: DefaultWriteTimeout
}

// Tracer makes spans of requests. It is safe for concurrent use.
type Tracer interface {
	// Begin gives the span of a request with this header. It is in the context of what
	// serves the request.
	Begin(h http.Header) *trace.Span
	// End says how it was answered.
	End(s *trace.Span, served trace.Served)
}

// Server serves the service's routes. It is safe for concurrent use.
//
// It sets no limit on the time that an answer takes, unless RequestTimeout does,
// because streams last as long as they last; each write has one, and the protocols
// bound each read of a body.
type Server struct {
	options Options
	log     *slog.Logger
	started time.Time
	table   atomic.Pointer[table]
	server  *http.Server

	base   context.Context // of every request
	cancel context.CancelCauseFunc

	served   atomic.Bool   // Serve or ServeTLS was called
	leaving  chan struct{} // closed when the server is to stop
	leave    func()        // closes leaving, once
	stopping chan struct{} // closed when nothing new is welcome
	begin    func()        // closes stopping, once
	active   atomic.Int64  // requests that run
	idle     chan struct{} // told, while stopping, when active has become 0
	stop     sync.Once
	stopErr  error
}

// ErrStopped is the cause (see context.Cause) of the contexts of requests that
// were still running when the server had to stop.
// It is one that callers may read.
var ErrStopped error = &apierror.Error{Category: apierror.Overloaded, Message: "the service is stopping", RetryAfter: time.Second}

// New makes a Server. It panics when two routes conflict.
func New(options Options) *Server {
	options.ReadHeaderTimeout = or(options.ReadHeaderTimeout, DefaultReadHeaderTimeout)
	options.WriteTimeout = or(options.WriteTimeout, DefaultWriteTimeout)
	s := &Server{
		options: options, log: options.Logger, started: time.Now(),
		leaving: make(chan struct{}), stopping: make(chan struct{}), idle: make(chan struct{}, 1),
	}
	s.leave = sync.OnceFunc(func() { close(s.leaving) })
	s.begin = sync.OnceFunc(func() { close(s.stopping) })
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.base, s.cancel = context.WithCancelCause(context.Background())
	s.Replace(options)
	s.server = &http.Server{
		Handler:           s,
		MaxHeaderBytes:    or(options.MaxHeaderBytes, DefaultMaxHeaderBytes),
		ReadHeaderTimeout: options.ReadHeaderTimeout,
		IdleTimeout:       or(options.IdleTimeout, DefaultIdleTimeout),
		TLSConfig:         options.TLS,
		// A peer of HTTP/2 that has vanished is found by asking it: one connection
		// carries many requests.
		HTTP2:       &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second, WriteByteTimeout: options.WriteTimeout},
		ErrorLog:    slog.NewLogLogger(s.log.Handler(), slog.LevelWarn),
		BaseContext: func(net.Listener) context.Context { return s.base },
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

// Replace makes requests that come from now on use the Register, Endpoints, Links,
// CORSOrigins and RequestTimeout of other options; what else they say is ignored.
// Those that run go on with what they began with. It panics when two routes
// conflict.
func (s *Server) Replace(options Options) {
	s.table.Store(newTable(s, options))
}

// Context is the context from which every request's is made. It ends when the
// server stops without waiting any longer.
func (s *Server) Context() context.Context { return s.base }

// Serve answers on a listener, which it closes, until the server is stopped. It
// returns nil after Shutdown or Close, else why it ended. It may run on several
// listeners at once.
func (s *Server) Serve(l net.Listener) error {
	s.served.Store(true)
	return ended(s.server.Serve(l))
}

// ServeTLS is Serve with TLS: HTTP/2 and HTTP/1.1.
func (s *Server) ServeTLS(l net.Listener) error {
	s.served.Store(true)
	return ended(s.server.ServeTLS(l, "", ""))
}

func ended(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
