package anthropic

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// discard is an EventWriter that costs nothing.
type discard struct{}

func (discard) Event(message.Event) error { return nil }
func (discard) Flush() error              { return nil }
func (discard) Message([]byte) error      { return nil }
func (discard) End(gateway.Result) error  { return nil }

// BenchmarkAdded compares the backend with a bare client over loopback; the
// difference is what the backend adds to a request.
func BenchmarkAdded(b *testing.B) {
	url := serve(b, func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		if bytes.Contains(body, []byte(`"stream":true`)) {
			_, _ = io.WriteString(w, answer)
			return
		}
		_, _ = io.WriteString(w, plainAnswer)
	})
	for _, kind := range []struct{ name, body string }{{"plain", plainBody}, {"stream", streamBody}} {
		b.Run(kind.name+"/bare", func(b *testing.B) {
			client := &http.Client{Transport: newTransport()}
			defer client.CloseIdleConnections()
			b.ReportAllocs()
			for b.Loop() {
				resp, err := client.Post(url, "application/json", bytes.NewReader([]byte(kind.body)))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, resp.Body)
				_ = resp.Body.Close()
			}
		})
		for _, model := range []string{"claude-a", "claude-other"} {
			b.Run(kind.name+"/backend/"+model, func(b *testing.B) {
				backend := newBackend(b, Options{BaseURL: url})
				call := newCall(b, kind.body, model)
				b.ReportAllocs()
				for b.Loop() {
					if _, err := backend.Generate(b.Context(), call, discard{}); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
