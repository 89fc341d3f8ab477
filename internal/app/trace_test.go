package app

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/sqlite"
)

const webhookSecret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"

// started runs a service until the end of the test, or until it is stopped.
func started(t *testing.T, c *config.Config, log *slog.Logger) *App {
	t.Helper()
	a, err := New(t.Context(), c, log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(t.Context()) })
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return a
}

// events reads the whole audit log of a service that was stopped.
func events(t *testing.T, c *config.Config) []audit.Event {
	t.Helper()
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: c.Database()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	all, err := db.ListAudit(t.Context(), 0, 1000, audit.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// hooks is a receiver that fails twice.
type hooks struct {
	mu       sync.Mutex
	attempts int
	ids      map[string]bool
	accepted chan delivered
}

type delivered struct {
	Type string
	Data struct {
		Owner     struct{ Kind, ID string }
		ProjectID string `json:"project_id"`
		Period    string
		Spent     struct{ Tokens int64 }
	}
	signed bool
}

func (h *hooks) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.attempts++
	h.ids[r.Header.Get("Webhook-Id")] = true
	if h.attempts <= 2 {
		http.Error(w, "not now", http.StatusServiceUnavailable)
		return
	}
	var d delivered
	if err == nil {
		err = json.Unmarshal(body, &d)
	}
	d.signed = err == nil && verified(r.Header, body)
	h.accepted <- d
}

// verified checks a signature; docs/webhook.md explains it.
func verified(header http.Header, body []byte) bool {
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(webhookSecret, "whsec_"))
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(header.Get("Webhook-Id") + "." + header.Get("Webhook-Timestamp") + "."))
	mac.Write(body)
	return err == nil && header.Get("Webhook-Signature") == "v1,"+base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// TestASoftLimitIsToldOf goes the whole way: requests, their ledger, the limit,
// the receiver; and again after a restart, when it isn't news.
func TestASoftLimitIsToldOf(t *testing.T) {
	receiver := &hooks{ids: map[string]bool{}, accepted: make(chan delivered, 10)}
	server := httptest.NewServer(receiver)
	defer server.Close()
	c := settings(t)
	c.WebhookURL, c.WebhookSecret = config.Secret(server.URL), webhookSecret
	var said bytes.Buffer
	log := slog.New(slog.NewTextHandler(&said, nil))
	a := started(t, c, log)
	text, key, err := a.Keys().Create(t.Context(), apikey.Create{
		ProjectID: "alpha", Budgets: []budget.Limit{{Period: budget.Total, Unit: budget.Tokens, Soft: 1}},
	})
	if err != nil {
		t.Fatal(err)
	}
	use := func(a *App) {
		const prompt = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`
		if status, body := ask(t, a, "POST", "/v1/messages", text, prompt); status != http.StatusOK {
			t.Errorf("%d %s", status, body)
		}
	}
	use(a)
	use(a)
	got := <-receiver.accepted
	if d := got.Data; got.Type != "budget.soft_limit_crossed" || d.Owner.Kind != "key" || d.Owner.ID != key.ID || d.ProjectID != "alpha" ||
		d.Period != "total" || d.Spent.Tokens < 1 || !got.signed {
		t.Errorf("the receiver got %+v", got)
	}
	use(a)
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	again := started(t, c, log)
	use(again)
	if err := again.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if receiver.attempts != 3 || len(receiver.ids) != 1 || len(receiver.accepted) != 0 {
		t.Errorf("%d attempts of %d messages", receiver.attempts, len(receiver.ids))
	}
	noted := 0
	for _, e := range events(t, c) {
		if e.Action == "budget.soft_limit_crossed" && e.Target == key.ID && e.Project == "alpha" && strings.HasSuffix(e.Detail, "of 1 tokens spent") {
			noted++
		}
	}
	if warned := strings.Count(said.String(), "soft limit is reached"); noted != 1 || warned != 1 {
		t.Errorf("noted %d times in the audit log, %d times in the log:\n%s", noted, warned, &said)
	}
}

// TestWhatIsAudited does and is refused a little of all.
func TestWhatIsAudited(t *testing.T) {
	c := settings(t)
	a := started(t, c, silent())
	one := 1
	text, key, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "alpha", RequestsPerMinute: &one})
	if err != nil {
		t.Fatal(err)
	}
	const prompt = `{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}`
	wrong := strings.Repeat("0", 40)
	for _, tt := range []struct {
		key  string
		want int
	}{{text, http.StatusOK}, {text, http.StatusTooManyRequests}, {"cc_" + wrong, http.StatusUnauthorized}} {
		if status, body := ask(t, a, "POST", "/v1/messages", tt.key, prompt); status != tt.want {
			t.Errorf("%d %s, want %d", status, body, tt.want)
		}
	}
	revoked, _, err := a.Keys().Rotate(t.Context(), key.ID, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Keys().Revoke(t.Context(), key.ID); err != nil {
		t.Fatal(err)
	}
	if status, body := ask(t, a, "POST", "/v1/messages", revoked, prompt); status != http.StatusUnauthorized {
		t.Errorf("%d %s for a revoked key", status, body)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	want := map[string]audit.Event{
		"key.created": {Actor: audit.Embedding, Action: "key.created", Target: key.ID, Project: "alpha", Detail: "profile=pro, requests_per_minute=1"},
		"key.rotated": {Actor: audit.Embedding, Action: "key.rotated", Target: key.ID, Project: "alpha"},
		"key.revoked": {Actor: audit.Embedding, Action: "key.revoked", Target: key.ID, Project: "alpha"},
		"rate_limited": {
			Actor: key.ID, Address: "127.0.0.1", Action: audit.Refused, Target: "/v1/messages", Project: "alpha", Detail: "rate_limited",
		},
		"auth_error": {Address: "127.0.0.1", Action: audit.Refused, Target: "/v1/messages", Detail: "auth_error"},
		"auth_error of a key": {
			Actor: key.ID, Address: "127.0.0.1", Action: audit.Refused, Target: "/v1/messages", Project: "alpha", Detail: "auth_error",
		},
	}
	all := events(t, c)
	if len(all) != len(want) {
		t.Errorf("the log has %+v", all)
	}
	for _, e := range all {
		name := e.Action
		if name == audit.Refused {
			name = e.Detail
		}
		if name == "auth_error" && e.Actor != "" {
			name += " of a key"
		}
		if e.Action == "key.rotated" {
			if !strings.HasPrefix(e.Detail, "the former text is taken until 2") {
				t.Errorf("a rotation says %q", e.Detail)
			}
			e.Detail = ""
		}
		expected := want[name]
		if e.RequestID == "" && e.Action == audit.Refused {
			t.Errorf("%s has no request id", name)
		}
		expected.ID, expected.Time, expected.RequestID = e.ID, e.Time, e.RequestID
		if e != expected {
			t.Errorf("the log has\n%+v, want\n%+v", e, expected)
		}
		for _, secret := range []string{text, text[3:], revoked, revoked[3:], wrong} {
			if strings.Contains(e.Detail+e.Target+e.Actor, secret) {
				t.Errorf("the log has a key's text: %+v", e)
			}
		}
	}
}

func TestAWebhookNeedsASecret(t *testing.T) {
	for name, change := range map[string]func(c *config.Config){
		"none":     func(*config.Config) {},
		"a wrong":  func(c *config.Config) { c.WebhookSecret = "planted" },
		"in clear": func(c *config.Config) { c.WebhookURL, c.WebhookSecret = "http://hooks.example/planted", webhookSecret },
	} {
		c := settings(t)
		c.WebhookURL = "https://hooks.example/planted"
		change(c)
		_, err := New(t.Context(), c, silent())
		if err == nil || !strings.Contains(err.Error(), "CLAUDE_API_WEBHOOK_SECRET") || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
