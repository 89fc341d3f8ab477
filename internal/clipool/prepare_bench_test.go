package clipool

import (
	"fmt"
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/message"
)

// BenchmarkPrepare measures what is done with a request before a worker is
// taken: of 128 KB in 64 turns, and with an image of 1 MB.
func BenchmarkPrepare(b *testing.B) {
	var long []string
	for i := range 64 {
		role := []string{message.RoleUser, message.RoleAssistant}[i%2]
		long = append(long, fmt.Sprintf(`{"role":%q,"content":%q}`, role, strings.Repeat("words and ", 205)))
	}
	long = append(long, `{"role":"user","content":"and?"}`)
	for name, turns := range map[string]string{
		"short": `{"role":"user","content":"hello"}`,
		"128KB": strings.Join(long, ","),
		"image": `{"role":"user","content":[{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + strings.Repeat("AAAA", 256<<10) + `"}}]},{"role":"assistant","content":"a"},{"role":"user","content":"b"}`,
	} {
		b.Run(name, func(b *testing.B) {
			p := New(Options{})
			r, err := message.ParseRequest([]byte(`{"max_tokens":5,"messages":[` + turns + `]}`))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if _, err := p.prepare(&gateway.Call{Request: r, Model: "m", Caller: &gateway.Caller{}, Clock: latency.Start()}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
