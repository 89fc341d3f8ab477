package main

import (
	"io"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/claudecli/clitest"
)

// TestSessionsPage runs every command of docs/sessions.md against a service with the
// real CLI.
func TestSessionsPage(t *testing.T) {
	u := newUpstream(t)
	s := serve(t, u.url, clitest.Path(t, clitest.Versions[0])).ready(t)
	runPage(t, "sessions.md", 2, []string{"URL=" + s.url, "KEY=" + s.key})
	for _, said := range []string{"What is my name?", "And if I were called Ink?"} {
		found := u.messages(said)
		if len(found) == 0 {
			t.Fatalf("%s never reached the upstream", said)
		}
		if body := string(found[0].Body); !strings.Contains(body, "My name is Quill.") || !strings.Contains(body, "You are terse.") {
			t.Errorf("%s reached the upstream with %.3000s", said, body)
		}
	}
}

// session makes one and gives its id.
func (s *service) session(t *testing.T) string {
	t.Helper()
	a := s.post(t, "/v1/sessions", `{"model":"haiku","system":"speak like a zebra"}`)
	var made struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(a.body), &made); err != nil || a.status != http.StatusCreated {
		t.Fatalf("%d %s", a.status, a.body)
	}
	return made.ID
}

// TestSessionsOutliveKills: what was answered is known after kill -9, and what wasn't
// has never been said.
func TestSessionsOutliveKills(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			cli := clitest.Path(t, version)
			u := newUpstream(t)
			s := serve(t, u.url, cli).ready(t)
			key, data := s.key, s.data
			id := s.session(t)
			say := func(text string) string {
				t.Helper()
				if a := s.post(t, "/v1/chat/completions", chat(text, `"session_id":"`+id+`"`)); a.status != http.StatusOK {
					t.Fatalf("%s: %d %s", text, a.status, a.body)
				}
				return string(u.one(t, text))
			}
			again := func() {
				t.Helper()
				s.signal(t, syscall.SIGKILL)
				s.exit(t)
				s = serveOn(t, data, u.url, cli).ready(t)
				s.key = key
			}
			say("first word mango")
			again() // at once: the answer's end is all that it has waited for
			if body := say("second word lychee"); !strings.Contains(body, "first word mango") || !strings.Contains(body, "zebra") {
				t.Errorf("after kill -9: %.3000s", body)
			}

			lines, _ := s.open(t, "/v1/chat/completions", chat("lost word kiwi [[tokens=5000 interval=20ms]]", `"stream":true`, `"session_id":"`+id+`"`))
			until(t, lines, `"content":"`)
			again()
			_, _ = io.Copy(io.Discard, lines)
			body := say("third word fig")
			if !strings.Contains(body, "first word mango") || !strings.Contains(body, "second word lychee") || strings.Contains(body, "kiwi") {
				t.Errorf("after kill -9 in the middle of an answer: %.3000s", body)
			}
		})
	}
}
