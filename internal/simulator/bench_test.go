package simulator

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// discard is a ResponseWriter without a network.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}

func benchmarkHandler(b *testing.B, body string) {
	s := New(Options{})
	r := newRequest(b, http.MethodPost, "/v1/messages", "")
	b.ReportAllocs()
	for b.Loop() {
		r.Body, r.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
		s.ServeHTTP(discard{http.Header{}}, r)
	}
}

func BenchmarkPlain(b *testing.B) { benchmarkHandler(b, ask("a plain short prompt", "")) }
func BenchmarkStream(b *testing.B) {
	benchmarkHandler(b, ask("a plain short prompt", `,"stream":true`))
}

func BenchmarkPlain7KB(b *testing.B) {
	benchmarkHandler(b, ask(strings.Repeat("seven kilobytes ", 440), ""))
}

func BenchmarkOverTCP(b *testing.B) {
	_, url := start(b, Options{})
	c := client(b)
	body := ask("a plain short prompt", "")
	for b.Loop() {
		response, err := c.Do(newRequest(b, http.MethodPost, url+"/v1/messages", body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
}
