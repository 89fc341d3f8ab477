// Package meter is the upstream of agentic runs: an address on this machine at which each
// call is admitted, charged and recorded as one of the run's caller, and none learns the
// service's credential.
package meter

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/trace"
)

// headerRun carries a run's token where the CLI has a login of its own to present.
const headerRun = "X-Claude-Run"

// readHeaderTimeout is how long a process may take to send a header, idleTimeout how long
// a connection waits for its next call.
const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = time.Minute
)

// ErrClosed means that the Meter was closed.
var ErrClosed = errors.New("the meter is closed")

// Options are what a Meter needs; Walk and Serve are required.
type Options struct {
	// Walk gives the rooms that a run's calls walk through, as they are when the run
	// begins. Its Authenticator isn't asked: who presents a run's token is the run's
	// caller.
	Walk func() gateway.Options
	// Serve makes the Messages API on a gateway. It is called once for each run.
	Serve func(g *gateway.Gateway) http.Handler
	// Login says that the CLI has a login of its own. Its Authorization goes on to the
	// backend then, and the token comes in headerRun.
	Login bool
	// Log hears of what fails. May be nil.
	Log *slog.Logger
}

// Meter serves the calls of runs. It is safe for concurrent use, and listens from the
// first Open on.
type Meter struct {
	options Options

	mu       sync.Mutex
	url      string // "" until it listens
	server   *http.Server
	accounts map[[sha256.Size]byte]*Account // by their token's hash
	closed   bool
	served   sync.WaitGroup
}

// New makes a Meter.
func New(options Options) *Meter {
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	return &Meter{options: options, accounts: map[[sha256.Size]byte]*Account{}}
}

// Run is whose calls are charged, and how far.
type Run struct {
	// ID begins the request ids of the run's calls, with a number behind it: by it the
	// rows of a run are found.
	ID string
	// Endpoint is the route's path under which the run's calls are in the ledger.
	Endpoint string
	Caller   *gateway.Caller
	// MaxCostMicroUSD is the most that the run may cost, in millionths of a US dollar;
	// 0: no limit but the caller's budgets.
	MaxCostMicroUSD int64
	// Trace is the run's span, of which its calls are parts; nil: nobody wants to know.
	Trace *trace.Span
}

// Open gives a run an account. With a Run that has no Caller the account is for a
// process that waits for its work: it serves nothing until Use. ctx ends the opening
// only.
func (m *Meter) Open(ctx context.Context, r Run) (*Account, error) {
	var random [32]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	a := &Account{meter: m, token: hex.EncodeToString(random[:])}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return nil, ErrClosed
	}
	if err := m.listen(ctx); err != nil {
		return nil, err
	}
	m.accounts[hash(a.token)] = a
	if r.Caller != nil {
		a.Use(r)
	}
	return a, nil
}

func hash(token string) [sha256.Size]byte { return sha256.Sum256([]byte(token)) }

// listen begins to, unless it does already. The lock is held.
func (m *Meter) listen(ctx context.Context) error {
	if m.url != "" {
		return nil
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen for agentic runs: %w", err)
	}
	m.url = "http://" + listener.Addr().String()
	m.server = &http.Server{
		Handler: http.HandlerFunc(m.serve), ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, ErrorLog: slog.NewLogLogger(m.options.Log.Handler(), slog.LevelWarn),
	}
	m.served.Go(func() {
		if err := m.server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			m.options.Log.Error("agentic runs have no upstream any more", "error", err)
		}
	})
	return nil
}

// account finds whose token it is; nil: nobody's.
func (m *Meter) account(token string) *Account {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.accounts[hash(token)]
}

// Close closes all accounts and stops listening. It returns when every call is
// recorded.
func (m *Meter) Close() {
	m.mu.Lock()
	m.closed = true
	var open []*Account
	for _, a := range m.accounts {
		open = append(open, a)
	}
	server := m.server
	m.mu.Unlock()
	for _, a := range open {
		a.Close()
	}
	if server != nil {
		_ = server.Close() // an error would be the listener's: it is closed in any case
		m.served.Wait()
	}
}
