package idempotency_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// nowhere is a ResponseWriter that keeps nothing.
type nowhere struct{ header http.Header }

func (n nowhere) Header() http.Header         { return n.header }
func (n nowhere) Write(b []byte) (int, error) { return len(b), nil }
func (n nowhere) WriteHeader(int)             {}

type body struct{ *strings.Reader }

func (body) Close() error { return nil }

// BenchmarkRequest measures what the header costs, and what its absence does: the
// same handler with and without a Keeper in front of it. The archive is in memory.
func BenchmarkRequest(b *testing.B) {
	answer := []byte(`{"answer":"` + strings.Repeat("x", 1_000) + `"}`)
	question := `{"question":"` + strings.Repeat("x", 4_000) + `"}`
	serve := func(w http.ResponseWriter, r *http.Request, _ *gateway.Call) error {
		if _, err := protocol.ReadBody(w, r, 0); err != nil {
			return err
		}
		return protocol.WriteJSON(w, http.StatusOK, answer)
	}
	for _, mode := range []string{"without a keeper", "without the header", "a new key", "an answer given again"} {
		b.Run(strings.ReplaceAll(mode, " ", "_"), func(b *testing.B) {
			s := &stand{memory: newMemory(), rooms: &protocoltest.Rooms{}}
			var once protocol.Once
			if mode != "without a keeper" {
				once = newKeeper(s)
			}
			h := protocol.HandleOnce(s.rooms.Gateway(), once, "/x", serve, protocol.OpenAIErrorWriter(nil))
			r, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "/x", nil)
			if err != nil {
				b.Fatal(err)
			}
			r.Header.Set("X-Api-Key", protocoltest.Key)
			reader, w := strings.NewReader(""), nowhere{http.Header{}}
			r.ContentLength, r.Body = int64(len(question)), body{reader}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				switch mode {
				case "a new key":
					r.Header["Idempotency-Key"] = []string{strconv.Itoa(i)}
				case "an answer given again":
					r.Header["Idempotency-Key"] = []string{"the-same"}
				}
				reader.Reset(question)
				clear(w.header)
				h.ServeHTTP(w, r)
			}
			if w.header["Content-Type"] == nil {
				b.Fatal("nothing was answered")
			}
		})
	}
}
