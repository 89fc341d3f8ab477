// Package app is the one place that constructs the service and wires its rooms
// together.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/capability"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/cluster"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/confine"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/idempotency"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/meter"
	"claude-code-api-service/internal/otlp"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/session"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/telemetry"
	"claude-code-api-service/internal/trace"
	"claude-code-api-service/internal/usage"
	"claude-code-api-service/internal/webhook"
)

// Name is what the service calls itself.
const Name = "claude-code-api-service"

// ErrNoBackend means that there is neither a CLI nor a credential for the API.
var ErrNoBackend = errors.New(`there is nothing to serve requests with. Either
  - install the Claude Code CLI (npm install -g @anthropic-ai/claude-code) or name its binary in CLAUDE_API_CLAUDE_PATH, or
  - set ANTHROPIC_API_KEY for the direct path.
To see the service at work without either: claude-api demo`)

// App is the service. Make it with New, then Start and Stop it once.
type App struct {
	config    *config.Config // as the service was started; what may change: now
	log       *slog.Logger
	level     *slog.LevelVar // of log; nil where it isn't the App's own
	handed    []net.Listener // by the service manager, for Start to use instead of --listen
	listening []listening
	server    *httpserver.Server
	keys      *apikey.Keys

	store         *watched
	member        *cluster.Member
	bus           bus // nil where there is only this node
	authenticator *apikey.Authenticator
	archive       *archive.Archive
	audit         *audit.Log
	webhook       *webhook.Sender
	once          *idempotency.Keeper
	pool          *clipool.Pool // nil without a CLI
	confinement   confine.Confinement
	capabilities  *capability.Catalogue // nil without a CLI
	direct        *directPath           // nil without a credential
	meter         *meter.Meter          // nil without a CLI
	login         *directPath           // of the meter; nil with a credential
	agents        *agent.Runner         // nil without a CLI, or --max-tasks 0
	sessions      *session.Sessions     // nil where there are no agents
	jobs          *job.Engine
	desk          *task.Tasks
	breakers      *route.Breakers // nil when they are switched off
	instruments   *telemetry.Telemetry
	exporter      *otlp.Exporter // nil: off
	certificate   *certificate   // nil without TLS
	lasting       lasting
	seen          seen
	current       atomic.Pointer[generation]
	reloading     sync.Mutex
	// cleanup is what was opened, in order; Stop unwinds it in reverse.
	cleanup    []func(ctx context.Context) error
	served     chan error
	background sync.WaitGroup
	life       context.Context
	end        context.CancelFunc
	stop       sync.Once
	stopErr    error
}

// New constructs the service and opens its data, but serves nothing yet. The
// configuration must be valid and belongs to the App from here on. On an error
// nothing stays open.
func New(ctx context.Context, c *config.Config, log *slog.Logger) (*App, error) {
	a := &App{config: c, log: slog.New(trace.Handler(log.Handler()))}
	a.life, a.end = context.WithCancel(context.Background())
	if err := a.build(ctx); err != nil {
		return nil, errors.Join(err, a.unwind(ctx))
	}
	return a, nil
}

func (a *App) later(undo func(ctx context.Context) error) { a.cleanup = append(a.cleanup, undo) }

func (a *App) build(ctx context.Context) error {
	path, err := a.cliPath()
	if err != nil {
		return err
	}
	if path == "" && a.config.Anthropic.Empty() {
		return ErrNoBackend
	}
	a.instruments = telemetry.New(telemetry.Options{Version: Version})
	if err := a.makeExporter(ctx); err != nil {
		return err
	}
	store, err := OpenStore(ctx, &a.config.Data)
	if err != nil {
		return err
	}
	a.later(func(context.Context) error { return store.Close() })
	a.store = watch(store, &a.config.Data)
	if err := a.join(ctx); err != nil {
		return err
	}
	db := a.store
	ledger := usage.NewLedger(usage.Options{Store: db})
	a.later(ledger.Close)
	a.makeAuthenticator()
	a.keys = apikey.NewKeys(apikey.Options{Store: db, Changed: AuditChanges(db, audit.Embedding)})
	a.archive = archive.New(archive.Options{Store: db, Log: a.log})
	if err := a.openTrace(ctx, db); err != nil {
		return err
	}
	a.later(a.returnShares)
	a.later(a.lastRequests)

	catalogue, err := readPrices(a.config.Prices)
	if err != nil {
		return err
	}
	backends, err := a.backends(path, catalogue)
	if err != nil {
		return err
	}
	a.registerPool(a.instruments.Registerer())
	if err := a.makeCapabilities(); err != nil {
		return err
	}
	a.once = a.makeOnce(a.instruments.Registerer())
	a.makeMonitor(a.exporter.Observer(a.instruments))
	refusals := audit.NewRefusals(a.audit, a.seen.monitor)
	a.later(func(context.Context) error { refusals.Close(); return nil })
	a.lasting = lasting{
		backends: backends, ledger: ledger, refusals: refusals,
		admitter: a.makeAdmitter(),
	}
	if a.config.TLS() {
		if a.certificate, err = readCertificate(a.config.TLSCert, a.config.TLSKey); err != nil {
			return err
		}
	}
	if err := a.makeMeter(); err != nil {
		return err
	}
	if err := a.makeAgents(); err != nil {
		return err
	}
	if err := a.makeSessions(); err != nil {
		return err
	}
	if err := a.makeJobs(ctx); err != nil {
		return err
	}
	a.makeTasks()
	a.registerJobs(a.instruments.Registerer())
	first, err := a.generate(a.config, catalogue)
	if err != nil {
		return err
	}
	a.adopt(first)
	a.handleProcess()
	a.server = a.newServer(first)
	return nil
}

// cliPath is the CLI's binary, "" when there is none.
func (a *App) cliPath() (string, error) {
	switch {
	case a.config.CLIOff():
		return "", nil
	case a.config.ClaudePath == "":
		return install.Find(), nil
	}
	// A binary that isn't there is no reason to refuse the direct path: the CLI
	// path says what is wrong with it. Without a direct path it is.
	path, err := exec.LookPath(a.config.ClaudePath)
	if err != nil {
		if a.config.Anthropic.Empty() {
			return "", fmt.Errorf("CLAUDE_API_CLAUDE_PATH: %w\n%w", err, ErrNoBackend)
		}
		path = a.config.ClaudePath
	}
	return absolute(path)
}

// absolute makes a path one that a worker, which has a working folder of its
// own, understands too. "" stays.
func absolute(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	path, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("find the working folder: %w", err)
	}
	return path, nil
}

func (a *App) backends(path string, catalogue *pricing.Catalogue) (map[string]gateway.Backend, error) {
	backends := map[string]gateway.Backend{}
	if !a.config.Anthropic.Empty() {
		a.direct = &directPath{}
		a.later(func(context.Context) error { a.direct.close(); return nil })
		backends[gateway.BackendDirect] = a.direct
	}
	if path != "" {
		if err := a.makePool(path, catalogue); err != nil {
			return nil, err
		}
		backends[gateway.BackendCLI] = a.pool
	}
	return a.guard(a.traced(backends), a.instruments), nil
}

// Keys gives the service's keys, for programs that embed it.
func (a *App) Keys() *apikey.Keys { return a.keys }

// Start begins to serve and returns: workers start, and the CLI is probed, in
// the background, and /ready tells when they are there.
func (a *App) Start(ctx context.Context) error {
	if err := a.jobs.Start(ctx); err != nil {
		return err
	}
	all := a.adoptSockets()
	if len(all) == 0 {
		var err error
		if all, err = listen(ctx, a.config); err != nil {
			return err
		}
	}
	a.listening, a.served = all, make(chan error, len(all))
	for _, l := range all {
		serve := a.server.Serve
		if l.secure {
			serve = a.server.ServeTLS
		}
		if l.open() {
			a.log.Warn("whoever is on the way can read what is said here, keys too: use --tls-cert, or a proxy that does", "url", l.url())
		}
		go func() { a.served <- serve(l) }()
	}
	if a.certificate != nil {
		a.background.Go(func() { a.certificate.watch(a.life, a.log) })
	}
	a.background.Go(func() { a.authenticator.Watch(a.life) })
	a.background.Go(func() { a.archive.Sweep(a.life) })
	a.background.Go(a.watchState)
	a.sweepSessions()
	a.startPool()
	a.log.Info("serving", "url", a.urls(), "version", Version, "data", a.store.place,
		"cli", a.pool != nil, "direct", a.direct != nil)
	return nil
}

// URL is where the service listens, after Start: the first of --listen.
func (a *App) URL() string { return a.listening[0].url() }

// urls are all of them.
func (a *App) urls() string {
	var urls []string
	for _, l := range a.listening {
		urls = append(urls, l.url())
	}
	return strings.Join(urls, ",")
}

// Stop takes no new requests, lets those that run finish until ctx ends, and
// closes everything. It may be called more than once; later calls wait for the
// first.
func (a *App) Stop(ctx context.Context) error {
	a.stop.Do(func() { a.stopErr = a.stopAll(ctx) })
	return a.stopErr
}

// closeTimeout bounds what follows the requests' end: ending processes and
// flushing the ledger.
const closeTimeout = 10 * time.Second

// lastRequestsTimeout is how much of that requests get which were cut off: the ledger
// needs the rest.
const lastRequestsTimeout = 3 * time.Second

func (a *App) stopAll(ctx context.Context) error {
	err := a.server.Shutdown(ctx)
	a.end()
	a.background.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(err, a.unwind(closing))
}

// lastRequests waits for those that were cut off and end only with their workers:
// what they have used is to be recorded.
func (a *App) lastRequests(ctx context.Context) error {
	if a.server == nil {
		return nil // New has failed
	}
	ctx, cancel := context.WithTimeout(ctx, lastRequestsTimeout)
	defer cancel()
	return a.server.Idle(ctx)
}

func (a *App) unwind(ctx context.Context) error {
	var errs []error
	for _, undo := range slices.Backward(a.cleanup) {
		errs = append(errs, undo(ctx))
	}
	a.cleanup = nil
	a.end()
	return errors.Join(errs...)
}
