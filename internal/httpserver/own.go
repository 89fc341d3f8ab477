package httpserver

import (
	"maps"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
)

// The states of a Service. Anything else but these counts as degraded too.
const (
	StatusOK       = "ok"
	StatusDegraded = "degraded"
	StatusDown     = "down"
	StatusOff      = "off" // not configured: degrades nothing
)

// Service is the state of one thing that the service consists of.
type Service struct {
	Status string `json:"status"`
	Detail string `json:"detail"`
}

// Overall is the state of what consists of these.
func Overall(services map[string]Service) string {
	for _, service := range services {
		if service.Status != StatusOK && service.Status != StatusOff {
			return StatusDegraded
		}
	}
	return StatusOK
}

// unmatched is the pattern of what no other matches.
const unmatched = "/"

// isProbe says whether a pattern is one of the routes that machines ask all the
// time: the access log has them at the debug level.
func isProbe(pattern string) bool {
	switch pattern {
	case "GET /health", "GET /healthz", "GET /livez", "GET /ready", "GET /readyz", "GET /metrics":
		return true
	}
	return false
}

// isProbePath is isProbe before a route is known.
func isProbePath(path string) bool { return isProbe("GET " + path) }

// table is what requests are served by until the next Replace.
type table struct {
	server    *Server
	mux       *http.ServeMux
	endpoints []string
	links     map[string]string
	origins   map[string]bool
	timeout   time.Duration
}

func newTable(s *Server, options Options) *table {
	t := &table{server: s, mux: http.NewServeMux(), endpoints: options.Endpoints, links: options.Links, origins: map[string]bool{}, timeout: options.RequestTimeout}
	for _, origin := range options.CORSOrigins {
		t.origins[origin] = true
	}
	t.mux.HandleFunc(unmatched, t.serveUnmatched)
	t.mux.HandleFunc("GET /{$}", t.serveRoot)
	for _, name := range []string{"/health", "/healthz", "/livez"} {
		t.mux.HandleFunc("GET "+name, s.serveHealth)
	}
	for _, name := range []string{"/ready", "/readyz"} {
		t.mux.HandleFunc("GET "+name, s.serveReady)
	}
	if s.options.Metrics != nil {
		t.mux.Handle("GET /metrics", s.options.Metrics)
	}
	for _, register := range options.Register {
		register(t.mux)
	}
	return t
}

func (t *table) serveRoot(w http.ResponseWriter, _ *http.Request) {
	s := t.server
	links := map[string]string{"health": "/health", "ready": "/ready", "docs": "/docs", "openapi": "/openapi.json"}
	if s.options.Metrics != nil {
		links["metrics"] = "/metrics"
	}
	maps.Copy(links, t.links)
	writeJSON(w, http.StatusOK, struct {
		Name      string            `json:"name"`
		Version   string            `json:"version"`
		Links     map[string]string `json:"links"`
		Endpoints []string          `json:"endpoints"`
	}{s.options.Name, s.options.Version, links, t.endpoints})
}

// serveHealth always answers 200: that it answers is the news; the rest is in
// the body.
func (s *Server) serveHealth(w http.ResponseWriter, _ *http.Request) {
	services := map[string]Service{}
	if s.options.Services != nil {
		services = s.options.Services()
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, http.StatusOK, struct {
		Status   string             `json:"status"`
		Version  string             `json:"version"`
		Uptime   float64            `json:"uptime_seconds"`
		Services map[string]Service `json:"services"`
	}{Overall(services), s.options.Version, math.Round(time.Since(s.started).Seconds()*1000) / 1000, services})
}

func (s *Server) serveReady(w http.ResponseWriter, _ *http.Request) {
	ready, reason := true, ""
	switch {
	case s.isLeaving():
		ready, reason = false, "stopping"
	case s.options.Ready != nil:
		ready, reason = s.options.Ready()
	}
	status := http.StatusOK
	if !ready {
		status = http.StatusServiceUnavailable
	}
	w.Header().Set("Cache-Control", "no-store")
	writeJSON(w, status, struct {
		Ready  bool   `json:"ready"`
		Reason string `json:"reason"`
	}{ready, reason})
}

// serveUnmatched answers for what no route matches: 405 when the path exists for
// other methods, else 404.
func (t *table) serveUnmatched(w http.ResponseWriter, r *http.Request) {
	if allowed := t.allowed(r); len(allowed) > 0 {
		methods := strings.Join(allowed, ", ")
		w.Header().Set("Allow", methods)
		writeError(w, failure{
			status: http.StatusMethodNotAllowed, kind: "invalid_request_error", code: "method_not_allowed",
			message: "method " + r.Method + " isn't allowed here; allowed: " + methods,
		})
		return
	}
	f := failure{
		status: http.StatusNotFound, kind: "invalid_request_error", code: "unknown_url",
		message: "no such path; GET / says what exists",
	}
	if strings.HasPrefix(r.URL.Path, "/v1/messages") || r.Header.Get("Anthropic-Version") != "" {
		f.kind = "not_found_error" // the word of the Messages API
	}
	if len(t.endpoints) > 0 {
		f.message = "no such path; what exists: " + strings.Join(t.endpoints, ", ")
	}
	writeError(w, f)
}

// allowed gives the methods that the request's path has routes for.
func (t *table) allowed(r *http.Request) []string {
	var methods []string
	for _, method := range [...]string{
		http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete,
	} {
		other := &http.Request{Method: method, URL: &url.URL{Path: r.URL.Path, RawPath: r.URL.RawPath}, Host: r.Host}
		if _, pattern := t.mux.Handler(other); pattern != unmatched && pattern != "" {
			methods = append(methods, method)
		}
	}
	return methods
}

// failure is an error answer of the server itself.
type failure struct {
	status              int
	kind, code, message string
}

// writeError writes an envelope that the clients of every family read: OpenAI's
// error{message, type, param, code}, Anthropic's type, error{type, message} and
// request_id, and the detail of the service that this one replaces.
func writeError(w http.ResponseWriter, f failure) {
	type inner struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    string  `json:"code"`
	}
	writeJSON(w, f.status, struct {
		Type      string `json:"type"`
		Error     inner  `json:"error"`
		RequestID string `json:"request_id"`
		Detail    string `json:"detail"`
	}{"error", inner{f.message, f.kind, nil, f.code}, w.Header().Get(headerRequestID), f.message})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value, json.Deterministic(true))
	if err != nil { // only for text that isn't UTF-8
		status, body = http.StatusInternalServerError, []byte(`{"detail":"internal error"}`)
	}
	body = append(body, '\n')
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // the caller left
}
