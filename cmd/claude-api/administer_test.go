package main

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// browser is a page's way to the service: it has a session's cookie, and sends what a
// page of the service's own sends.
type browser struct {
	*service
	cookie *http.Cookie
}

func (b *browser) send(t *testing.T, method, path, body string, headers ...string) *answer {
	t.Helper()
	r := b.request(within(t), t, method, path, body, append([]string{"Authorization", "", "X-Claude-Dashboard", "1", "Sec-Fetch-Site", "same-origin", "Origin", b.url}, headers...)...)
	if b.cookie != nil {
		r.AddCookie(b.cookie)
	}
	return b.do(t, r)
}

// adminKey makes a key that administers the service.
func (s *service) adminKey(t *testing.T) string {
	t.Helper()
	return command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=ops", "--name=boss", "--admin", "-q")
}

// signIn opens a session as a page does.
func (s *service) signIn(t *testing.T, key string) *browser {
	t.Helper()
	b := &browser{service: s}
	a := b.send(t, http.MethodPost, "/admin/v1/session", `{"key":`+quote(key)+`}`)
	if a.status != http.StatusNoContent {
		t.Fatalf("sign in: %d %s", a.status, a.body)
	}
	cookies := (&http.Response{Header: a.header}).Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d cookies are set", len(cookies))
	}
	b.cookie = cookies[0]
	return b
}

type liveRequest struct {
	ID      string
	KeyName string `json:"key_name"`
	Backend string
	Stage   string
	Stages  map[string]float64
	Status  int
}

type liveWorker struct {
	ID        string
	PID       int
	State     string
	RSS       int64  `json:"rss_bytes"`
	RequestID string `json:"request_id"`
	ProjectID string `json:"project_id"`
}

func (b *browser) workers(t *testing.T) []liveWorker {
	t.Helper()
	return decode[struct{ Workers []liveWorker }](t, b.send(t, http.MethodGet, "/admin/v1/workers", "").body).Workers
}

// TestAdminister signs in, sees a request on the real CLI while it runs, and ends its
// worker.
func TestAdminister(t *testing.T) {
	up := newUpstream(t)
	s := serve(t, up.url, clitest.Path(t, install.Version)).ready(t)
	boss := s.signIn(t, s.adminKey(t))
	if c := boss.cookie; c.Name != "claude_api_session" || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/admin/v1" || c.Secure {
		t.Errorf("the cookie: %+v", c)
	}
	if links := decode[struct{ Links map[string]string }](t, s.get(t, "/").body).Links; links["dashboard"] != "/dashboard" {
		t.Errorf("GET / has the links %v", links)
	}
	if a := s.get(t, "/dashboard"); a.status != http.StatusOK || !strings.Contains(a.header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page: %d %v", a.status, a.header)
	}

	const id = "req-seen"
	lines, _ := s.open(t, "/v1/chat/completions", chat("a long story [[tokens=5000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli", "X-Request-ID", id)
	until(t, lines, `"content"`)
	live := func() (found liveRequest) {
		all := decode[struct{ Live []liveRequest }](t, boss.send(t, http.MethodGet, "/admin/v1/requests?live=true", "").body).Live
		if i := slices.IndexFunc(all, func(r liveRequest) bool { return r.ID == id }); i >= 0 {
			found = all[i]
		}
		return found
	}
	r := live()
	if r.Backend != "cli" || r.Stage != "generate" || r.Status != 0 {
		t.Errorf("it runs as %+v", r)
	}
	for _, stage := range []string{"auth", "decode", "admit", "queue", "bind", "first_byte", "generate"} {
		if _, known := r.Stages[stage]; !known {
			t.Errorf("%s isn't among its stages: %v", stage, r.Stages)
		}
	}
	var busy liveWorker
	for _, w := range boss.workers(t) {
		if w.RequestID == id {
			busy = w
		}
	}
	if busy.State != "busy" || busy.PID == 0 || busy.ProjectID != "e2e" || busy.RSS < 10<<20 {
		t.Fatalf("its worker is %+v of %+v", busy, boss.workers(t))
	}

	// What another site's page, or a form, asks for with the cookie isn't done.
	kill := "/admin/v1/workers/" + busy.ID
	for _, headers := range [][]string{
		{"Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"}, {"Sec-Fetch-Site", "", "Origin", "https://evil.example"}, {"X-Claude-Dashboard", ""},
	} {
		if a := boss.send(t, http.MethodDelete, kill, "", headers...); a.status != http.StatusForbidden {
			t.Errorf("%q: %d %s", headers, a.status, a.body)
		}
	}
	if live().ID != id {
		t.Error("the request has ended by that")
	}
	if a := boss.send(t, http.MethodDelete, kill, ""); a.status != http.StatusNoContent {
		t.Fatalf("end the worker: %d %s", a.status, a.body)
	}
	until(t, lines, "cli_error")
	eventually(t, patience, "another worker in its place", func() bool {
		all := boss.workers(t)
		return len(all) == 2 && !slices.ContainsFunc(all, func(w liveWorker) bool { return w.PID == busy.PID || w.PID == 0 })
	})
	if a := s.post(t, "/v1/chat/completions", chat("hello"), "X-Claude-Backend", "cli"); a.status != http.StatusOK {
		t.Errorf("afterwards: %d %s", a.status, a.body)
	}
	if a := boss.send(t, http.MethodDelete, kill, ""); a.status != http.StatusNotFound {
		t.Errorf("once more: %d %s", a.status, a.body)
	}
	if list := command(t, s.env, "audit", "list", "--data-dir="+s.data); !strings.Contains(list, "session.opened") || !strings.Contains(list, "worker.killed") || !strings.Contains(list, busy.ID) {
		t.Errorf("the audit log: %s", list)
	}
}

// TestSessionOfARevokedKey: a session, and a stream that it reads, end within a second of
// their key's revocation by a command; a restart ends none.
func TestSessionOfARevokedKey(t *testing.T) {
	up := newUpstream(t)
	s := serve(t, up.url, "off")
	key := s.adminKey(t)
	boss := s.signIn(t, key)
	asks := func() int { return boss.send(t, http.MethodGet, "/admin/v1/overview", "").status }
	if status := asks(); status != http.StatusOK {
		t.Fatalf("signed in, and it is %d", status)
	}
	r := boss.request(within(t), t, http.MethodGet, "/admin/v1/stream", "", "Authorization", "")
	r.AddCookie(boss.cookie)
	response, err := s.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	ended := make(chan time.Time, 1)
	go func() {
		buffer := make([]byte, 64<<10)
		for {
			if _, err := response.Body.Read(buffer); err != nil {
				ended <- time.Now()
				return
			}
		}
	}()
	command(t, s.env, "keys", "revoke", "--data-dir="+s.data, "--force", key)
	revoked := time.Now()
	eventually(t, time.Second, "the session has ended", func() bool { return asks() == http.StatusUnauthorized })
	if took := (<-ended).Sub(revoked); took > time.Second {
		t.Errorf("the stream goes on for %v", took)
	}
}

func TestSessionsSurviveARestart(t *testing.T) {
	up := newUpstream(t)
	data := t.TempDir()
	first := serveOn(t, data, up.url, "off")
	boss := first.signIn(t, first.adminKey(t))
	first.signal(t, syscall.SIGTERM)
	if code := first.exit(t); code != 0 {
		t.Fatalf("it ended with %d", code)
	}
	second := serveOn(t, data, up.url, "off")
	boss.service = second
	if a := boss.send(t, http.MethodGet, "/admin/v1/session", ""); a.status != http.StatusOK || !strings.Contains(a.body, `"name":"boss"`) {
		t.Errorf("after a restart: %d %s", a.status, a.body)
	}
	second.signal(t, syscall.SIGTERM)
	if code := second.exit(t); code != 0 {
		t.Fatalf("it ended with %d", code)
	}

	// Switched off there is neither a page nor a session; a key counts all the same.
	off := serveOn(t, data, up.url, "off", "--dashboard=false")
	boss.service = off
	key := off.adminKey(t)
	for path, status := range map[string]int{"/dashboard": http.StatusNotFound, "/admin/v1/session": http.StatusNotFound, "/admin/v1/overview": http.StatusUnauthorized} {
		if a := boss.send(t, http.MethodGet, path, ""); a.status != status {
			t.Errorf("%s by the cookie: %d, want %d", path, a.status, status)
		}
	}
	if a := boss.send(t, http.MethodGet, "/admin/v1/overview", "", "Authorization", "Bearer "+key); a.status != http.StatusOK {
		t.Errorf("by a key: %d %s", a.status, a.body)
	}
	if links := decode[struct{ Links map[string]string }](t, off.get(t, "/").body).Links; links["dashboard"] != "" {
		t.Errorf("GET / has the links %v", links)
	}
}

// TestReload has a service read its configuration again by the admin's API.
func TestReload(t *testing.T) {
	settings := filepath.Join(t.TempDir(), "config.yaml")
	text := func(text string) {
		t.Helper()
		if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	text("model-map: {house: haiku}\n")
	s := serve(t, newUpstream(t).url, "off", "--config="+settings)
	key := s.adminKey(t)
	reload := func() *answer { return s.post(t, "/admin/v1/reload", "", "Authorization", "Bearer "+key) }
	text("model-map: {garden: haiku}\nqueue-timeout: 7\n")
	a := reload()
	got := decode[struct {
		Changed   []string
		NeedStart []string `json:"need_start"`
	}](t, a.body)
	if a.status != http.StatusOK || !slices.Equal(got.Changed, []string{"--model-map"}) || !slices.Equal(got.NeedStart, []string{"--queue-timeout"}) {
		t.Errorf("%d %s", a.status, a.body)
	}
	garden := strings.Replace(chat("hello"), `"haiku"`, `"garden"`, 1)
	for name, body := range map[string]string{"what isn't YAML": "model-map: [", "what there isn't": "model-map: {garden: nothing}\n"} {
		text(body)
		if a := reload(); a.status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
		if a := s.post(t, "/v1/chat/completions", garden); a.status != http.StatusOK {
			t.Errorf("after %s: %d %s", name, a.status, a.body)
		}
	}
	if a := s.post(t, "/admin/v1/reload", ""); a.status != http.StatusForbidden {
		t.Errorf("by a caller's key: %d %s", a.status, a.body)
	}
}
