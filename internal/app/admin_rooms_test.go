package app

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/audit"
)

// diary is a log that a test reads.
type diary struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (d *diary) Write(p []byte) (int, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.Write(p)
}

func (d *diary) String() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.text.String()
}

// TestKeysOverTheNetwork makes a key, spends with it, gives it another text and revokes
// it, all over the network: each holds within a second, what is told of spending is what the
// key is told itself, and no log has a text of a key.
func TestKeysOverTheNetwork(t *testing.T) {
	log := &diary{}
	a, err := New(t.Context(), settings(t), slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(t.Context()) })
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	adminID, admin, err := makeAdmin(t, a)
	if err != nil {
		t.Fatal(err)
	}
	type made struct {
		Key string `json:"key"`
		ID  string `json:"id"`
	}
	post := func(path, body string) (m made) {
		status, text := ask(t, a, http.MethodPost, "/admin/v1/keys"+path, admin, body)
		if err := json.Unmarshal([]byte(text), &m); err != nil || status > 201 || m.Key == "" {
			t.Fatalf("%s: %d %s, %v", path, status, text, err)
		}
		return m
	}
	const body = `{"model":"claude-haiku-5-5","max_tokens":50,"messages":[{"role":"user","content":"hello"}]}`
	answers := func(key string) int {
		status, _ := ask(t, a, http.MethodPost, "/v1/messages", key, body)
		return status
	}
	within := func(what, key string) {
		t.Helper()
		for begun := time.Now(); answers(key) != http.StatusUnauthorized; {
			if took := time.Since(begun); took > time.Second {
				t.Fatalf("%s works after %v", what, took)
			}
		}
	}
	first := post("", `{"project_id":"beta","name":"shop","profile":"free","requests_per_minute":0}`)
	if status := answers(first.Key); status != http.StatusOK {
		t.Fatalf("a new key: %d", status)
	}
	_, own := ask(t, a, http.MethodGet, "/v1/usage?period=day", first.Key, "")
	_, report := ask(t, a, http.MethodGet, "/admin/v1/spend?period=day&by=key", admin, "")
	var said struct {
		TotalTokens int64   `json:"total_tokens"`
		TotalCost   float64 `json:"total_cost"`
	}
	var rows struct {
		Rows []struct {
			ID           string `json:"id"`
			InputTokens  int64  `json:"input_tokens"`
			OutputTokens int64  `json:"output_tokens"`
			CostMicroUSD int64  `json:"cost_micro_usd"`
		} `json:"rows"`
	}
	if err := json.Unmarshal([]byte(own), &said); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(report), &rows); err != nil {
		t.Fatal(err)
	}
	if len(rows.Rows) != 1 || rows.Rows[0].ID != first.ID || rows.Rows[0].InputTokens+rows.Rows[0].OutputTokens != said.TotalTokens || said.TotalTokens == 0 ||
		float64(rows.Rows[0].CostMicroUSD)/1e6 != said.TotalCost {
		t.Errorf("the key is told %s, the administrator %s", own, report)
	}
	second := post("/"+first.ID+"/rotate", `{"grace_seconds":0}`)
	if status := answers(second.Key); status != http.StatusOK {
		t.Errorf("the new text: %d", status)
	}
	within("the former text", first.Key)
	for _, path := range []string{"/admin/v1/keys/" + second.Key, "/admin/v1/keys/" + first.ID} { // the first isn't one
		ask(t, a, http.MethodDelete, path, admin, "")
	}
	within("a revoked key", second.Key)
	if status, _ := ask(t, a, http.MethodPost, "/admin/v1/session", "", `{"key":"`+admin+`"}`); status != http.StatusNotFound { // the dashboard is off here
		t.Errorf("a session: %d", status)
	}
	ask(t, a, http.MethodPost, "/admin/v1/playground/chat", admin, `{"key_id":"`+second.Key+`","prompt":"x"}`)
	events, err := a.store.ListAudit(t.Context(), 0, 100, audit.Filter{Actor: adminID})
	if err != nil || len(events) != 3 {
		t.Errorf("%+v, %v", events, err)
	}
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	text := log.String()
	if !strings.Contains(text, "/admin/v1/keys/{id}") {
		t.Errorf("the log has no line of the requests:\n%s", text)
	}
	for _, secret := range []string{first.Key, second.Key, admin} {
		if strings.Contains(text, secret) || strings.Contains(text, secret[3:20]) {
			t.Error("the log has a key's text")
		}
	}
}
