package claudecli

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli/clitest"
)

// TestTheCLIsOwnUpstreamComesBack where no address is configured: the CLI goes to
// its own again after it was barred. The proxy tells where it wants to go, and lets
// nothing through.
func TestTheCLIsOwnUpstreamComesBack(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel() // it waits, most of the time
			var mu sync.Mutex
			var asked []string
			proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				defer mu.Unlock()
				asked = append(asked, r.Method+" "+r.Host)
				if r.Header.Get("X-Api-Key") != "" {
					t.Errorf("%s %s tells the proxy the credential", r.Method, r.Host)
				}
				w.WriteHeader(http.StatusBadGateway)
			}))
			t.Cleanup(proxy.Close)
			p, err := Start(Options{
				Path: clitest.Path(t, version), Root: t.TempDir(), Model: "claude-haiku-5-5", APIKey: "sk-simulator",
				Env:      []string{"HTTPS_PROXY=" + proxy.URL, "HTTP_PROXY=" + proxy.URL},
				Features: Features{Emptying: EmptyByClear, LiveSettings: true, OneCall: true},
				// Without its upstream 2.1.331 takes 17 s until it answers.
				StartTimeout: time.Minute,
			})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(p.Close)
			if err := p.Ready(t.Context()); err != nil {
				t.Fatal(err)
			}
			went := func(bounded bool) []string {
				t.Helper()
				if err := p.Bind(t.Context(), Settings{Model: "claude-haiku-5-5", MaxTokens: 10, Bounded: bounded}); err != nil {
					t.Fatal(err)
				}
				if p.bar(); p.barred != bounded {
					t.Fatalf("barred: %t", p.barred)
				}
				mu.Lock()
				asked = nil
				mu.Unlock()
				if _, err := p.Turn(t.Context(), jsontext.Value(`"hi"`), Handler{}); err == nil {
					t.Error("a turn without an upstream was answered")
				}
				mu.Lock()
				defer mu.Unlock()
				return slices.Compact(asked)
			}
			own := went(false)
			if !slices.Equal(own, []string{"CONNECT api.anthropic.com:443"}) {
				t.Fatalf("it goes to %q", own)
			}
			if barred := went(true); slices.Contains(barred, own[0]) {
				t.Errorf("barred, it goes to %q", barred)
			}
			if again := went(false); !slices.Equal(again, own) {
				t.Errorf("afterwards it goes to %q", again)
			}
		})
	}
}
