package protocol

import (
	"context"
	"log/slog"
	"net/http"
	"strconv"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// HandlerFunc serves one request of a caller who was authenticated. What it
// returns is written by its family's one error writer, so it must not have
// written anything itself by then.
type HandlerFunc func(w http.ResponseWriter, r *http.Request, call *gateway.Call) error

// ErrorWriter writes an error in a family's envelope, with what is known of the
// call in the header.
type ErrorWriter func(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error)

// Handle makes a http.Handler of a HandlerFunc: it opens the call, and has an
// error observed and written. It is written also when the caller has left,
// because a caller that only closed its own side still reads, and would take an
// empty 200 for the answer. The endpoint is the route's path, as metrics and
// ledger name it.
func Handle(g *gateway.Gateway, endpoint string, fn HandlerFunc, writeError ErrorWriter) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		call, err := Open(g, w, r, endpoint)
		if err == nil {
			err = fn(w, r, call)
		}
		if err == nil {
			return
		}
		g.Refuse(r.Context(), call, err)
		writeError(w, r, call, err)
	})
}

// Encoder is an EventWriter that knows what has left already.
type Encoder interface {
	gateway.EventWriter
	// Started says that the header has left.
	Started() bool
	// Fail tells the caller of an error inside a started answer.
	Fail(e *apierror.Error)
}

// streamer is an Encoder that writes a Stream.
type streamer interface{ Stream() *Stream }

// Serve walks a call to its end; a stream has heartbeats meanwhile. It returns an error for the family's
// ErrorWriter; one of an answer that has started is logged and told there.
func Serve(ctx context.Context, g *gateway.Gateway, call *gateway.Call, out Encoder, log *slog.Logger) error {
	watched, stop := ctx, func() {}
	if s, ok := out.(streamer); ok {
		watched, stop = s.Stream().Watch(ctx, call)
	}
	defer stop() // also after a panic
	err := g.Serve(watched, call, out)
	stop()
	if err == nil || !out.Started() {
		return err
	}
	Log(ctx, log, call.RequestID, err)
	out.Fail(apierror.From(err))
	return nil
}

// Log writes a failure's cause to the log, the one place where it may be read:
// our own faults as errors, those of what stands behind us as warnings, those of
// the caller for debugging only. A nil logger is silent.
func Log(ctx context.Context, log *slog.Logger, requestID string, err error) {
	if log == nil {
		return
	}
	e := apierror.From(err)
	level := slog.LevelDebug
	switch e.Category {
	case apierror.Internal:
		level = slog.LevelError
	case apierror.UpstreamError, apierror.ConnectionError, apierror.CLIError, apierror.Timeout:
		level = slog.LevelWarn
	case apierror.AuthError:
		if e.Upstream != nil {
			level = slog.LevelError
		}
	}
	log.LogAttrs(ctx, level, "request failed", slog.String("request_id", requestID),
		slog.String("category", string(e.Category)), slog.Int("status", e.Status()), slog.Any("error", err))
}

// contentJSON is a header's value. It is never changed: who sets another one
// replaces it.
var contentJSON = []string{"application/json"}

// WriteJSON sends a complete JSON body in one write. An error says that the
// caller left.
func WriteJSON(w http.ResponseWriter, status int, body []byte) error {
	h := w.Header()
	h["Content-Type"] = contentJSON
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, err := w.Write(body)
	return writeError(err)
}
