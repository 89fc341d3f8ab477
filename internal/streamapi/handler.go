// Package streamapi serves GET /v1/stream, a WebSocket (RFC 6455) on which a
// client chats with streamed answers, one at a time, in flat JSON messages.
package streamapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
)

// pathStream is the route, as metrics and ledger name it.
const pathStream = "/v1/stream"

// Options are what a Handler needs.
type Options struct {
	Gateway *gateway.Gateway
	// Rules give what a model takes of a request, by the name that it is asked for
	// by; nil: all take everything.
	Rules func(model string) message.Rules
	// Tasks does agentic tasks; nil: there are none.
	Tasks Tasks
	// MaxBody is the largest message of a client in bytes; 0 means
	// protocol.DefaultBodyLimit.
	MaxBody int64
	// Origins are the origins whose pages may connect, besides the service's own.
	Origins []string
	Log     *slog.Logger // nil: silent
}

// Handler serves the endpoint. It is safe for concurrent use. It must be
// stopped, because a http.Server forgets connections that were upgraded.
type Handler struct {
	gateway  *gateway.Gateway
	rules    func(model string) message.Rules
	tasks    Tasks
	maxBody  int64
	origins  []string
	log      *slog.Logger
	table    *protocol.Object[incoming]
	scanners protocol.Scanners

	*connections
}

// connections are those that are open. Handlers share them; see With.
type connections struct {
	mu       sync.Mutex
	stopping bool
	conns    map[*conn]struct{}
	ended    chan struct{} // closed when stopping and the last of conns has gone
}

// New makes a Handler.
func New(options Options) *Handler {
	h := &Handler{
		gateway: options.Gateway, rules: options.Rules, tasks: options.Tasks, maxBody: options.MaxBody, log: options.Log,
		origins: patterns(options.Origins),
		table:   incomingTable(), connections: &connections{conns: map[*conn]struct{}{}, ended: make(chan struct{})},
	}
	if h.maxBody <= 0 {
		h.maxBody = protocol.DefaultBodyLimit
	}
	if h.rules == nil {
		h.rules = func(string) message.Rules { return message.Rules{} }
	}
	if h.log == nil {
		h.log = slog.New(slog.DiscardHandler)
	}
	return h
}

// With makes a Handler with other options, for connections that come from now on,
// that knows those of this one: the Stop of either stops those of both.
func (h *Handler) With(options Options) *Handler {
	other := New(options)
	other.connections = h.connections
	return other
}

// Register adds the route to mux.
func (h *Handler) Register(mux *http.ServeMux) { mux.HandleFunc("GET "+pathStream, h.serve) }

// Connections is how many connections are open.
func (h *connections) Connections() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.conns)
}

// codeShuttingDown tells a client that the service stops.
const codeShuttingDown apierror.Code = "shutting_down"

func errShuttingDown() *apierror.Error {
	return &apierror.Error{
		Category: apierror.Overloaded, Code: codeShuttingDown,
		Message: "the service is stopping", RetryAfter: time.Second,
	}
}

// lastWords is how long connections may take to end once their chats were
// cancelled.
const lastWords = 2 * time.Second

// Stop takes no new connections and no new chats, tells the clients so and
// closes their connections, each once its chat has ended. When ctx ends first, it
// cancels the chats that still run, gives them two seconds, cuts the connections
// and returns ctx's error. Further calls wait likewise.
func (h *Handler) Stop(ctx context.Context) error {
	for _, c := range h.stop() {
		c.stop()
	}
	select {
	case <-h.ended:
		return nil
	case <-ctx.Done():
	}
	for _, c := range h.stop() {
		c.cancel(errShuttingDown())
	}
	if !h.within(lastWords) {
		for _, c := range h.stop() {
			c.cut()
		}
		h.within(lastWords) // a backend that doesn't return has had its time
	}
	return ctx.Err()
}

// within waits for the end of all connections, and says whether it came.
func (h *connections) within(d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-h.ended:
		return true
	case <-timer.C:
		return false
	}
}

// stop begins to stop, and gives the connections that are open.
func (h *connections) stop() []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopping {
		h.stopping = true
		if len(h.conns) == 0 {
			close(h.ended)
		}
	}
	open := make([]*conn, 0, len(h.conns))
	for c := range h.conns {
		open = append(open, c)
	}
	return open
}

// isStopping says that nothing new is welcome.
func (h *connections) isStopping() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.stopping
}

// add notes a connection; it is refused when the service stops.
func (h *connections) add(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopping {
		h.conns[c] = struct{}{}
	}
	return !h.stopping
}

func (h *connections) remove(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.conns, c)
	if h.stopping && len(h.conns) == 0 {
		close(h.ended)
	}
}
