package otlp

import (
	"cmp"
	"context"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	api "go.opentelemetry.io/otel/trace"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/trace"
)

// The service's own attributes.
const (
	attrRequestID = attribute.Key("claude_api.request_id")
	attrKeyID     = attribute.Key("claude_api.key_id")
	attrProjectID = attribute.Key("claude_api.project_id")
	attrBackend   = attribute.Key("claude_api.backend")
	attrRequested = attribute.Key("claude_api.model.requested")
	attrCost      = attribute.Key("claude_api.cost_micro_usd")
	attrFallback  = attribute.Key("claude_api.fallback.from")
)

// longest is how much of a text that others choose is in an attribute, in bytes.
const longest = 256

// given is the IDGenerator of spans whose ids were made before.
type given struct{}

type idKey struct{}

type ids struct {
	trace trace.ID
	span  trace.SpanID
}

// NewIDs implements sdk's IDGenerator.
func (g given) NewIDs(ctx context.Context) (api.TraceID, api.SpanID) {
	id := ctx.Value(idKey{}).(ids) // start sets it
	return api.TraceID(id.trace), api.SpanID(id.span)
}

// NewSpanID implements sdk's IDGenerator.
func (g given) NewSpanID(ctx context.Context, _ api.TraceID) api.SpanID {
	_, span := g.NewIDs(ctx)
	return span
}

// piece is a span that is over.
type piece struct {
	name       string
	id, parent trace.SpanID
	remote     bool // the parent is a caller's
	kind       api.SpanKind
	start, end time.Time
	attributes []attribute.KeyValue
	failed     bool
}

// write hands a span to the processor.
func (e *Exporter) write(s *trace.Span, p *piece, links ...api.Link) {
	ctx := context.WithValue(context.Background(), idKey{}, ids{s.Trace, p.id})
	state, _ := api.ParseTraceState(s.State) // a malformed one has been left out
	if p.parent != (trace.SpanID{}) {
		ctx = api.ContextWithSpanContext(ctx, api.NewSpanContext(api.SpanContextConfig{
			TraceID: api.TraceID(s.Trace), SpanID: api.SpanID(p.parent), TraceFlags: api.FlagsSampled, TraceState: state, Remote: p.remote,
		}))
	}
	_, span := e.tracer.Start(ctx, p.name, api.WithTimestamp(p.start), api.WithSpanKind(p.kind), api.WithAttributes(p.attributes...), api.WithLinks(links...))
	if p.failed {
		span.SetStatus(codes.Error, "")
	}
	span.End(api.WithTimestamp(p.end))
}

// export writes a span with those of its stages. served is nil for what isn't an HTTP
// request, call for one that called no model.
func (e *Exporter) export(s *trace.Span, served *trace.Served, call *outcome) {
	p := &piece{id: s.ID, parent: s.Parent, remote: s.Remote, kind: api.SpanKindInternal}
	if call != nil {
		p.name, p.start = nameOf(&call.Entry), call.Time
		p.end = call.Time.Add(total(call.Clock))
		p.attributes, p.failed = ofCall(&call.Entry), call.Status >= 500
		p.attributes = append(p.attributes, call.said.attributes()...)
	}
	if served != nil {
		p.kind, p.start, p.end = api.SpanKindServer, served.Start, served.Start.Add(served.Took)
		p.attributes = append(p.attributes, ofRequest(served)...)
		p.failed = p.failed || served.Status >= 500
		if call == nil {
			p.name = strings.TrimSpace(methodOf(served.Method) + " " + served.Route)
			p.attributes = append(p.attributes, ofCaller(served.RequestID, served.KeyID, served.ProjectID)...)
			if served.Status >= 500 {
				p.attributes = append(p.attributes, semconv.ErrorTypeKey.String(strconv.Itoa(served.Status)))
			}
		}
	}
	e.write(s, p, linksOf(s)...)
	if call != nil {
		e.stages(s, &call.Entry)
	}
}

// linksOf names the request that asked for the work.
func linksOf(s *trace.Span) []api.Link {
	if s.Link == nil {
		return nil
	}
	return []api.Link{{SpanContext: api.NewSpanContext(api.SpanContextConfig{
		TraceID: api.TraceID(s.Link.Trace), SpanID: api.SpanID(s.Link.ID), TraceFlags: api.FlagsSampled, Remote: true,
	})}}
}

// ofRun is the span of what stands for several calls, which has none of its own.
func ofRun(call *gateway.Call) *piece {
	p := &piece{
		name: "run " + call.Endpoint, id: call.Trace.ID, parent: call.Trace.Parent, kind: api.SpanKindInternal,
		start: call.Clock.StartTime(), end: call.Clock.StartTime().Add(total(&call.Clock)),
	}
	p.attributes = append(ofCaller(call.RequestID, call.Caller.KeyID, call.Caller.ProjectID), semconv.HTTPRoute(call.Endpoint))
	return p
}

// nameOf names a call's span as the conventions do: by what is asked of which model.
func nameOf(entry *gateway.Entry) string {
	if entry.Routed == "" || entry.Metered {
		return operation(entry)
	}
	return operation(entry) + " " + gateway.Storable(entry.Routed, longest)
}

func operation(entry *gateway.Entry) string {
	if entry.Metered {
		return semconv.GenAIOperationNameInvokeAgent.Value.AsString()
	}
	return semconv.GenAIOperationNameChat.Value.AsString()
}

// ofCall are the attributes of a call of a model, or of an agent's run.
func ofCall(entry *gateway.Entry) []attribute.KeyValue {
	all := append(make([]attribute.KeyValue, 0, 32),
		semconv.GenAIOperationNameKey.String(operation(entry)), semconv.GenAIProviderNameAnthropic,
	)
	if model := cmp.Or(entry.Routed, entry.Requested); model != "" {
		all = append(all, semconv.GenAIRequestModel(gateway.Storable(model, longest)))
	}
	if entry.Requested != "" {
		all = append(all, attrRequested.String(gateway.Storable(entry.Requested, longest)))
	}
	if entry.Stream {
		all = append(all, semconv.GenAIRequestStream(true))
	}
	if entry.MaxTokens > 0 && !entry.Metered {
		all = append(all, semconv.GenAIRequestMaxTokensKey.Int64(entry.MaxTokens))
	}
	if entry.Session != "" {
		all = append(all, semconv.GenAIConversationID(entry.Session))
	}
	if entry.Backend != "" {
		all = append(all, attrBackend.String(entry.Backend))
	}
	if entry.Chosen != (gateway.Choice{}) && entry.Chosen != (gateway.Choice{Backend: entry.Backend, Model: entry.Routed}) {
		all = append(all, attrFallback.String(entry.Chosen.Backend+" "+gateway.Storable(entry.Chosen.Model, longest)))
	}
	r := &entry.Result
	if r.ID != "" {
		all = append(all, semconv.GenAIResponseID(gateway.Storable(r.ID, longest)))
	}
	if r.Model != "" {
		all = append(all, semconv.GenAIResponseModel(gateway.Storable(r.Model, longest)))
	}
	if r.StopReason != "" {
		all = append(all, semconv.GenAIResponseFinishReasons(gateway.Storable(r.StopReason, longest)))
	}
	if u := r.Usage; u.Total() > 0 || u.CacheReadInputTokens > 0 || u.CacheCreationInputTokens > 0 {
		all = append(all,
			// By the conventions the cache's tokens are among them.
			semconv.GenAIUsageInputTokensKey.Int64(u.InputTokens+u.CacheReadInputTokens+u.CacheCreationInputTokens),
			semconv.GenAIUsageOutputTokensKey.Int64(u.OutputTokens),
			semconv.GenAIUsageCacheReadInputTokensKey.Int64(u.CacheReadInputTokens),
			semconv.GenAIUsageCacheCreationInputTokensKey.Int64(u.CacheCreationInputTokens),
		)
	}
	if first, known := untilFirst(entry.Clock); known && entry.Stream && entry.Category == "" {
		all = append(all, semconv.GenAIResponseTimeToFirstChunk(first.Seconds()))
	}
	if r.CostMicroUSD != nil && !entry.Metered {
		all = append(all, attrCost.Int64(*r.CostMicroUSD))
	}
	if entry.Category != "" {
		all = append(all, semconv.ErrorTypeKey.String(entry.Category))
	}
	keyID, projectID := "", ""
	if entry.Caller != nil {
		keyID, projectID = entry.Caller.KeyID, entry.Caller.ProjectID
	}
	return append(all, ofCaller(entry.RequestID, keyID, projectID)...)
}

func ofCaller(requestID, keyID, projectID string) []attribute.KeyValue {
	all := []attribute.KeyValue{attrRequestID.String(requestID)}
	if keyID != "" {
		all = append(all, attrKeyID.String(keyID))
	}
	if projectID != "" {
		all = append(all, attrProjectID.String(projectID))
	}
	return all
}

// ofRequest are the attributes of an HTTP request. The path isn't among them: it holds
// ids, and the route says what it is.
func ofRequest(served *trace.Served) []attribute.KeyValue {
	at := hostPort(served.Host, served.Scheme)
	all := []attribute.KeyValue{
		semconv.HTTPRequestMethodKey.String(methodOf(served.Method)),
		semconv.HTTPResponseStatusCode(served.Status),
		semconv.URLScheme(served.Scheme),
		semconv.NetworkProtocolVersion(served.Protocol),
	}
	if served.Route != "" {
		all = append(all, semconv.HTTPRoute(served.Route))
	}
	if at.host != "" {
		all = append(all, semconv.ServerAddress(gateway.Storable(at.host, longest)), semconv.ServerPort(at.port))
	}
	if host, _, err := net.SplitHostPort(served.Address); err == nil {
		all = append(all, semconv.ClientAddress(host))
	}
	if served.UserAgent != "" {
		all = append(all, semconv.UserAgentOriginal(gateway.Storable(served.UserAgent, longest)))
	}
	return all
}

// methods are those that attributes name.
var methods = []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"}

func methodOf(method string) string {
	if slices.Contains(methods, method) {
		return method
	}
	return "_OTHER"
}

// stages writes the spans of a call's stages, one behind the other as the walk has them:
// where one came twice, as by a fallback, its times are together. What the upstream takes
// is one span around them.
func (e *Exporter) stages(s *trace.Span, entry *gateway.Entry) {
	at, upstream := entry.Time, false
	for stage := range latency.Total {
		took, known := entry.Clock.Took(stage)
		if !known {
			continue
		}
		p := &piece{name: stage.String(), id: trace.NewSpanID(), parent: s.ID, kind: api.SpanKindInternal, start: at, end: at.Add(took)}
		if (stage == latency.FirstByte || stage == latency.Generate) && !entry.Metered && !entry.Refused {
			if !upstream {
				e.write(s, e.call(s, entry, at))
			}
			p.parent, upstream = s.Upstream, true
		}
		e.write(s, p)
		at = p.end
	}
}

// call is the span of the backend's call, which began at a moment.
func (e *Exporter) call(s *trace.Span, entry *gateway.Entry, at time.Time) *piece {
	first, _ := entry.Clock.Took(latency.FirstByte)
	rest, _ := entry.Clock.Took(latency.Generate)
	p := &piece{
		name: "upstream", id: s.Upstream, parent: s.ID, kind: api.SpanKindClient, start: at, end: at.Add(first + rest),
		attributes: []attribute.KeyValue{attrBackend.String(entry.Backend)}, failed: entry.Status >= 500,
	}
	if e.upstream.host != "" {
		p.attributes = append(p.attributes, semconv.ServerAddress(e.upstream.host), semconv.ServerPort(e.upstream.port))
	}
	if entry.Category != "" {
		p.attributes = append(p.attributes, semconv.ErrorTypeKey.String(entry.Category))
	}
	return p
}

func untilFirst(clock *latency.Clock) (sum time.Duration, known bool) {
	if _, known = clock.Took(latency.FirstByte); !known {
		return 0, false
	}
	for stage := range latency.FirstByte + 1 {
		took, _ := clock.Took(stage)
		sum += took
	}
	return sum, true
}

func total(clock *latency.Clock) time.Duration {
	took, _ := clock.Took(latency.Total)
	return took
}
