package otlp

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// complaints tells the log of what a collector didn't take, once a minute at most.
type complaints struct {
	log     *slog.Logger
	secrets []string
	// life ends what is being sent.
	life context.Context //nolint:containedctx // the SDK calls with contexts of its own

	mu   sync.Mutex
	next time.Time
}

const complainEvery = time.Minute

func (c *complaints) hear(what string, err error) {
	if err == nil {
		return
	}
	c.mu.Lock()
	quiet := time.Now().Before(c.next)
	if !quiet {
		c.next = time.Now().Add(complainEvery)
	}
	c.mu.Unlock()
	if !quiet {
		c.log.Warn("the OpenTelemetry collector didn't take all", "lost", what, "error", c.withoutSecrets(err))
	}
}

// within gives a context that ends with ctx and with life.
func (c *complaints) within(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancel(ctx)
	stop := context.AfterFunc(c.life, cancel)
	return ctx, func() { stop(); cancel() }
}

// withoutSecrets gives an error's text without what the headers hold, which a collector
// may have sent back.
func (c *complaints) withoutSecrets(err error) error {
	text := err.Error()
	for _, secret := range c.secrets {
		text = strings.ReplaceAll(text, secret, "[redacted]")
	}
	return errors.New(text)
}

// spans and measurements are exporters whose failures are ours to tell of: the SDK would
// write each to standard error.
type spans struct {
	sdk.SpanExporter
	lost *complaints
}

// ExportSpans implements sdk's SpanExporter.
func (s spans) ExportSpans(ctx context.Context, all []sdk.ReadOnlySpan) error {
	ctx, stop := s.lost.within(ctx)
	defer stop()
	s.lost.hear("traces", s.SpanExporter.ExportSpans(ctx, all))
	return nil
}

type measurements struct {
	metric.Exporter
	lost *complaints
}

// Export implements metric.Exporter.
func (m measurements) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	ctx, stop := m.lost.within(ctx)
	defer stop()
	m.lost.hear("metrics", m.Exporter.Export(ctx, all))
	return nil
}
