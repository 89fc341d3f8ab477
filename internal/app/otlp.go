package app

import (
	"cmp"
	"context"

	"claude-code-api-service/internal/anthropic"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/otlp"
)

// makeExporter makes what sends traces and metrics, where the environment says so. It is
// closed behind all that it hears of.
func (a *App) makeExporter(ctx context.Context) (err error) {
	a.exporter, err = otlp.New(ctx, otlp.Options{
		Version: Version, Metrics: a.instruments.Gatherer(), Upstream: cmp.Or(a.config.Anthropic.BaseURL, anthropic.DefaultBaseURL), Log: a.log,
	})
	if err != nil {
		return err
	}
	a.later(a.exporter.Close)
	if traces, metrics := a.exporter.Sends(); traces || metrics {
		a.log.Info("sending to an OpenTelemetry collector", "traces", traces, "metrics", metrics)
	}
	return nil
}

// traced gives backends of which spans may tell what was said.
func (a *App) traced(backends map[string]gateway.Backend) map[string]gateway.Backend {
	for name, backend := range backends {
		backends[name] = a.exporter.Content(backend)
	}
	return backends
}
