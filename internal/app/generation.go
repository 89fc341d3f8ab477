package app

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"sync/atomic"

	"claude-code-api-service/internal/adminapi"
	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/processapi"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/streamapi"
	"claude-code-api-service/internal/taskapi"
)

// generation is what one configuration makes of the service: what may change while
// it serves. A request is served to its end by the one that it began in. Why:
// docs/adr/0023-generations.md.
type generation struct {
	config    *config.Config
	catalogue *pricing.Catalogue
	direct    *anthropic.Backend // nil without a credential
	login     *anthropic.Backend // for the CLI's own; nil with a credential, or without a CLI

	gateway   *gateway.Gateway
	process   *processapi.Handler
	stream    *streamapi.Handler
	tasks     *taskapi.Handler
	admin     *adminapi.Handler
	walk      gateway.Options // of requests that come, and of queued tasks
	register  []func(mux *http.ServeMux)
	endpoints []string
	links     map[string]string // of GET /
}

// lasting is what all generations share, beside what App names.
type lasting struct {
	backends map[string]gateway.Backend
	admitter *admission.Admitter
	ledger   gateway.Recorder
	refusals gateway.Observer
}

// now is the generation of requests that come now.
func (a *App) now() *generation { return a.current.Load() }

// catalogue is the present generation's.
func (a *App) catalogue() *pricing.Catalogue { return a.now().catalogue }

// generate makes a generation and changes nothing yet.
func (a *App) generate(c *config.Config, catalogue *pricing.Catalogue) (*generation, error) {
	n := &generation{config: c, catalogue: catalogue}
	if err := route.CheckModelMap(c.ModelMap, resolve(catalogue)); err != nil {
		return nil, fmt.Errorf("--model-map: %w", err)
	}
	fallbacks, err := route.ParseFallbacks(c.Fallback, resolve(catalogue))
	if err != nil {
		return nil, errFallback(err)
	}
	if a.direct != nil {
		if n.direct, err = a.makeDirect(n); err != nil {
			return nil, err
		}
	}
	if a.login != nil {
		if n.login, err = a.makeLogin(n); err != nil {
			return nil, err
		}
	}
	router := route.New(route.Options{
		Backends: a.lasting.backends, DefaultBackend: defaultBackend(c),
		RefuseTools: !c.ToolPassthrough, Usable: a.usable, Suits: a.suits, Resolve: resolve(catalogue), ModelMap: c.ModelMap,
		Breakers: a.breakers, Fallbacks: fallbacks, Agentic: a.agentic(),
		BudgetLeft: func(caller *gateway.Caller) *int64 {
			// Where it can't be told, the reservation says so.
			_, left, _ := a.lasting.admitter.TokensLeft(a.life, caller)
			return left
		},
	})
	roots, err := workingRoots(c.WorkingRoots)
	if err != nil {
		return nil, err
	}
	g := gateway.New(gateway.Options{
		Authenticator: a.authenticator,
		Admitter:      a.lasting.admitter,
		Router:        router, Fallback: router,
		Recorder: a.lasting.ledger,
		Observer: a.lasting.refusals, Watcher: a.seen.monitor,
		Strict: c.Strict,
		Priced: catalogue.Priced,
		Roots:  roots,
	})
	n.gateway = g
	return n, a.makeFamilies(n, g)
}

// workingRoots gives the folders in which tasks may work, without links.
func workingRoots(configured []string) (roots []string, err error) {
	for _, root := range configured {
		target, err := filepath.EvalSymlinks(root)
		if err != nil {
			return nil, fmt.Errorf("--working-roots: %w", err)
		}
		roots = append(roots, target)
	}
	return roots, nil
}

// adopt makes a generation the present one, for what isn't the server.
func (a *App) adopt(n *generation) {
	former := a.current.Swap(n)
	if n.direct != nil {
		a.direct.Store(n.direct)
	}
	if former != nil && former.direct != nil {
		former.direct.Close() // what it has in use goes on
	}
	if n.login != nil {
		a.login.Store(n.login)
	}
	if former != nil && former.login != nil {
		former.login.Close()
	}
	a.once.SetMaxBody(n.config.MaxBodyBytes)
}

func (a *App) makeDirect(n *generation) (*anthropic.Backend, error) {
	options := a.directOptions(n.config)
	options.APIKey, options.AuthToken = n.config.Anthropic.APIKey.Reveal(), n.config.Anthropic.AuthToken.Reveal()
	options.PromptCaching, options.Price = n.config.PromptCaching, n.catalogue.Cost
	return anthropic.New(options)
}

// directOptions are those of every way to the API, without a credential.
func (a *App) directOptions(c *config.Config) anthropic.Options {
	retries := a.config.SDKMaxRetries
	if retries == 0 {
		retries = -1 // the backend's zero is its default
	}
	return anthropic.Options{
		BaseURL: c.Anthropic.BaseURL, Retries: retries,
		FirstByteTimeout: a.config.SDKTimeout.Duration(), IdleTimeout: a.config.SDKTimeout.Duration(),
		Logger: a.log, Retried: a.instruments.Retried(gateway.BackendDirect),
	}
}

// directPath is the present generation's way to the API. A call stays with the one
// that it began with, and so with its credential.
type directPath struct {
	atomic.Pointer[anthropic.Backend]
}

// Generate implements gateway.Backend.
func (d *directPath) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	return d.Load().Generate(ctx, call, out)
}

func (d *directPath) close() {
	if backend := d.Load(); backend != nil {
		backend.Close()
	}
}

func defaultBackend(c *config.Config) string {
	use := c.UseCLI()
	switch {
	case use == nil:
		return ""
	case *use:
		return gateway.BackendCLI
	}
	return gateway.BackendDirect
}
