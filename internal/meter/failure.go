package meter

import (
	"bytes"
	"context"
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Route implements gateway.Router: what becomes of a call is noted.
func (r *run) Route(call *gateway.Call) (gateway.Backend, error) {
	backend, err := r.walk.Router.Route(call)
	if err != nil {
		r.sum.ended(err)
		return nil, err
	}
	if call.CountOnly {
		return backend, nil
	}
	return &heeded{backend, &r.sum}, nil
}

// heeded is a backend of which the run remembers how it did.
type heeded struct {
	gateway.Backend
	sum *sum
}

// Generate implements gateway.Backend.
func (h *heeded) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	result, err := h.Backend.Generate(ctx, call, out)
	if err == nil || ctx.Err() == nil { // else it was cut off
		h.sum.ended(err)
	}
	return result, err
}

// answer is what a process reads. Where the upstream failed, the service has asked it
// again itself, or its breaker knows better: the CLI isn't to do the same once more. A
// rate limit is for the CLI to wait for, which has the time.
type answer struct {
	http.ResponseWriter
	final bool // it isn't to ask again
}

// WriteHeader implements http.ResponseWriter.
func (a *answer) WriteHeader(status int) {
	if status != http.StatusTooManyRequests && apierror.RetryableStatus(status) {
		a.final = true
		a.Header().Set("X-Should-Retry", "false")
		a.Header().Del("Content-Length") // see Write
	}
	a.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter. The CLI asks again after whatever says
// overloaded_error, whatever the header says (2.1.197, 2.1.331).
func (a *answer) Write(p []byte) (int, error) {
	if !a.final {
		return a.ResponseWriter.Write(p)
	}
	if _, err := a.ResponseWriter.Write(bytes.ReplaceAll(p, []byte(`"overloaded_error"`), []byte(`"api_error"`))); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Unwrap is for http.ResponseController.
func (a *answer) Unwrap() http.ResponseWriter { return a.ResponseWriter }
