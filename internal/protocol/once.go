package protocol

import (
	"net/http"

	"claude-code-api-service/internal/gateway"
)

// HeaderIdempotencyKey names a request, so that it can be sent again without being
// served again; HeaderReplayed says that an answer is an earlier one's.
const (
	HeaderIdempotencyKey = "Idempotency-Key"
	HeaderReplayed       = "Idempotent-Replayed"
)

// Once has requests that carry an Idempotency-Key served once: an
// idempotency.Keeper.
type Once interface {
	// Serve serves the request, or gives it the answer of the one that had its key
	// before. What it returns is for the family's error writer, as with any
	// HandlerFunc; where an error is an answer to be kept, it writes it itself.
	Serve(w http.ResponseWriter, r *http.Request, call *gateway.Call, serve HandlerFunc, write ErrorWriter) error
}

// KeptWriter is the http.ResponseWriter of an answer that is kept. What was written
// and not flushed stays with it until the answer is kept.
type KeptWriter interface {
	http.ResponseWriter
	// Complete says that the answer has been written to its end. It returns when the
	// answer is kept; on an error what wasn't flushed is forgotten.
	Complete() error
}

// HandleOnce is Handle for an endpoint that generates: what carries an
// Idempotency-Key goes through once. A nil Once doesn't read the header.
func HandleOnce(g *gateway.Gateway, once Once, endpoint string, fn HandlerFunc, writeError ErrorWriter) http.Handler {
	if once == nil {
		return Handle(g, endpoint, fn, writeError)
	}
	write := func(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
		g.Refuse(r.Context(), call, err)
		writeError(w, r, call, err)
	}
	return Handle(g, endpoint, func(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
		if _, named := r.Header[HeaderIdempotencyKey]; !named {
			return fn(w, r, call)
		}
		return once.Serve(w, r, call, fn, write)
	}, writeError)
}
