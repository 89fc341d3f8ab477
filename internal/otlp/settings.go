package otlp

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/metric"
	sdk "go.opentelemetry.io/otel/sdk/trace"

	"claude-code-api-service/internal/trace"
)

// The protocols.
const (
	protocolHTTP = "http/protobuf"
	protocolGRPC = "grpc"
)

// settings are what the variables say. What they say of endpoints, headers,
// certificates, timeouts, batches and intervals the SDK reads itself.
type settings struct {
	traces, metrics  bool
	traceProtocol    string
	metricProtocol   string
	sampler          sampler
	context, baggage bool // are taken from callers
	content          bool
	secrets          []string // are in no log

}

func readSettings() (settings, error) {
	s := settings{sampler: sampler{parents: true, below: math.MaxUint64}}
	if on, err := flag("OTEL_SDK_DISABLED"); err != nil || on {
		return s, err
	}
	var err error
	if s.traces, s.traceProtocol, err = signal("TRACES"); err != nil {
		return s, err
	}
	if s.metrics, s.metricProtocol, err = signal("METRICS"); err != nil {
		return s, err
	}
	if !s.traces && !s.metrics {
		return s, nil
	}
	for _, name := range []string{"OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_METRICS_HEADERS"} {
		secrets, err := headers(name)
		if err != nil {
			return s, err
		}
		s.secrets = append(s.secrets, secrets...)
	}
	if s.sampler, err = readSampler(); err != nil {
		return s, err
	}
	if s.context, s.baggage, err = propagators(); err != nil {
		return s, err
	}
	s.content, err = flag("OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT")
	return s, err
}

// value is a variable's; empty ones aren't set.
func value(names ...string) string {
	for _, name := range names {
		if v := strings.TrimSpace(os.Getenv(name)); v != "" {
			return v
		}
	}
	return ""
}

// flag reads a boolean, which is true only where it says so.
func flag(name string) (bool, error) {
	switch strings.ToLower(value(name)) {
	case "", "false", "0":
		return false, nil
	case "true", "1":
		return true, nil
	}
	return false, fmt.Errorf("%s: must be true or false", name)
}

// signal says whether one is sent, and how.
func signal(name string) (on bool, protocol string, err error) {
	which := "OTEL_" + name + "_EXPORTER"
	switch value(which) {
	case "", "otlp":
	case "none":
		return false, "", nil
	default:
		return false, "", fmt.Errorf("%s: must be otlp or none", which)
	}
	for _, variable := range []string{"OTEL_EXPORTER_OTLP_" + name + "_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		text := value(variable)
		if text == "" {
			continue
		}
		if at, err := url.Parse(text); err != nil || at.Host == "" || at.Scheme != "http" && at.Scheme != "https" {
			return false, "", fmt.Errorf("%s: must be a URL with http or https", variable)
		}
		on = true
		break
	}
	variables := []string{"OTEL_EXPORTER_OTLP_" + name + "_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"}
	switch protocol = value(variables...); protocol {
	case "":
		protocol = protocolHTTP
	case protocolHTTP, protocolGRPC:
	default:
		return false, "", fmt.Errorf("%s: must be %s or %s", strings.Join(variables, ", "), protocolHTTP, protocolGRPC)
	}
	return on, protocol, nil
}

// headers checks a list of name=value, and gives the values: they are secrets.
func headers(name string) (values []string, err error) {
	for pair := range strings.SplitSeq(value(name), ",") {
		if strings.TrimSpace(pair) == "" {
			continue
		}
		key, text, found := strings.Cut(pair, "=")
		key = strings.TrimSpace(key)
		plain, err := url.PathUnescape(strings.TrimSpace(text))
		if !found || key == "" || strings.ContainsAny(key, " \t\r\n:") || err != nil || strings.ContainsAny(plain, "\r\n\x00") {
			return nil, fmt.Errorf("%s: must be a list of name=value", name)
		}
		values = append(values, strings.TrimSpace(text), plain)
		// Authorization's scheme is no secret; what is behind it also appears alone.
		if _, token, ok := strings.Cut(plain, " "); ok {
			values = append(values, token)
		}
	}
	return slices.DeleteFunc(values, func(v string) bool { return v == "" }), nil
}

// propagators says what is taken from callers and passed on.
func propagators() (context, baggage bool, err error) {
	text := value("OTEL_PROPAGATORS")
	if text == "" {
		return true, true, nil
	}
	for name := range strings.SplitSeq(text, ",") {
		switch strings.TrimSpace(name) {
		case "tracecontext":
			context = true
		case "baggage":
			baggage = true
		case "none":
		default:
			return false, false, errors.New("OTEL_PROPAGATORS: may name tracecontext and baggage, or none")
		}
	}
	return context, baggage, nil
}

// parse takes a caller's context, as far as the settings want it.
func (s *settings) parse(h http.Header) *trace.Span {
	if !s.context {
		return nil
	}
	caller := trace.Parse(h)
	if caller != nil && !s.baggage {
		caller.Baggage = ""
	}
	return caller
}

// sampler decides which traces are kept, as OTEL_TRACES_SAMPLER says.
type sampler struct {
	parents bool // a caller's decision holds
	// below is the limit under which the last 63 bits of a trace's id must be, as in
	// OpenTelemetry's own sampler: so every service decides alike.
	below uint64
}

func (s sampler) keeps(span *trace.Span) bool {
	if span.Remote && s.parents {
		return span.Sampled
	}
	return binary.BigEndian.Uint64(span.Trace[8:])>>1 < s.below
}

func readSampler() (sampler, error) {
	const variable, argument = "OTEL_TRACES_SAMPLER", "OTEL_TRACES_SAMPLER_ARG"
	name, parents := strings.CutPrefix(value(variable), "parentbased_")
	switch name {
	case "":
		return sampler{true, math.MaxUint64}, nil
	case "always_on":
		return sampler{parents, math.MaxUint64}, nil
	case "always_off":
		return sampler{parents, 0}, nil
	case "traceidratio":
		ratio := 1.0
		if text := value(argument); text != "" {
			var err error
			if ratio, err = strconv.ParseFloat(text, 64); err != nil || !(ratio >= 0 && ratio <= 1) {
				return sampler{}, fmt.Errorf("%s: must be a number from 0 to 1", argument)
			}
		}
		if ratio == 1 {
			return sampler{parents, math.MaxUint64}, nil
		}
		return sampler{parents, uint64(ratio * (1 << 63))}, nil
	}
	return sampler{}, fmt.Errorf("%s: must be always_on, always_off, traceidratio, or one of these behind parentbased_", variable)
}

func (s *settings) spanExporter(ctx context.Context) (sdk.SpanExporter, error) {
	if s.traceProtocol == protocolGRPC {
		return otlptracegrpc.New(ctx)
	}
	return otlptracehttp.New(ctx)
}

func (s *settings) metricExporter(ctx context.Context) (metric.Exporter, error) {
	if s.metricProtocol == protocolGRPC {
		return otlpmetricgrpc.New(ctx)
	}
	return otlpmetrichttp.New(ctx)
}

// address is where somebody is reached.
type address struct {
	host string // "": not known
	port int
}

// addressOf reads a URL's.
func addressOf(text string) address {
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" {
		return address{}
	}
	return hostPort(u.Host, u.Scheme)
}

// hostPort reads a host, maybe with a port, which is the scheme's own otherwise.
func hostPort(text, scheme string) address {
	host, number, err := net.SplitHostPort(text)
	if err != nil {
		host, number = strings.Trim(text, "[]"), ""
	}
	port, err := strconv.Atoi(number)
	if err != nil {
		port = 80
		if scheme == "https" {
			port = 443
		}
	}
	return address{host, port}
}
