package app

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/simulator"
)

// talk is a session as its tests see it.
type talk struct {
	a        *App
	upstream *simulator.Simulator
	key, id  string
}

func newKey(t *testing.T, a *App, profile string) string {
	t.Helper()
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "alpha", Profile: profile})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// made gives the id of a session that a request makes.
func made(t *testing.T, a *App, key, path, body string) string {
	t.Helper()
	status, answer := ask(t, a, "POST", path, key, body)
	var s struct {
		ID string `json:"id"`
	}
	if err := json.Unmarshal([]byte(answer), &s); err != nil || status != http.StatusCreated || s.ID == "" {
		t.Fatalf("%s: %d %s", path, status, answer)
	}
	return s.ID
}

// says sends a message and gives the answer and the body of the last request that the
// upstream got of it.
func (c talk) says(t *testing.T, text string) (answer, body string) {
	t.Helper()
	status, answer := ask(t, c.a, "POST", "/v1/chat/completions", c.key, c.chat(text, ""))
	if status != http.StatusOK || !strings.Contains(answer, `"session_id":"`+c.id+`"`) {
		t.Fatalf("%s: %d %s", text, status, answer)
	}
	unquoted, _, _ := strings.Cut(text, `"`)
	return answer, c.last(t, unquoted)
}

func (c talk) chat(text, more string) string {
	return `{"session_id":"` + c.id + `",` + more + `"messages":[{"role":"user","content":` + strconv.Quote(text) + `}]}`
}

// last gives the last body that the upstream got with a text.
func (c talk) last(t *testing.T, text string) string {
	t.Helper()
	body := ""
	for _, r := range c.upstream.Requests() {
		if bytes.Contains(r.Body, []byte(text)) {
			body = string(r.Body)
		}
	}
	if body == "" {
		t.Fatalf("%s never reached the upstream", text)
	}
	return body
}

func holdsAll(body string, texts ...string) bool {
	for _, text := range texts {
		if !strings.Contains(body, text) {
			return false
		}
	}
	return true
}

// TestSessions with the real CLI: what the model is told is what was said, whoever
// holds it at the time.
func TestSessions(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			a, upstream, folder := working(t, version, nil)
			key := newKey(t, a, apikey.ProfileEnterprise)
			c := talk{a, upstream, key, made(t, a, key, "/v1/sessions", `{"model":"haiku","system":"speak like a zebra","allowed_tools":["Read"],"working_directory":`+strconv.Quote(folder)+`}`)}
			answer, body := c.says(t, "first word mango")
			if !strings.Contains(answer, "Echo: first word mango") || !holdsAll(body, "speak like a zebra", `"model":"claude-haiku`) {
				t.Errorf("%s of %.3000s", answer, body)
			}
			answer, body = c.says(t, strings.ReplaceAll(reads(folder), `\"`, `"`))
			if !holdsAll(answer, "It is marmalade") || !holdsAll(body, "first word mango", "the word is marmalade") {
				t.Errorf("%s of %.3000s", answer, body)
			}

			// A history of the client's own, another model and a stream.
			streamed := `{"session_id":"` + c.id + `","stream":true,"model":"opus","temperature":0.5,"messages":[{"role":"system","content":"be a lion"},` +
				`{"role":"user","content":"never said papaya"},{"role":"assistant","content":"nor this"},{"role":"user","content":"third word lychee"}]}`
			response := post(t, a, key, streamed)
			if !holdsAll(response.body, `"object":"chat.completion.chunk"`, `"session_id":"`+c.id+`"`, "lychee", "[DONE]", `"model":"claude-haiku`) {
				t.Errorf("the stream: %s", response.body)
			}
			if !holdsAll(response.warnings, "model: the session keeps", "system: the session keeps", "messages: only the last one", "temperature") || strings.Contains(response.warnings, "max_tokens") {
				t.Errorf("warnings: %s", response.warnings)
			}
			if body = c.last(t, "lychee"); !holdsAll(body, "first word mango", "marmalade", "zebra") || strings.Contains(body, "papaya") || strings.Contains(body, "lion") {
				t.Errorf("the third body: %.3000s", body)
			}

			fork := c
			fork.id = made(t, a, key, "/v1/sessions/"+c.id+"/fork", "")
			if _, body = fork.says(t, "forked word quince"); !holdsAll(body, "mango", "lychee", "zebra") {
				t.Errorf("the fork's body: %.3000s", body)
			}
			if _, body = c.says(t, "fourth word fig"); !holdsAll(body, "mango", "lychee") || strings.Contains(body, "quince") {
				t.Errorf("the fourth body: %.3000s", body)
			}
			if _, body = fork.says(t, "forked again"); !holdsAll(body, "mango", "quince") || strings.Contains(body, "word fig") {
				t.Errorf("the fork's second body: %.3000s", body)
			}

			// /v1/process does the same.
			status, answer := ask(t, a, "POST", "/v1/process", key, `{"provider":"x","model_name":"haiku","session_id":"`+c.id+`","user_message":"fifth word plum"}`)
			if status != http.StatusOK || !holdsAll(c.last(t, "fifth word plum"), "word fig") {
				t.Errorf("process: %d %s", status, answer)
			}

			for path, method := range map[string]string{"": "GET", "/fork": "POST"} {
				if status, answer := ask(t, a, method, "/v1/sessions/"+c.id+path, newKey(t, a, apikey.ProfileEnterprise), ""); status != http.StatusNotFound {
					t.Errorf("another key: %s: %d %s", path, status, answer)
				}
			}
			if status, answer := ask(t, a, "GET", "/v1/sessions", key, ""); status != http.StatusOK || !holdsAll(answer, c.id, fork.id, `"turns":5`, `"turns":5`) || strings.Contains(answer, "zebra") {
				t.Errorf("the list: %d %s", status, answer)
			}
			if status, answer := ask(t, a, "DELETE", "/v1/sessions/"+c.id, key, ""); status != http.StatusOK {
				t.Errorf("delete: %d %s", status, answer)
			}
			if status, answer := ask(t, a, "POST", "/v1/chat/completions", key, c.chat("hi", "")); status != http.StatusNotFound {
				t.Errorf("after delete: %d %s", status, answer)
			}
			if _, body = fork.says(t, "still there"); !holdsAll(body, "mango", "quince") {
				t.Errorf("the fork after the other's end: %.3000s", body)
			}
			ask(t, a, "DELETE", "/v1/sessions/"+fork.id, key, "")
			left, err := filepath.Glob(filepath.Join(a.config.DataDir, "agents", "*", "*", "*", "*"))
			if err != nil || len(left) != 0 {
				t.Errorf("what is left: %q, %v", left, err)
			}
		})
	}
}

// answered is an answer with what could not be honoured.
type answered struct{ body, warnings string }

func post(t *testing.T, a *App, key, body string) answered {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answered{string(got), response.Header.Get("X-Claude-Warnings")}
}

// TestSessionsOutliveTheServiceAndItsDisk: another service goes on with what the first
// one has answered, also where the CLI's files are gone.
func TestSessionsOutliveTheServiceAndItsDisk(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			var c *config.Config
			a, upstream, _ := working(t, version, func(changed *config.Config) { c = changed })
			key := newKey(t, a, apikey.ProfileEnterprise)
			s := talk{a, upstream, key, made(t, a, key, "/v1/sessions", `{"system":"speak like a zebra"}`)}
			s.says(t, "first word mango")
			said := []string{"first word mango"}
			for round, lost := range []bool{false, true} {
				if err := s.a.Stop(t.Context()); err != nil {
					t.Fatal(err)
				}
				if lost {
					if err := os.RemoveAll(filepath.Join(c.DataDir, "agents")); err != nil {
						t.Fatal(err)
					}
				}
				s.a, _ = serving(t, c)
				text := "word of round " + strconv.Itoa(round)
				if _, body := s.says(t, text); !holdsAll(body, append(said, "zebra")...) {
					t.Errorf("round %d: the body lacks one of %q: %.4000s", round, said, body)
				}
				said = append(said, text)
			}
		})
	}
}

// TestSessionsAreHeldToTheProfile at every message, and a message that fails has not
// been.
func TestSessionsAreHeldToTheProfile(t *testing.T) {
	a, upstream, folder := working(t, clitest.Versions[0], nil)
	all := []string{gateway.All}
	profile := apikey.Profile{Name: "mine", Permissions: gateway.Permissions{AllowedTools: all, WorkingDirectories: all}}
	if err := a.Keys().SetProfile(t.Context(), profile); err != nil {
		t.Fatal(err)
	}
	key := newKey(t, a, "mine")
	s := talk{a, upstream, key, made(t, a, key, "/v1/sessions", `{"model":"haiku","working_directory":`+strconv.Quote(folder)+`}`)}
	write := `[[tool=Write input={\"file_path\":\"` + filepath.Join(folder, "made") + `\",\"content\":\"x\"}]] [[then]] [[text=done]]`
	if status, answer := ask(t, a, "POST", "/v1/chat/completions", key, `{"session_id":"`+s.id+`","messages":[{"role":"user","content":"`+write+`"}]}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	if _, err := os.Stat(filepath.Join(folder, "made")); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(folder, "made")); err != nil {
		t.Fatal(err)
	}
	profile.Permissions.BlockedTools = []string{"Write"}
	if err := a.Keys().SetProfile(t.Context(), profile); err != nil {
		t.Fatal(err)
	}
	a.authenticator.Look()
	if status, answer := ask(t, a, "POST", "/v1/chat/completions", key, `{"session_id":"`+s.id+`","messages":[{"role":"user","content":"`+write+`"}]}`); status != http.StatusBadRequest || !strings.Contains(answer, "isn't among the request's tools") {
		t.Errorf("%d %s", status, answer)
	}
	if _, err := os.Stat(filepath.Join(folder, "made")); err == nil {
		t.Error("a tool was used that the profile doesn't allow any more")
	}

	failing := "lost word kiwi [[error=400]]"
	if status, answer := ask(t, a, "POST", "/v1/chat/completions", key, s.chat(failing, "")); status == http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	if _, body := s.says(t, "next word lime"); strings.Contains(body, "kiwi") || strings.Count(body, `"tool_use"`) != 1 {
		t.Errorf("after a failure: %.4000s", body)
	}
}

// TestSessionsNeedACLI says what a service without one answers.
func TestSessionsNeedACLI(t *testing.T) {
	a, key := running(t)
	for path, body := range map[string]string{"/v1/sessions": `{}`, "/v1/chat/completions": `{"session_id":"sess_1","messages":[{"role":"user","content":"hi"}]}`} {
		if status, answer := ask(t, a, "POST", path, key, body); status != http.StatusNotImplemented || !strings.Contains(answer, "no CLI") {
			t.Errorf("%s: %d %s", path, status, answer)
		}
	}
}

// TestSessionsMoveBetweenNodes that share a database, and nothing else.
func TestSessionsMoveBetweenNodes(t *testing.T) {
	address := pgtest.Database(t)
	shared := func(c *config.Config) { c.DatabaseURL = config.Secret(address) }
	first, upstream, _ := working(t, clitest.Versions[0], shared)
	second, _, _ := working(t, clitest.Versions[0], func(c *config.Config) {
		shared(c)
		c.Anthropic.BaseURL = upstream.URL()
	})
	key := newKey(t, first, apikey.ProfileEnterprise)
	on := talk{first, upstream, key, made(t, first, key, "/v1/sessions", `{"system":"speak like a zebra"}`)}
	other := on
	other.a = second
	var said []string
	for n, c := range []talk{on, other, on, other, other, on} {
		text := "word " + strconv.Itoa(n) + " of the nodes"
		if _, body := c.says(t, text); !holdsAll(body, append(said, "zebra")...) {
			t.Errorf("message %d: the body lacks one of %q: %.4000s", n, said, body)
		}
		said = append(said, text)
	}

	// While one node is at work, the other one refuses.
	slow := "slow word [[tokens=2000 interval=20ms]]"
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	began := streaming(ctx, t, first, key, on.chat(slow, `"stream":true,`))
	if status, answer := ask(t, second, "POST", "/v1/chat/completions", key, on.chat("impatient", "")); status != http.StatusConflict || !strings.Contains(answer, "session_busy") {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := ask(t, second, "DELETE", "/v1/sessions/"+on.id, key, ""); status != http.StatusConflict {
		t.Errorf("%d %s", status, answer)
	}
	leave()
	_ = began.Close()
	// The caller has left: what was begun hasn't been.
	deadline := time.Now().Add(30 * time.Second)
	for ; ; time.Sleep(500 * time.Millisecond) { // the other node's process is outside, and each try counts
		status, answer := ask(t, second, "POST", "/v1/chat/completions", key, on.chat("patient word", ""))
		if status == http.StatusOK {
			break
		}
		if status != http.StatusConflict || time.Now().After(deadline) {
			t.Fatalf("%d %s", status, answer)
		}
	}
	if body := on.last(t, "patient word"); !holdsAll(body, said...) || strings.Contains(body, "slow word") {
		t.Errorf("after the caller left: %.4000s", body)
	}
	if status, answer := ask(t, second, "DELETE", "/v1/sessions/"+on.id, key, ""); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	if status, answer := ask(t, first, "POST", "/v1/chat/completions", key, on.chat("gone", "")); status != http.StatusNotFound {
		t.Errorf("%d %s", status, answer)
	}
}

// streaming begins a streamed answer and waits for its first byte.
func streaming(ctx context.Context, t *testing.T, a *App, key, body string) io.Closer {
	t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL()+"/v1/chat/completions", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", key)
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(response.Body, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	return response.Body
}
