// Package protocol is what every client protocol shares over HTTP: opening a
// call, reading its body, translating a conversation into the Messages form,
// the headers of answers and errors, and writing a stream.
package protocol

import (
	"net"
	"net/http"
	"strings"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// The headers that the service itself reads or writes.
const (
	HeaderRequestID     = "X-Request-Id"
	HeaderBackend       = "X-Claude-Backend"
	HeaderWarnings      = "X-Claude-Warnings"
	HeaderFallback      = "X-Claude-Fallback"
	HeaderServerTiming  = "Server-Timing"
	HeaderErrorCategory = "X-Error-Category"
	HeaderUpstream      = "X-Upstream-Status"
	HeaderRetryAfter    = "Retry-After"
	HeaderShouldRetry   = "X-Should-Retry"
)

// Open starts the walk of a request: it authenticates the caller before
// anything of the body is read, and takes the backend that the header asks for.
// The request's id is the one that was put into w's X-Request-ID before; the
// endpoint is the route's path, as metrics and ledger name it. An error is an
// apierror.Error; the call beside it holds what is known by then.
func Open(g *gateway.Gateway, w http.ResponseWriter, r *http.Request, endpoint string) (*gateway.Call, error) {
	call, err := g.Open(r.Context(), w.Header().Get(HeaderRequestID), endpoint, PresentedKey(r.Header), Address(r))
	Served(w, call.Caller)
	if err != nil {
		return call, err
	}
	call.Prefer, err = PreferredBackend(r.Header)
	return call, err
}

// Served notes whose a request is, for the access log, where w can. The caller may be
// nil.
func Served(w http.ResponseWriter, caller *gateway.Caller) {
	if noted, ok := w.(interface{ Caller(keyID, projectID string) }); ok && caller != nil {
		noted.Caller(caller.KeyID, caller.ProjectID)
	}
}

// Address is the network address that a request came from, without its port. A
// proxy in front of the service is what is seen then: no header is believed.
func Address(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	switch {
	case err == nil:
		return host
	case r.RemoteAddr == "", r.RemoteAddr == "@": // net's words for a peer of a unix socket
		return "unix"
	}
	return r.RemoteAddr
}

// PreferredBackend is the backend that the header asks for, "" for none. An
// error is an apierror.Error.
func PreferredBackend(h http.Header) (string, error) {
	switch prefer := h.Get(HeaderBackend); prefer {
	case "", gateway.BackendCLI, gateway.BackendDirect:
		return prefer, nil
	}
	return "", apierror.Invalid(HeaderBackend, "%s: must be cli or direct", HeaderBackend)
}

// PresentedKey finds the key where the clients of both families put it:
// x-api-key (Anthropic) or Authorization: Bearer (OpenAI). The former wins; ""
// when there is none.
func PresentedKey(h http.Header) string {
	if key := strings.TrimSpace(h.Get("X-Api-Key")); key != "" {
		return key
	}
	scheme, key, _ := strings.Cut(strings.TrimSpace(h.Get("Authorization")), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(key)
}

// PreferBackend applies a body's use_cli: true asks for the CLI, false for the
// direct path, nil for neither. A backend that the header named stays.
func PreferBackend(call *gateway.Call, useCLI *bool) {
	if call.Prefer != "" || useCLI == nil {
		return
	}
	if *useCLI {
		call.Prefer = gateway.BackendCLI
	} else {
		call.Prefer = gateway.BackendDirect
	}
}
