// Package app is the one place that constructs the service and wires its rooms
// together.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/idempotency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/telemetry"
	"claude-code-api-service/internal/usage"
	"claude-code-api-service/internal/webhook"
)

// Name and Version are what the service calls itself.
const (
	Name    = "claude-code-api-service"
	Version = "0.1.0"
)

// ErrNoBackend means that there is neither a CLI nor a credential for the API.
var ErrNoBackend = errors.New(`there is nothing to serve requests with. Either
  - install the Claude Code CLI (npm install -g @anthropic-ai/claude-code) or name its binary in CLAUDE_API_CLAUDE_PATH, or
  - set ANTHROPIC_API_KEY for the direct path.
To see the service at work without either: claude-api demo`)

// App is the service. Make it with New, then Start and Stop it once.
type App struct {
	config   *config.Config
	log      *slog.Logger
	listener net.Listener
	server   *httpserver.Server
	keys     *apikey.Keys

	store         *watched
	authenticator *apikey.Authenticator
	archive       *archive.Archive
	audit         *audit.Log
	webhook       *webhook.Sender
	once          *idempotency.Keeper
	process       *processapi.Handler
	pool          *clipool.Pool      // nil without a CLI
	direct        *anthropic.Backend // nil without a credential
	breakers      *route.Breakers    // nil when they are switched off
	// cleanup is what was opened, in order; Stop unwinds it in reverse.
	cleanup []func(ctx context.Context) error
	served  chan error
	tasks   sync.WaitGroup
	life    context.Context
	end     context.CancelFunc
	stop    sync.Once
	stopErr error
}

// New constructs the service and opens its data, but serves nothing yet. The
// configuration must be valid and belongs to the App from here on. On an error
// nothing stays open.
func New(ctx context.Context, c *config.Config, log *slog.Logger) (*App, error) {
	a := &App{config: c, log: log, served: make(chan error, 1)}
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
	store, err := OpenStore(ctx, &a.config.Data)
	if err != nil {
		return err
	}
	a.later(func(context.Context) error { return store.Close() })
	a.store = watch(store, &a.config.Data)
	db := a.store
	ledger := usage.NewLedger(usage.Options{Store: db})
	a.later(ledger.Close)
	a.authenticator = apikey.NewAuthenticator(apikey.AuthenticatorOptions{Store: db, Logger: a.log})
	a.keys = apikey.NewKeys(apikey.Options{Store: db, Changed: AuditChanges(db, audit.Embedding)})
	a.archive = archive.New(archive.Options{Store: db, Log: a.log})
	if err := a.openTrace(ctx, db); err != nil {
		return err
	}

	catalogue, err := readPrices(a.config.Prices)
	if err != nil {
		return err
	}
	instruments := telemetry.New(telemetry.Options{Version: Version})
	backends, err := a.backends(path, catalogue, instruments)
	if err != nil {
		return err
	}
	fallbacks, err := a.fallbacks(resolve(catalogue))
	if err != nil {
		return err
	}
	a.registerPool(instruments.Registerer())
	a.once = a.makeOnce(instruments.Registerer())
	refusals := audit.NewRefusals(a.audit, instruments)
	a.later(func(context.Context) error { refusals.Close(); return nil })
	admitter := admission.New(admission.Options{
		Store: db, OutputCap: a.config.BudgetOutputCap, Models: dearest{catalogue}, Crossed: a.crossed(db),
	})
	router := route.New(route.Options{
		Backends: backends, DefaultBackend: a.defaultBackend(),
		RefuseTools: !a.config.ToolPassthrough, Usable: a.usable, Suits: a.suits, Resolve: resolve(catalogue), ModelMap: a.config.ModelMap,
		Breakers: a.breakers, Fallbacks: fallbacks,
		BudgetLeft: func(caller *gateway.Caller) *int64 {
			// Where it can't be told, the reservation says so.
			_, left, _ := admitter.TokensLeft(a.life, caller)
			return left
		},
	})
	g := gateway.New(gateway.Options{
		Authenticator: a.authenticator,
		Admitter:      admitter,
		Router:        router, Fallback: router,
		Recorder: ledger,
		Observer: refusals,
		Strict:   a.config.Strict,
		Priced:   catalogue.Priced,
	})
	a.process = a.makeProcess(g, catalogue, db, admitter)
	a.server, err = a.newServer(g, catalogue, instruments)
	return err
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

func (a *App) defaultBackend() string {
	use := a.config.UseCLI()
	switch {
	case use == nil:
		return ""
	case *use:
		return gateway.BackendCLI
	}
	return gateway.BackendDirect
}

func (a *App) backends(path string, catalogue *pricing.Catalogue, instruments *telemetry.Telemetry) (map[string]gateway.Backend, error) {
	backends := map[string]gateway.Backend{}
	c := a.config
	if !c.Anthropic.Empty() {
		retries := c.SDKMaxRetries
		if retries == 0 {
			retries = -1 // the backend's zero is its default
		}
		direct, err := anthropic.New(anthropic.Options{
			BaseURL: c.Anthropic.BaseURL, APIKey: c.Anthropic.APIKey.Reveal(), AuthToken: c.Anthropic.AuthToken.Reveal(),
			Retries: retries, FirstByteTimeout: c.SDKTimeout.Duration(), IdleTimeout: c.SDKTimeout.Duration(),
			PromptCaching: c.PromptCaching, Price: catalogue.Cost, Logger: a.log, Retried: instruments.Retried(gateway.BackendDirect),
		})
		if err != nil {
			return nil, err
		}
		a.direct = direct
		a.later(func(context.Context) error { direct.Close(); return nil })
		backends[gateway.BackendDirect] = direct
	}
	if path != "" {
		if err := a.makePool(path, catalogue); err != nil {
			return nil, err
		}
		backends[gateway.BackendCLI] = a.pool
	}
	return a.guard(backends, instruments), nil
}

// rules gives what a model takes of a request, by the name that it is asked for
// under: an alias, an id, or one that the operator configured. What auto chooses
// isn't known yet; what opus takes, every one that it may choose takes.
func rules(catalogue *pricing.Catalogue, modelMap map[string]string) func(model string) message.Rules {
	return func(model string) message.Rules {
		if _, alias := catalogue.Resolve(model); !alias && modelMap[model] != "" {
			model = modelMap[model]
		}
		if model == "" || model == route.Auto {
			model = route.Opus
		}
		return catalogue.Rules(model)
	}
}

// resolve finds what models lists: the id of an alias, and an id itself, which need
// not begin as Anthropic's do.
func resolve(catalogue *pricing.Catalogue) func(name string) (id string, ok bool) {
	return func(name string) (string, bool) {
		if id, ok := catalogue.Resolve(name); ok {
			return id, true
		}
		m, ok := catalogue.Find(name)
		return m.ID, ok && m.ID == name
	}
}

// models lists the full ids and, in front of them, the aliases.
func models(catalogue *pricing.Catalogue) []anthropicapi.Model {
	var list []anthropicapi.Model
	for _, alias := range catalogue.Aliases() {
		id, _ := catalogue.Resolve(alias)
		if m, ok := catalogue.Find(id); ok {
			list = append(list, anthropicapi.Model{ID: alias, DisplayName: m.DisplayName, Created: m.Created})
		}
	}
	for _, m := range catalogue.Models() {
		list = append(list, anthropicapi.Model{ID: m.ID, DisplayName: m.DisplayName, Created: m.Created})
	}
	return list
}

// Keys gives the service's keys, for programs that embed it.
func (a *App) Keys() *apikey.Keys { return a.keys }

// Start begins to serve and returns: workers start, and the CLI is probed, in
// the background, and /ready tells when they are there.
func (a *App) Start(ctx context.Context) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", a.config.Listen)
	if err != nil {
		return fmt.Errorf("listen: %w (--listen or --port choose another address)", err)
	}
	a.listener = listener
	go func() { a.served <- a.server.Serve(listener) }()
	a.tasks.Go(func() { a.authenticator.Watch(a.life) })
	a.tasks.Go(func() { a.archive.Sweep(a.life) })
	a.startPool()
	a.log.Info("serving", "url", a.URL(), "version", Version, "data", a.store.place,
		"cli", a.pool != nil, "direct", a.direct != nil)
	return nil
}

// URL is where the service listens, after Start.
func (a *App) URL() string { return "http://" + a.listener.Addr().String() }

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

func (a *App) stopAll(ctx context.Context) error {
	err := a.server.Shutdown(ctx)
	a.end()
	a.tasks.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	return errors.Join(err, a.unwind(closing))
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

// Run serves until ctx ends, SIGTERM or an interrupt, then stops within the
// configured time. A second signal ends the process at once.
func Run(ctx context.Context, c *config.Config) error {
	log, err := newLogger(c)
	if err != nil {
		return err
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	a, err := New(ctx, c, log)
	if err != nil {
		return err
	}
	if err := a.Start(ctx); err != nil {
		return errors.Join(err, a.Stop(ctx))
	}
	select {
	case err = <-a.served:
		log.Error("serving ended", "error", err)
	case s := <-signals:
		log.Info("stopping", "signal", s.String(), "timeout", c.ShutdownTimeout.Duration())
	case <-ctx.Done():
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.ShutdownTimeout.Duration())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- a.Stop(stopping) }()
	select {
	case stopErr := <-done:
		return errors.Join(err, stopErr)
	case s := <-signals:
		return fmt.Errorf("ended at once by a second signal (%s)", s)
	}
}

// otherLevels are the names that the service's predecessor took besides.
var otherLevels = map[string]string{"WARNING": "WARN", "CRITICAL": "ERROR", "FATAL": "ERROR"}

func newLogger(c *config.Config) (*slog.Logger, error) {
	var level slog.Level
	name := strings.ToUpper(c.LogLevel)
	if other, ok := otherLevels[name]; ok {
		name = other
	}
	if err := level.UnmarshalText([]byte(name)); err != nil {
		return nil, fmt.Errorf("--log-level: %q is none of debug, info, warn, error", c.LogLevel)
	}
	options := &slog.HandlerOptions{Level: level}
	if c.LogJSON {
		return slog.New(slog.NewJSONHandler(os.Stderr, options)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, options)), nil
}
