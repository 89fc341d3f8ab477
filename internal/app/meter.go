package app

import (
	"context"
	"net/http"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/meter"
	"claude-code-api-service/internal/route"
)

// makeMeter makes the upstream of agentic runs, which goes the direct path. Without a
// credential for that, the CLI's own login is sent on. Why: docs/adr/0028-meter.md.
func (a *App) makeMeter() error {
	if a.pool == nil {
		return nil
	}
	backend, login := a.lasting.backends[gateway.BackendDirect], a.direct == nil
	if login {
		a.login = &directPath{}
		a.later(func(context.Context) error { a.login.close(); return nil })
		backend = a.breakers.Guard(gateway.BackendDirect, a.exporter.Content(a.login))
	}
	a.meter = meter.New(meter.Options{
		Walk:  func() gateway.Options { return a.walkOfRuns(backend) },
		Serve: a.upstreamOfRuns,
		Login: login, Log: a.log,
	})
	a.later(func(context.Context) error { a.meter.Close(); return nil })
	return nil
}

// makeLogin makes the way to the API for the CLI's own login.
func (a *App) makeLogin(n *generation) (*anthropic.Backend, error) {
	options := a.directOptions(n.config)
	options.CallersLogin, options.Price = true, n.catalogue.Cost
	return anthropic.New(options)
}

// agentic answers calls that ask for tools of the CLI's own; nil: nothing does.
func (a *App) agentic() gateway.Backend {
	if a.agents == nil {
		return nil
	}
	return a.sessions.Before(agent.NewBackend(a.agents, a.log))
}

// walkOfRuns are the rooms through which the calls of a run that begins now walk.
func (a *App) walkOfRuns(backend gateway.Backend) gateway.Options {
	n := a.now()
	return gateway.Options{
		Admitter: a.lasting.admitter, Recorder: a.lasting.ledger, Observer: a.lasting.refusals, Watcher: a.seen.monitor, Priced: n.catalogue.Priced,
		Router: route.New(route.Options{
			Backends: map[string]gateway.Backend{gateway.BackendDirect: backend},
			Resolve:  resolve(n.catalogue), ModelMap: n.config.ModelMap,
		}),
	}
}

// upstreamOfRuns serves the Messages API alone. Bodies may be as large as the API takes
// them.
func (a *App) upstreamOfRuns(g *gateway.Gateway) http.Handler {
	mux := http.NewServeMux()
	anthropicapi.New(anthropicapi.Options{Gateway: g, Models: models(a.catalogue()), Log: a.log}).Register(mux)
	return mux
}
