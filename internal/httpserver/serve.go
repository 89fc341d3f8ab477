package httpserver

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"claude-code-api-service/internal/apierror"
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
	defer func() {
		abort := s.recovered(recover(), rec, r, id)
		// Asked before the answer's last bytes leave: a caller who has them all may
		// close at once, and hasn't left early.
		early := left(r)
		s.finish(rec, r)
		s.logAccess(rec, r, id, time.Since(start), early)
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
	if t.timeout > 0 && !upgrade {
		ctx, cancel := context.WithTimeout(r.Context(), t.timeout)
		defer cancel()
		limited := r.WithContext(ctx)
		defer func() { r.Pattern = limited.Pattern }() // for the log
		t.mux.ServeHTTP(rec, limited)
		return
	}
	t.mux.ServeHTTP(rec, r)
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
func (s *Server) recovered(value any, rec *recorder, r *http.Request, id string) (abort bool) {
	if value == nil {
		return false
	}
	if err, ok := value.(error); ok && errors.Is(err, http.ErrAbortHandler) {
		return true
	}
	s.log.LogAttrs(r.Context(), slog.LevelError, "panic in a handler",
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

func (s *Server) logAccess(rec *recorder, r *http.Request, id string, took time.Duration, early bool) {
	level := slog.LevelInfo
	if isProbe(r.Pattern) {
		level = slog.LevelDebug
	}
	// The request's own context has ended where the caller left.
	ctx := context.WithoutCancel(r.Context())
	if !s.log.Enabled(ctx, level) {
		return
	}
	status := rec.status
	switch {
	case early:
		status = apierror.StatusClientClosed
	case status == 0:
		status = http.StatusOK // what net/http sends for a handler that writes nothing
	}
	s.log.LogAttrs(ctx, level, "request", slog.String("method", r.Method), slog.String("route", route(r)),
		slog.Int("status", status), slog.Int64("bytes", rec.bytes), slog.Duration("duration", took),
		slog.String("request_id", id))
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
