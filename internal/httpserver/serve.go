package httpserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/trace"
)

// headerRequestID in the spelling of net/http.
const headerRequestID = "X-Request-Id"

// ServeHTTP gives a request its id, serves it, catches a panic and writes one
// line to the access log.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	start := time.Now()
	id := requestID(r.Header)
	rec := newRecorder(s, w, r)
	rec.prepare(id)
	ctx, span := r.Context(), s.span(r)
	if span != nil {
		ctx = trace.With(ctx, span)
	}
	defer func() {
		abort := s.recovered(ctx, recover(), rec, r, id)
		// Asked before the answer's last bytes leave: a caller who has them all may
		// close at once, and hasn't left early.
		early := left(r)
		s.finish(rec, r)
		took := time.Since(start)
		status := rec.outcome(early)
		s.logAccess(ctx, rec, r, id, took, status)
		if span != nil && s.options.Tracer != nil {
			s.options.Tracer.End(span, served(rec, r, id, start, took, status))
		}
		if abort {
			panic(http.ErrAbortHandler)
		}
	}()
	t := s.table.Load()
	if t.preflight(rec, r) {
		return
	}
	if !isProbePath(r.URL.Path) {
		if !s.enter() {
			refuseStopping(rec)
			return
		}
		defer s.exit()
	}
	// What generates is no GET: nobody escapes the limit by a header.
	upgrade := r.Method == http.MethodGet && r.Header["Upgrade"] != nil
	limited := ctx
	if t.timeout > 0 && !upgrade {
		var cancel context.CancelFunc
		limited, cancel = context.WithTimeout(ctx, t.timeout)
		defer cancel()
	}
	if limited != r.Context() {
		within := r.WithContext(limited)
		defer func() { r.Pattern = within.Pattern }() // for the log
		t.mux.ServeHTTP(rec, within)
		return
	}
	t.mux.ServeHTTP(rec, r)
}

// span is that of a request; nil: nobody wants to know. Probes have none.
func (s *Server) span(r *http.Request) *trace.Span {
	switch {
	case isProbePath(r.URL.Path):
		return nil
	case s.options.Tracer != nil:
		return s.options.Tracer.Begin(r.Header)
	}
	// What its caller calls it is in the log, and goes on to the upstream.
	span := trace.Parse(r.Header)
	if span != nil {
		span.Passed, span.Baggage = true, ""
	}
	return span
}

// served says of a request how it was answered.
func served(rec *recorder, r *http.Request, id string, start time.Time, took time.Duration, status int) trace.Served {
	scheme := "http"
	if rec.secure {
		scheme = "https"
	}
	return trace.Served{
		Method: r.Method, Route: route(r), Scheme: scheme, Protocol: protocolVersion(r), Host: r.Host, Address: r.RemoteAddr, UserAgent: r.UserAgent(),
		Status: status, RequestID: id, KeyID: rec.keyID, ProjectID: rec.projectID, Start: start, Took: took,
	}
}

func protocolVersion(r *http.Request) string {
	if r.ProtoMajor > 1 {
		return strconv.Itoa(r.ProtoMajor)
	}
	return "1." + strconv.Itoa(r.ProtoMinor)
}

// refuseStopping answers a request that comes while the server stops.
func refuseStopping(rec *recorder) {
	rec.Header()["Retry-After"] = []string{"1"}
	rec.Header()["X-Error-Category"] = []string{string(apierror.Overloaded)}
	writeError(rec, failure{status: http.StatusServiceUnavailable, kind: "overloaded_error", code: "stopping", message: "the service is stopping"})
}

// requestID takes the caller's id if it is one that is safe in logs and headers,
// else it makes one.
func requestID(h http.Header) string {
	if values := h[headerRequestID]; len(values) == 1 && validID(values[0]) {
		return values[0]
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails: crypto/rand ends the program instead
	id := append(make([]byte, 0, 4+2*len(random)), "req_"...)
	return string(hex.AppendEncode(id, random[:]))
}

func validID(id string) bool {
	if len(id) < 1 || len(id) > 128 {
		return false
	}
	for i := range len(id) {
		switch c := id[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}

// recovered deals with a handler's panic and says whether the connection must be
// cut: an answer that has begun must not look complete.
func (s *Server) recovered(ctx context.Context, value any, rec *recorder, r *http.Request, id string) (abort bool) {
	if value == nil {
		return false
	}
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return true
	}
	s.log.LogAttrs(ctx, slog.LevelError, "panic in a handler",
		slog.String("request_id", id), slog.String("route", route(r)),
		slog.Any("panic", value), slog.String("stack", string(debug.Stack())))
	if rec.status != 0 {
		return true
	}
	clear(rec.Header())
	rec.prepare(id)
	writeError(rec, failure{status: http.StatusInternalServerError, kind: "api_error", code: "internal_error", message: "internal error"})
	return false
}

// finish sends what an answer that is complete still holds back, so that the
// caller doesn't wait for the log; and it says that the server stopped where a
// handler, whose request was cancelled, wrote nothing.
func (s *Server) finish(rec *recorder, r *http.Request) {
	if rec.status == 0 && errors.Is(context.Cause(r.Context()), ErrStopped) {
		refuseStopping(rec)
	}
	if rec.status != 0 && rec.Header()["Content-Length"] != nil {
		_ = rec.FlushError() // the caller left
	}
}

// outcome is the status that stands for an answer in the log.
func (r *recorder) outcome(early bool) int {
	switch {
	case early:
		return apierror.StatusClientClosed
	case r.status == 0:
		return http.StatusOK // what net/http sends for a handler that writes nothing
	}
	return r.status
}

func (s *Server) logAccess(ctx context.Context, rec *recorder, r *http.Request, id string, took time.Duration, status int) {
	level := slog.LevelInfo
	if isProbe(r.Pattern) {
		level = slog.LevelDebug
	}
	ctx = context.WithoutCancel(ctx) // the request's own has ended where the caller left
	if !s.log.Enabled(ctx, level) {
		return
	}
	attrs := append(make([]slog.Attr, 0, 8),
		slog.String("method", r.Method), slog.String("route", route(r)),
		slog.Int("status", status), slog.Int64("bytes", rec.bytes), slog.Duration("duration", took),
		slog.String("request_id", id))
	if rec.keyID != "" {
		attrs = append(attrs, slog.String("key_id", rec.keyID))
	}
	if rec.projectID != "" {
		attrs = append(attrs, slog.String("project_id", rec.projectID))
	}
	s.log.LogAttrs(ctx, level, "request", attrs...)
}

// left says whether the caller left before the answer was complete.
func left(r *http.Request) bool {
	return r.Context().Err() != nil && !errors.Is(context.Cause(r.Context()), ErrStopped)
}

// route is the pattern that the request matched, without a method; never the
// path, which may hold ids. What matched nothing has none.
func route(r *http.Request) string {
	pattern := r.Pattern
	for i := range len(pattern) {
		if pattern[i] == '/' {
			pattern = pattern[i:]
			break
		}
	}
	if pattern == unmatched {
		return ""
	}
	return pattern
}
