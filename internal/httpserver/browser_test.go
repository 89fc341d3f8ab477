package httpserver

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"
)

const page = "https://app.example"

func TestCORS(t *testing.T) {
	register := routes(func(mux *http.ServeMux) {
		mux.HandleFunc("POST /v1/x", func(http.ResponseWriter, *http.Request) {})
	})
	preflight := []string{"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "x-api-key"}
	for _, tt := range []struct {
		name, method string
		origins      []string
		header       []string
		status       int
		allowed      string
	}{
		{"off", "POST", nil, []string{"Origin", page}, 200, ""},
		{"a preflight while off", "OPTIONS", nil, append([]string{"Origin", page}, preflight...), 405, ""},
		{"an origin", "POST", []string{page}, []string{"Origin", page}, 200, page},
		{"another", "POST", []string{page}, []string{"Origin", "https://evil.example"}, 200, ""},
		{"one that begins alike", "POST", []string{page}, []string{"Origin", page + ".evil.example"}, 200, ""},
		{"none", "POST", []string{page}, nil, 200, ""},
		{"two", "POST", []string{page}, []string{"Origin", page, "Origin", page}, 200, ""},
		{"null", "POST", []string{page}, []string{"Origin", "null"}, 200, ""},
		{"a preflight", "OPTIONS", []string{page}, append([]string{"Origin", page}, preflight...), 204, page},
		{"another's preflight", "OPTIONS", []string{page}, append([]string{"Origin", "https://evil.example"}, preflight...), 405, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := do(New(Options{CORSOrigins: tt.origins, Register: register}), tt.method, "/v1/x", tt.header...)
			h := w.Header()
			if w.Code != tt.status || h.Get("Access-Control-Allow-Origin") != tt.allowed || h.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("%d %v", w.Code, h)
			}
			if (h.Get("Vary") == "Origin") != (len(tt.origins) > 0) {
				t.Errorf("Vary: %s", h.Get("Vary"))
			}
			if tt.status == 204 && (h.Get("Access-Control-Allow-Headers") != "x-api-key" || h.Get("Access-Control-Allow-Methods") == "") {
				t.Errorf("the preflight's answer %v", h)
			}
		})
	}
}

func TestSecurityHeaders(t *testing.T) {
	s := New(Options{Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /panic", func(http.ResponseWriter, *http.Request) { panic("boom") })
	})})
	for _, path := range []string{"/", "/health", "/absent", "/panic"} {
		for _, secure := range []*tls.ConnectionState{nil, {}} {
			r := httptest.NewRequest("GET", path, nil)
			r.TLS = secure
			w := httptest.NewRecorder()
			s.ServeHTTP(w, r)
			if w.Header().Get("X-Content-Type-Options") != "nosniff" || (w.Header().Get("Strict-Transport-Security") != "") != (secure != nil) {
				t.Errorf("%s, TLS %v: %v", path, secure != nil, w.Header())
			}
		}
	}
}
