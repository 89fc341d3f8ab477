// Package otlp sends traces and metrics over OTLP, named by the semantic conventions of
// OpenTelemetry (1.41; those for generative AI are still being developed). It is off
// unless the standard variables name a collector: docs/observability.md lists those that
// count. What it decides is in docs/adr/0038.
package otlp

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	api "go.opentelemetry.io/otel/trace"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/trace"
)

const (
	// scope names what makes the spans and metrics.
	scope = "claude-code-api-service"
	// serviceName is service.name where OTEL_SERVICE_NAME says nothing.
	serviceName = "claude-api"
)

// CloseTimeout bounds Close: what a collector hasn't taken by then is lost.
const CloseTimeout = 2 * time.Second

// Options are what an Exporter needs.
type Options struct {
	// Version is the service's.
	Version string
	// Metrics are what is sent of metrics.
	Metrics prometheus.Gatherer
	// Upstream is the address of the Messages API: a URL.
	Upstream string
	// Log hears of a collector that takes nothing, once a minute at most. May be nil.
	Log *slog.Logger
}

// Exporter sends what it hears of. It is safe for concurrent use, and nobody waits for a
// collector: what that doesn't take in time is left out. A nil one is switched off: all
// methods take it.
type Exporter struct {
	settings settings
	options  Options
	started  time.Time
	tracer   api.Tracer // nil: no traces
	upstream address
	traces   *sdk.TracerProvider
	metrics  *metric.MeterProvider
	end      context.CancelFunc // of what is being sent
	lost     *complaints

	// over are spans that are over, and are written by a goroutine of their own: whoever
	// served the request goes on.
	over    chan finished
	closing chan struct{}
	close   sync.Once
	written sync.WaitGroup
}

// finished is a span that is over.
type finished struct {
	span   *trace.Span
	served *trace.Served // nil: it isn't an HTTP request
	call   *outcome      // nil: it called no model
	run    *piece        // it stands for several calls; nil: it doesn't
}

// waiting is how many finished spans wait at most; further ones are left out.
const waiting = 2_048

var _ gateway.Observer = (*observer)(nil)

// New makes an Exporter of the variables; nil where they switch it off. An error names
// the variable that is at fault, and not what it holds.
func New(ctx context.Context, options Options) (*Exporter, error) {
	s, err := readSettings()
	if err != nil || !s.traces && !s.metrics {
		return nil, err
	}
	silence()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	e := &Exporter{settings: s, options: options, started: time.Now(), upstream: addressOf(options.Upstream)}
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(
			semconv.ServiceName(serviceName), semconv.ServiceVersion(options.Version), semconv.ServiceInstanceID(trace.NewID().String()),
		),
		resource.WithFromEnv(),
	)
	// Its parts may be of several versions of the conventions.
	if err != nil && !errors.Is(err, resource.ErrSchemaURLConflict) {
		return nil, errors.New("OTEL_RESOURCE_ATTRIBUTES: isn't a list of name=value")
	}
	lost := &complaints{log: options.Log, secrets: s.secrets}
	e.lost, e.over, e.closing = lost, make(chan finished, waiting), make(chan struct{})
	lost.life, e.end = context.WithCancel(context.Background())
	if s.traces {
		client, err := s.spanExporter(ctx)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("OTEL_EXPORTER_OTLP_*: traces can't be sent: %w", lost.withoutSecrets(err)), e.Close(ctx))
		}
		e.traces = sdk.NewTracerProvider(
			sdk.WithBatcher(spans{client, lost}), sdk.WithResource(about), sdk.WithSampler(sdk.AlwaysSample()), sdk.WithIDGenerator(given{}),
		)
		e.tracer = e.traces.Tracer(scope, api.WithInstrumentationVersion(options.Version), api.WithSchemaURL(semconv.SchemaURL))
		e.written.Go(e.writeAll)
	}
	if s.metrics {
		client, err := s.metricExporter(ctx)
		if err != nil {
			return nil, errors.Join(
				fmt.Errorf("OTEL_EXPORTER_OTLP_*: metrics can't be sent: %w", lost.withoutSecrets(err)), e.Close(ctx),
			)
		}
		e.metrics = metric.NewMeterProvider(metric.WithResource(about), metric.WithReader(
			metric.NewPeriodicReader(measurements{client, lost}, metric.WithProducer(e)),
		))
	}
	return e, nil
}

// silence keeps the SDK from writing to standard error: what it can't read, headers too,
// and failures, of which complaints tells.
var silence = sync.OnceFunc(func() {
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
})

// Tracing says that spans are made.
func (e *Exporter) Tracing() bool { return e != nil && e.tracer != nil }

// Sends says what is sent, for the log.
func (e *Exporter) Sends() (traces, metrics bool) {
	return e.Tracing(), e != nil && e.metrics != nil
}

// Close sends what is left, for CloseTimeout at most, also where ctx has ended.
func (e *Exporter) Close(ctx context.Context) error {
	if e == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), CloseTimeout)
	defer cancel()
	defer e.end() // the SDK would go on with what it has begun, for a minute
	e.close.Do(func() { close(e.closing) })
	e.written.Wait()
	done := make(chan struct{})
	go func() {
		defer close(done)
		if e.metrics != nil {
			_ = e.metrics.Shutdown(ctx) // what was lost is in the log
		}
	}()
	if e.traces != nil {
		_ = e.traces.Shutdown(ctx)
	}
	<-done
	return nil
}

// Begin implements httpserver.Tracer: it takes the caller's context, where it is well
// formed, and decides whether the trace is kept.
func (e *Exporter) Begin(h http.Header) *trace.Span {
	s := &trace.Span{ID: trace.NewSpanID(), Upstream: trace.NewSpanID(), Server: true}
	if caller := e.settings.parse(h); caller != nil {
		s.Trace, s.Parent, s.Remote, s.State, s.Baggage = caller.Trace, caller.ID, true, caller.State, caller.Baggage
		s.Sampled = caller.Sampled
	} else {
		s.Trace = trace.NewID()
	}
	s.Sampled = e.settings.sampler.keeps(s)
	return s
}

// observer makes spans of what it hears of.
type observer struct {
	*Exporter
	next gateway.Observer
}

// Observer gives an Observer that makes spans, in front of another.
func (e *Exporter) Observer(next gateway.Observer) gateway.Observer {
	if !e.Tracing() {
		return next
	}
	return &observer{e, next}
}

// Observe implements gateway.Observer.
func (o *observer) Observe(entry gateway.Entry) {
	o.next.Observe(entry)
	s := entry.Trace
	if s == nil || !s.Sampled || s.Passed {
		return
	}
	said, _ := s.Noted().(*content)
	if s.Server {
		s.Note(&outcome{entry, said})
		return
	}
	o.finish(finished{span: s, call: &outcome{entry, said}})
}

// outcome is what became of a call.
type outcome struct {
	gateway.Entry
	said *content // nil: it isn't kept
}

// End implements httpserver.Tracer.
func (e *Exporter) End(s *trace.Span, served trace.Served) {
	if !s.Sampled {
		return
	}
	call, _ := s.Noted().(*outcome)
	kept := served // only what is kept is on the heap
	e.finish(finished{span: s, served: &kept, call: call})
}

// Ran tells of a queued request that stood for several calls, each with a span of its
// own: that request's, whose clock has been finished.
func (e *Exporter) Ran(call *gateway.Call) {
	if s := call.Trace; e.Tracing() && s != nil && s.Sampled && !s.Passed {
		e.finish(finished{span: s, run: ofRun(call)})
	}
}

func (e *Exporter) writeOne(f finished) {
	if f.run != nil {
		e.write(f.span, f.run, linksOf(f.span)...)
		return
	}
	e.export(f.span, f.served, f.call)
}

// finish hands a span on, and leaves it out where too many wait.
func (e *Exporter) finish(f finished) {
	select {
	case e.over <- f:
	default:
		e.lost.hear("traces", errTooMany)
	}
}

var errTooMany = errors.New("too many spans at once")

// writeAll writes what is over, to the last one before the end.
func (e *Exporter) writeAll() {
	for {
		select {
		case f := <-e.over:
			e.writeOne(f)
		case <-e.closing:
			for {
				select {
				case f := <-e.over:
					e.writeOne(f)
				default:
					return
				}
			}
		}
	}
}
