package httpserver

import "net/http"

// Values of headers. They are never changed: who sets another one replaces them.
var (
	nosniff = []string{"nosniff"}
	// strict keeps browsers to TLS for a month: long enough to be of use between
	// visits, short enough to be undone. Hosts below the service's may have none.
	strict     = []string{"max-age=2592000"}
	varyOrigin = []string{"Origin"}
	exposed    = []string{"X-Request-Id, Request-Id, X-Claude-Backend, X-Claude-Warnings, X-Error-Category, X-Upstream-Status, Retry-After, X-Should-Retry, Server-Timing"}
	preflights = []string{"GET, POST, PUT, PATCH, DELETE"}
	oneHour    = []string{"3600"}
)

// prepare gives an answer what every one has in its header.
func (r *recorder) prepare(id string) {
	h := r.Header()
	h[headerRequestID] = []string{id}
	h["X-Content-Type-Options"] = nosniff
	if r.secure {
		h["Strict-Transport-Security"] = strict
	}
}

// preflight lets the pages of the configured origins read the answer, and answers
// a browser that asks whether they may send the request. Keys travel in headers
// that a page sets itself: cookies and the like are never allowed.
func (t *table) preflight(w http.ResponseWriter, r *http.Request) (answered bool) {
	if len(t.origins) == 0 {
		return false
	}
	h := w.Header()
	h["Vary"] = varyOrigin // also where there is no origin: caches must tell them apart
	origins := r.Header["Origin"]
	if len(origins) != 1 || !t.origins[origins[0]] {
		return false
	}
	h["Access-Control-Allow-Origin"] = origins
	h["Access-Control-Expose-Headers"] = exposed
	if r.Method != http.MethodOptions || r.Header["Access-Control-Request-Method"] == nil {
		return false
	}
	h["Access-Control-Allow-Methods"] = preflights
	// The SDKs send a dozen of their own; an origin that is trusted may send any.
	if wanted := r.Header["Access-Control-Request-Headers"]; len(wanted) > 0 {
		h["Access-Control-Allow-Headers"] = wanted
	}
	h["Access-Control-Max-Age"] = oneHour
	w.WriteHeader(http.StatusNoContent)
	return true
}
