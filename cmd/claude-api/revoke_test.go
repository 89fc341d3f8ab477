package main

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestRevoke makes and revokes keys with the command while the service serves.
func TestRevoke(t *testing.T) {
	s := serve(t, newUpstream(t).url, "off")
	for _, how := range []string{"by the key", "by its id"} {
		t.Run(how, func(t *testing.T) {
			s.key = s.createKey(t)
			if a := s.post(t, "/v1/chat/completions", chat("hello")); a.status != http.StatusOK {
				t.Fatalf("a new key: %d %s", a.status, a.body)
			}
			ref := s.key
			if how == "by its id" {
				table := command(t, s.env, "keys", "list", "--data-dir="+s.data)
				last := table[strings.LastIndexByte(table, '\n')+1:]
				ref = strings.Fields(last)[0]
			}
			command(t, s.env, "keys", "revoke", "--data-dir="+s.data, "--force", ref)
			revoked := time.Now()
			eventually(t, time.Second, "the key is refused", func() bool {
				return s.post(t, "/v1/chat/completions", chat("hello")).status == http.StatusUnauthorized
			})
			t.Logf("refused %v after the command", time.Since(revoked).Round(time.Millisecond))
			for _, endpoint := range endpoints {
				a := s.post(t, endpoint.path, endpoint.body("hello"))
				if a.status != http.StatusUnauthorized {
					t.Fatalf("%s: %d %s", endpoint.path, a.status, a.body)
				}
				checkEnvelope(t, endpoint.path, a, "")
			}
			if a := s.get(t, "/v1/models"); a.status != http.StatusUnauthorized {
				t.Errorf("models: %d %s", a.status, a.body)
			}
		})
	}
}

// TestRateLimit spends a key's whole minute at once.
func TestRateLimit(t *testing.T) {
	s := serve(t, newUpstream(t).url, "off")
	s.key = command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "--rate-limit=3", "-q")
	for i := range 3 {
		a := s.post(t, "/v1/chat/completions", chat("hello"))
		if want := string(rune('2' - i)); a.status != http.StatusOK || a.header.Get("X-Ratelimit-Remaining-Requests") != want {
			t.Fatalf("request %d: %d, remaining %q", i, a.status, a.header.Get("X-Ratelimit-Remaining-Requests"))
		}
	}
	for path, header := range map[string]string{"/v1/chat/completions": "X-Ratelimit-Limit-Requests", "/v1/messages": "Anthropic-Ratelimit-Requests-Limit"} {
		a := s.post(t, path, messagesBody("hello"))
		if a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") == "" || a.header.Get(header) != "3" {
			t.Errorf("%s over the limit: %d %v", path, a.status, a.header)
		}
		checkEnvelope(t, path, a, "")
	}
}
