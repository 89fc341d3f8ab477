// Package otlptest is an OpenTelemetry collector within a test: it takes OTLP over HTTP
// and gRPC, and keeps what came. Only tests import it.
package otlptest

import (
	"compress/gzip"
	"context"
	"encoding/hex"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	collectormetrics "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectortrace "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	trace "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
)

// Span is one that came.
type Span struct {
	*trace.Span
	Trace, ID, Parent string // in hexadecimal
	Attributes        map[string]any
	Resource          map[string]any
}

// Took is how long it took.
func (s *Span) Took() time.Duration {
	return time.Duration(s.GetEndTimeUnixNano() - s.GetStartTimeUnixNano()) //nolint:gosec // of one process
}

// Collector keeps what it is sent. It is safe for concurrent use.
type Collector struct {
	// URL is where it takes OTLP over HTTP, and Target where it does over gRPC.
	URL, Target string

	mu      sync.Mutex
	changed chan struct{}
	spans   []*Span
	metrics map[string]*metrics.Metric
	raw     strings.Builder
	headers []http.Header
}

// Start starts one for the length of the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	c := &Collector{changed: make(chan struct{}), metrics: map[string]*metrics.Metric{}}
	server := httptest.NewServer(http.HandlerFunc(c.serve))
	t.Cleanup(server.Close)
	c.URL = server.URL
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	overGRPC := grpc.NewServer()
	collectortrace.RegisterTraceServiceServer(overGRPC, &traceService{collector: c})
	collectormetrics.RegisterMetricsServiceServer(overGRPC, &metricsService{collector: c})
	var served sync.WaitGroup
	served.Go(func() { _ = overGRPC.Serve(listener) }) // until it is stopped
	t.Cleanup(func() { overGRPC.Stop(); served.Wait() })
	c.Target = "http://" + listener.Addr().String()
	return c
}

func (c *Collector) serve(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	data, err := io.ReadAll(body)
	if err == nil {
		err = c.take(r.URL.Path, data, r.Header)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func (c *Collector) take(path string, data []byte, header http.Header) error {
	switch path {
	case "/v1/traces":
		var request collectortrace.ExportTraceServiceRequest
		if err := proto.Unmarshal(data, &request); err != nil {
			return err
		}
		c.takeTraces(&request, header)
	case "/v1/metrics":
		var request collectormetrics.ExportMetricsServiceRequest
		if err := proto.Unmarshal(data, &request); err != nil {
			return err
		}
		c.takeMetrics(&request, header)
	}
	return nil
}

func (c *Collector) takeTraces(request *collectortrace.ExportTraceServiceRequest, header http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.WriteString(request.String())
	c.headers = append(c.headers, header)
	for _, r := range request.GetResourceSpans() {
		about := attributes(r.GetResource().GetAttributes())
		for _, s := range r.GetScopeSpans() {
			for _, span := range s.GetSpans() {
				c.spans = append(c.spans, &Span{
					Span: span, Trace: hex.EncodeToString(span.GetTraceId()), ID: hex.EncodeToString(span.GetSpanId()),
					Parent: hex.EncodeToString(span.GetParentSpanId()), Attributes: attributes(span.GetAttributes()), Resource: about,
				})
			}
		}
	}
	c.wake()
}

func (c *Collector) takeMetrics(request *collectormetrics.ExportMetricsServiceRequest, header http.Header) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raw.WriteString(request.String())
	c.headers = append(c.headers, header)
	for _, r := range request.GetResourceMetrics() {
		for _, s := range r.GetScopeMetrics() {
			for _, m := range s.GetMetrics() {
				c.metrics[m.GetName()] = m
			}
		}
	}
	c.wake()
}

func (c *Collector) wake() {
	close(c.changed)
	c.changed = make(chan struct{})
}

// patience is how long Await waits.
const patience = 20 * time.Second

// Await waits until a function is content with what came.
func (c *Collector) Await(t testing.TB, what string, enough func() bool) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if enough() {
			return
		}
		select {
		case <-changed:
		case <-timeout.C:
			t.Fatalf("the collector gets no %s; it has the spans %s", what, c.Tree())
		}
	}
}

// Spans gives those that came, and that match.
func (c *Collector) Spans(matches func(s *Span) bool) []*Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []*Span
	for _, s := range c.spans {
		if matches(s) {
			found = append(found, s)
		}
	}
	return found
}

// Span waits for one that matches.
func (c *Collector) Span(t testing.TB, what string, matches func(s *Span) bool) *Span {
	t.Helper()
	var found []*Span
	c.Await(t, what, func() bool { found = c.Spans(matches); return len(found) > 0 })
	return found[0]
}

// Children gives the spans below one, in the order in which they began.
func (c *Collector) Children(of *Span) []*Span {
	found := c.Spans(func(s *Span) bool { return s.Parent == of.ID && s.Trace == of.Trace })
	slices.SortFunc(found, func(a, b *Span) int {
		return int(int64(a.GetStartTimeUnixNano()) - int64(b.GetStartTimeUnixNano())) //nolint:gosec // of one process
	})
	return found
}

// Names gives the names of spans.
func Names(spans []*Span) (names []string) {
	for _, s := range spans {
		names = append(names, s.GetName())
	}
	return names
}

// Metric gives the last state of one; nil: it didn't come.
func (c *Collector) Metric(name string) *metrics.Metric {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.metrics[name]
}

// Raw is all that came, as text.
func (c *Collector) Raw() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.raw.String()
}

// Headers are those of what came.
func (c *Collector) Headers() []http.Header {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.headers)
}

// Tree writes the spans that came, for a test's message.
func (c *Collector) Tree() string {
	var b strings.Builder
	for _, s := range c.Spans(func(*Span) bool { return true }) {
		b.WriteString("\n  " + s.Trace[:8] + " " + s.Parent + " > " + s.ID + " " + s.GetName())
	}
	return b.String()
}

// Attributes gives those of a metric's points.
func Attributes(all []*common.KeyValue) map[string]any { return attributes(all) }

func attributes(all []*common.KeyValue) map[string]any {
	values := map[string]any{}
	for _, a := range all {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			values[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			values[a.GetKey()] = v.IntValue
		case *common.AnyValue_DoubleValue:
			values[a.GetKey()] = v.DoubleValue
		case *common.AnyValue_BoolValue:
			values[a.GetKey()] = v.BoolValue
		case *common.AnyValue_ArrayValue:
			var texts []string
			for _, item := range v.ArrayValue.GetValues() {
				texts = append(texts, item.GetStringValue())
			}
			values[a.GetKey()] = strings.Join(texts, ",")
		}
	}
	return values
}

type traceService struct {
	collectortrace.UnimplementedTraceServiceServer
	collector *Collector
}

// Export implements the service of OTLP.
func (s *traceService) Export(ctx context.Context, r *collectortrace.ExportTraceServiceRequest) (*collectortrace.ExportTraceServiceResponse, error) {
	s.collector.takeTraces(r, headerOf(ctx))
	return &collectortrace.ExportTraceServiceResponse{}, nil
}

type metricsService struct {
	collectormetrics.UnimplementedMetricsServiceServer
	collector *Collector
}

// Export implements the service of OTLP.
func (s *metricsService) Export(ctx context.Context, r *collectormetrics.ExportMetricsServiceRequest) (*collectormetrics.ExportMetricsServiceResponse, error) {
	s.collector.takeMetrics(r, headerOf(ctx))
	return &collectormetrics.ExportMetricsServiceResponse{}, nil
}

func headerOf(ctx context.Context) http.Header {
	h := http.Header{}
	if md, ok := metadata.FromIncomingContext(ctx); ok {
		for name, values := range md {
			h[http.CanonicalHeaderKey(name)] = values
		}
	}
	return h
}
