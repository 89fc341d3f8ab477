package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/clipool"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/pricing"
	"claude-code-api-service/internal/simulator"
)

// firstModel is the model that workers start with. It is the one that auto
// mostly chooses; a request for another is bound to it.
const firstModel = "sonnet"

// noCredential is what an operator reads whose CLI will be refused.
const noCredential = "the CLI has no credential: set ANTHROPIC_API_KEY, or CLAUDE_API_CLAUDE_HOME for a login of its own"

func (a *App) makePool(path string, catalogue *pricing.Catalogue) error {
	home, err := absolute(a.config.ClaudeHome)
	if err != nil {
		return err
	}
	if err := a.makeConfinement(); err != nil {
		return err
	}
	// Models are told the path of a worker's folder: it must not name the data
	// folder or the operator's home.
	run, err := newRunFolder(os.TempDir(), a.log)
	if err != nil {
		return err
	}
	a.later(func(context.Context) error { return run.remove() })
	model, ok := catalogue.Resolve(firstModel)
	if !ok {
		return fmt.Errorf("the price data has no model for %s", firstModel)
	}
	c := a.config
	options := clipool.Options{
		Workers: c.MaxWorkers, MinWorkers: c.MinWorkers, QueueTimeout: c.QueueTimeout.Duration(), Reuse: clipool.Reuse(c.PoolReuse), HoldFor: c.PoolHold.Duration(), ParkFor: c.PoolPark.Duration(),
		Price: func(model string, at time.Time, u message.Usage) (int64, bool) {
			return a.catalogue().Cost(model, at, u)
		},
		Rules: func(model string) message.Rules { return a.catalogue().Rules(model) }, Logger: a.log,
		// Anthropic's own API has no use for it, and a request would wait longer for it.
		Trace: a.exporter.Tracing() && c.Anthropic.BaseURL != "",
		Process: claudecli.Options{
			Path: path, Root: run.path, Home: home, Model: model, Marker: run.marker, Confinement: a.confinement,
			BaseURL: c.Anthropic.BaseURL, APIKey: c.Anthropic.APIKey.Reveal(), AuthToken: c.Anthropic.AuthToken.Reveal(),
			Env: inherited(c.ClaudeEnv), IdleTimeout: c.SDKTimeout.Duration(), Logger: a.log,
		},
	}
	if options.HoldFor == 0 {
		options.HoldFor = -1 // the pool's zero is its default
	}
	if options.QueueTimeout == 0 {
		options.QueueTimeout = -1 // as above
	}
	a.pool = clipool.New(options)
	a.later(func(context.Context) error { a.pool.Close(); return nil })
	if c.Anthropic.Empty() && c.ClaudeHome == "" {
		a.log.Warn(noCredential)
	}
	return nil
}

// inherited gives NAME=VALUE for the variables that the operator lets through.
func inherited(names []string) []string {
	var env []string
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// probeAgain is how long the service waits after a failed probe of the CLI.
const probeAgain = 15 * time.Second

// startPool probes the CLI and starts its workers, in the background. A CLI that
// can't be used is tried again: it may be being installed.
func (a *App) startPool() {
	if a.pool == nil {
		return
	}
	a.background.Go(func() {
		for reported := ""; ; {
			features, err := a.probe(a.life)
			if err == nil {
				a.pool.Start(features)
				a.startAgents()
				return
			}
			if a.life.Err() != nil {
				return
			}
			a.pool.Fail(err)
			a.failAgents(err)
			if err.Error() != reported {
				reported = err.Error()
				a.log.Error("the CLI can't be used; trying again", "every", probeAgain, "error", err)
			}
			select {
			case <-a.life.Done():
				return
			case <-time.After(probeAgain):
			}
		}
	})
}

func (a *App) probe(ctx context.Context) (claudecli.Features, error) {
	upstream := simulator.New(simulator.Options{KeepBodies: 1_000})
	if _, err := upstream.Start(""); err != nil {
		return claudecli.Features{}, apierror.Wrap(apierror.CLIError, "the Claude Code CLI can't be probed", err)
	}
	defer upstream.Close()
	features, err := claudecli.Probe(ctx, a.pool.Process(), upstream)
	if err != nil {
		var e *apierror.Error
		if !errors.As(err, &e) {
			err = apierror.Wrap(apierror.CLIError, "this version of the Claude Code CLI can't be driven", err)
		}
		return features, err
	}
	return features, nil
}

// services is what /health tells. It reads gauges only.
func (a *App) services() map[string]httpserver.Service {
	services := map[string]httpserver.Service{
		"cli":      {Status: httpserver.StatusOff, Detail: "no CLI is configured or found"},
		"direct":   {Status: httpserver.StatusOff, Detail: "no ANTHROPIC_API_KEY or ANTHROPIC_AUTH_TOKEN"},
		"database": a.store.health(),
		"agents":   a.agentsService(),
	}
	if a.direct != nil {
		services["direct"] = a.withBreakers(gateway.BackendDirect, httpserver.Service{Status: httpserver.StatusOK})
	}
	if a.pool != nil {
		services["confinement"] = confinementService(a.confinement)
		s := a.pool.Status()
		cli := httpserver.Service{Status: httpserver.StatusOK}
		if s.Reason != "" {
			cli.Status = httpserver.StatusDegraded
			cli.Detail = s.Reason + "; "
		}
		cli.Detail += fmt.Sprintf("%d idle, %d busy, %d parked, %d starting, %d queued", s.Idle, s.Busy, s.Parked, s.Starting, s.Queued)
		if s.Mode != "" {
			cli.Detail += "; " + s.Mode
		}
		if a.config.Anthropic.Empty() && a.config.ClaudeHome == "" {
			cli.Status = httpserver.StatusDegraded
			cli.Detail = noCredential + "; " + cli.Detail
		}
		services["cli"] = a.withBreakers(gateway.BackendCLI, cli)
	}
	return services
}

// ready is what /ready tells. A CLI that can't be used leaves the service ready
// when the direct path takes its requests.
func (a *App) ready() (bool, string) {
	if a.store.away.Load() {
		return false, databaseAway
	}
	if a.pool == nil {
		return true, ""
	}
	s := a.pool.Status()
	if s.Reason == "" || s.Failed && a.direct != nil && defaultBackend(a.now().config) != gateway.BackendCLI {
		return true, ""
	}
	return false, s.Reason
}

// usable is what the router asks: a CLI that has failed gets only the requests
// that insist on it.
func (a *App) usable(backend string) bool {
	return backend != gateway.BackendCLI || !a.pool.Status().Failed
}

// suits is what the router asks: the CLI can't serve every request as it is
// meant, the direct path can.
func (a *App) suits(backend string, call *gateway.Call) bool {
	return backend != gateway.BackendCLI || a.pool.Suits(call)
}

func (a *App) registerPool(registry prometheus.Registerer) {
	if a.pool == nil {
		return
	}
	gauge := func(name, help string, labels prometheus.Labels, value func(clipool.Status) int64) {
		registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels},
			func() float64 { return float64(value(a.pool.Status())) },
		))
	}
	for state, value := range map[string]func(clipool.Status) int64{
		"idle":     func(s clipool.Status) int64 { return s.Idle },
		"busy":     func(s clipool.Status) int64 { return s.Busy },
		"parked":   func(s clipool.Status) int64 { return s.Parked },
		"starting": func(s clipool.Status) int64 { return s.Starting },
	} {
		gauge("claude_api_cli_workers", "CLI processes by state.", prometheus.Labels{"state": state}, value)
	}
	gauge("claude_api_cli_queue_length", "Requests that wait for a CLI process.", nil, func(s clipool.Status) int64 { return s.Queued })
}
