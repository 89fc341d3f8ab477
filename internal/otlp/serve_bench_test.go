package otlp_test

import (
	"context"
	"net/http"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/otlp"
)

// nowhere is an answer that nobody reads.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

// BenchmarkServe is a whole request of a handler that does nothing, as the server serves
// it: with traces off, on and not kept, and on and kept.
func BenchmarkServe(b *testing.B) {
	const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-"
	for _, bench := range []struct {
		name, parent string
		on           bool
	}{
		{"off", "", false}, {"off, a caller's trace", parent + "01", false}, {"on, not kept", parent + "00", true}, {"on, kept", parent + "01", true},
	} {
		b.Run(bench.name, func(b *testing.B) {
			options := httpserver.Options{Register: []func(mux *http.ServeMux){func(mux *http.ServeMux) {
				mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
			}}}
			if bench.on {
				b.Setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://127.0.0.1:1/v1/traces")
				e, err := otlp.New(b.Context(), otlp.Options{Version: "1", Metrics: prometheus.NewRegistry()})
				if err != nil {
					b.Fatal(err)
				}
				defer func() { _ = e.Close(context.Background()) }()
				options.Tracer = e
			}
			server := httpserver.New(options)
			r, err := http.NewRequestWithContext(b.Context(), "POST", "/v1/messages", nil)
			if err != nil {
				b.Fatal(err)
			}
			if bench.parent != "" {
				r.Header["Traceparent"] = []string{bench.parent}
			}
			w := nowhere{http.Header{}}
			b.ReportAllocs()
			for b.Loop() {
				clear(w.header)
				server.ServeHTTP(w, r)
			}
		})
	}
}
