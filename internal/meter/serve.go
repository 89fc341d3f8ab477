package meter

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/trace"
)

// requestID is the header from which the protocols take a request's id.
const requestID = "X-Request-Id"

// serve hands a call to the run whose token it presents. Nothing else is served but
// the HEAD by which some versions of the CLI see whether anybody is there.
func (m *Meter) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		return
	}
	a := m.account(presented(r.Header))
	if a == nil {
		refuse(w, http.StatusUnauthorized, "this address serves agentic runs of the service alone")
		return
	}
	run := a.present()
	if run == nil {
		refuse(w, http.StatusUnauthorized, "no run has begun")
		return
	}
	id, err := run.enter()
	switch {
	case errors.Is(err, errMost):
		w.Header().Set("Retry-After", "1")
		refuse(w, http.StatusTooManyRequests, err.Error())
		return
	case err != nil:
		refuse(w, http.StatusUnauthorized, err.Error())
		return
	}
	defer run.leave()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	stop := context.AfterFunc(run.ctx, func() {
		cancel(context.Cause(run.ctx))
		// A process that has stopped reading, or sending, must not hold up the end.
		connection := http.NewResponseController(w)
		_ = connection.SetReadDeadline(time.Now())
		_ = connection.SetWriteDeadline(time.Now())
	})
	defer stop()
	if m.options.Login {
		ctx = context.WithValue(ctx, login{}, ofLogin(r.Header))
	}
	ctx = trace.With(ctx, run.span(r.Header))
	w.Header()[requestID] = []string{id}
	run.handler.ServeHTTP(&answer{ResponseWriter: w}, r.WithContext(ctx))
}

// span is that of a call of the run. A process that makes spans of its own says as which
// it calls.
func (r *run) span(h http.Header) *trace.Span {
	span := r.Trace.Child()
	if span == nil || span.Passed {
		return span
	}
	if own := trace.Parse(h); own != nil && own.Trace == span.Trace {
		span.Parent = own.ID
	}
	return span
}

// ofLogin gives what of a header the upstream is to see of who has logged in: the
// credential and the program that it was given to.
func ofLogin(h http.Header) http.Header {
	own := http.Header{}
	for _, name := range [...]string{"Authorization", "User-Agent", "X-App"} {
		if values := h[name]; values != nil {
			own[name] = values
		}
	}
	return own
}

// presented finds the token.
func presented(h http.Header) string {
	if token := h.Get(headerRun); token != "" {
		return token
	}
	if token := h.Get("X-Api-Key"); token != "" {
		return token
	}
	token, _ := strings.CutPrefix(h.Get("Authorization"), "Bearer ")
	return token
}

// refuse answers as the Messages API refuses a credential, so that the CLI doesn't try
// again, or too many requests, so that it does.
func refuse(w http.ResponseWriter, status int, why string) {
	kind, again := "authentication_error", "false"
	if status == http.StatusTooManyRequests {
		kind, again = "rate_limit_error", "true"
	}
	body, _ := jsontext.AppendQuote([]byte(`{"type":"error","error":{"type":"`+kind+`","message":`), why) // our own text is valid
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Should-Retry", again)
	w.WriteHeader(status)
	_, _ = io.WriteString(w, string(body)+`}}`) // who has left isn't told
}
