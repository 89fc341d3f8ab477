package httpserver

import (
	"io"
	"net/http"
	"regexp"
	"testing"
)

func someRoutes(mux *http.ServeMux) {
	nothing := func(http.ResponseWriter, *http.Request) {}
	mux.HandleFunc("POST /v1/messages", nothing)
	mux.HandleFunc("GET /v1/models/{id}", nothing)
	mux.HandleFunc("DELETE /v1/models/{id}", nothing)
}

func TestUnmatched(t *testing.T) {
	plain := Options{Register: routes(someRoutes)}
	listed := Options{Register: routes(someRoutes), Endpoints: []string{"POST /v1/messages", "GET /v1/models/{id}"}}
	tests := []struct {
		name, method, path string
		header             string // a further one, "" for none
		options            Options
		status             int
		allow, kind        string
		message            string
	}{
		{
			name: "unknown", method: "POST", path: "/v1/nope", options: plain, status: 404,
			kind: "invalid_request_error", message: "no such path; GET / says what exists",
		},
		{
			name: "unknown, what exists is known", method: "GET", path: "/v1/nope?x=1", options: listed, status: 404,
			kind: "invalid_request_error", message: "no such path; what exists: POST /v1/messages, GET /v1/models/{id}",
		},
		{
			name: "unknown of the Messages API", method: "POST", path: "/v1/messages/nope", options: plain, status: 404,
			kind: "not_found_error", message: "no such path; GET / says what exists",
		},
		{
			name: "unknown to a client of the Messages API", method: "GET", path: "/v1/files", header: "Anthropic-Version", options: plain, status: 404,
			kind: "not_found_error", message: "no such path; GET / says what exists",
		},
		{
			name: "wrong method", method: "GET", path: "/v1/messages", options: plain, status: 405, allow: "POST",
			kind: "invalid_request_error", message: "method GET isn't allowed here; allowed: POST",
		},
		{
			name: "wrong method, several allowed", method: "POST", path: "/v1/models/a", options: plain, status: 405, allow: "GET, HEAD, DELETE",
			kind: "invalid_request_error", message: "method POST isn't allowed here; allowed: GET, HEAD, DELETE",
		},
		{
			name: "wrong method for the root", method: "PUT", path: "/", options: plain, status: 405, allow: "GET, HEAD",
			kind: "invalid_request_error", message: "method PUT isn't allowed here; allowed: GET, HEAD",
		},
		{
			name: "no metrics", method: "GET", path: "/metrics", options: plain, status: 404,
			kind: "invalid_request_error", message: "no such path; GET / says what exists",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := do(New(tt.options), tt.method, tt.path, "X-Request-ID", "me", or(tt.header, "X-Other"), "2023-06-01")
			code := map[int]string{404: "unknown_url", 405: "method_not_allowed"}[tt.status]
			want := `{"type":"error","error":{"message":"` + tt.message + `","type":"` + tt.kind + `","param":null,"code":"` + code +
				`"},"request_id":"me","detail":"` + tt.message + `"}` + "\n"
			if w.Code != tt.status || w.Header().Get("Allow") != tt.allow || w.Body.String() != want {
				t.Errorf("%d %v\n%s\nwant %s", w.Code, w.Header(), w.Body, want)
			}
			if w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("header %v", w.Header())
			}
		})
	}
}

func TestOwnRoutes(t *testing.T) {
	healthy := map[string]Service{"pool": {StatusOK, "4 idle"}, "direct": {StatusOff, ""}}
	uptime := regexp.MustCompile(`"uptime_seconds":[0-9.e-]+`)
	tests := []struct {
		name, path string
		options    Options
		status     int
		want       string
	}{
		{
			name: "root", path: "/", status: 200, options: Options{Endpoints: []string{"POST /v1/messages"}},
			want: `{"name":"claude-api","version":"1.2.3","links":{"docs":"/docs","health":"/health","openapi":"/openapi.json","ready":"/ready"},"endpoints":["POST /v1/messages"]}`,
		},
		{
			name: "root with metrics and more", path: "/", status: 200, options: Options{Metrics: http.NotFoundHandler(), Links: map[string]string{"dashboard": "/dashboard"}},
			want: `{"name":"claude-api","version":"1.2.3","links":{"dashboard":"/dashboard","docs":"/docs","health":"/health","metrics":"/metrics","openapi":"/openapi.json","ready":"/ready"},"endpoints":[]}`,
		},
		{
			name: "health without services", path: "/health", status: 200,
			want: `{"status":"ok","version":"1.2.3","uptime_seconds":0,"services":{}}`,
		},
		{
			name: "healthy", path: "/livez", status: 200, options: Options{Services: func() map[string]Service { return healthy }},
			want: `{"status":"ok","version":"1.2.3","uptime_seconds":0,"services":{"direct":{"status":"off","detail":""},"pool":{"status":"ok","detail":"4 idle"}}}`,
		},
		{
			name: "degraded", path: "/healthz", status: 200,
			options: Options{Services: func() map[string]Service { return map[string]Service{"pool": {StatusDown, "no workers"}} }},
			want:    `{"status":"degraded","version":"1.2.3","uptime_seconds":0,"services":{"pool":{"status":"down","detail":"no workers"}}}`,
		},
		{name: "ready", path: "/ready", status: 200, want: `{"ready":true,"reason":""}`},
		{
			name: "not ready", path: "/readyz", status: 503, options: Options{Ready: func() (bool, string) { return false, "starting" }},
			want: `{"ready":false,"reason":"starting"}`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.options.Name, tt.options.Version = "claude-api", "1.2.3"
			w := do(New(tt.options), "GET", tt.path)
			got := uptime.ReplaceAllString(w.Body.String(), `"uptime_seconds":0`)
			if w.Code != tt.status || got != tt.want+"\n" {
				t.Errorf("%d %s\nwant %d %s", w.Code, got, tt.status, tt.want)
			}
		})
	}
}

func TestMetricsRoute(t *testing.T) {
	s := New(Options{Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "up 1\n") })})
	if w := do(s, "GET", "/metrics"); w.Code != 200 || w.Body.String() != "up 1\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
