package app

import (
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/retry"
	"claude-code-api-service/internal/route"
	"claude-code-api-service/internal/telemetry"
)

// guard puts in front of the backends what keeps a failing upstream from hurting:
// the CLI path's retries (the direct path has its own), and circuit breakers.
func (a *App) guard(backends map[string]gateway.Backend, instruments *telemetry.Telemetry) map[string]gateway.Backend {
	a.breakers = route.NewBreakers(route.BreakersOptions{
		Threshold: a.config.CircuitBreakerThreshold, Recovery: a.config.CircuitBreakerRecoverySeconds.Duration(), Logger: a.log,
	})
	guarded := map[string]gateway.Backend{}
	for name, backend := range backends {
		if name == gateway.BackendCLI {
			backend = route.Repeat(backend, retry.Policy{
				Retries: a.config.SDKMaxRetries, Budget: retry.NewBudget(), Retried: instruments.Retried(name),
			}, a.log)
		}
		guarded[name] = a.breakers.Guard(name, backend)
		registerBreakers(instruments.Registerer(), name, a.breakers)
	}
	return guarded
}

func registerBreakers(registry prometheus.Registerer, backend string, breakers *route.Breakers) {
	for i, s := range breakers.Of(backend) {
		registry.MustRegister(prometheus.NewGaugeFunc(
			prometheus.GaugeOpts{
				Name:        "claude_api_breaker_state",
				Help:        "Circuit breakers: 0 closed, 1 half-open (one request tries), 2 open (requests are refused at once).",
				ConstLabels: prometheus.Labels{"backend": backend, "family": s.Family},
			},
			func() float64 { return float64(breakers.Of(backend)[i].State) },
		))
	}
}

// errFallback says which setting is wrong.
func errFallback(err error) error { return fmt.Errorf("--fallback: %w", err) }

// withBreakers adds to what /health says of a backend which of its breakers aren't
// closed.
func (a *App) withBreakers(backend string, s httpserver.Service) httpserver.Service {
	var open []string
	for _, standing := range a.breakers.Of(backend) {
		switch standing.State {
		case route.Open:
			open = append(open, fmt.Sprintf("%s fails: it is tried again in %s", standing.Family, standing.Wait.Round(time.Second)))
		case route.HalfOpen:
			open = append(open, standing.Family+" has failed and is being tried again")
		}
	}
	if len(open) == 0 {
		return s
	}
	if s.Detail != "" {
		open = append(open, s.Detail)
	}
	return httpserver.Service{Status: httpserver.StatusDegraded, Detail: strings.Join(open, "; ")}
}
