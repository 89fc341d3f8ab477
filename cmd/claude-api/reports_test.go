package main

import (
	"net/http"
	"strings"
	"testing"
)

// TestReportsWhileServing asks the commands, while the service runs, about a
// request that it has just answered: ledger, report and budgets tell the same.
func TestReportsWhileServing(t *testing.T) {
	s := serve(t, newUpstream(t).url, "off")
	s.key = command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=shop", "--budget-usd-month=5", "--budget-tokens-total=100000", "-q")
	if a := s.post(t, "/v1/messages", messagesBody("hello"), "X-Request-ID", "reported"); a.status != http.StatusOK {
		t.Fatalf("%d %s", a.status, a.body)
	}
	ask := func(args ...string) string {
		t.Helper()
		return command(t, s.env, append(args, "--data-dir="+s.data)...)
	}
	exported := decode[struct {
		RequestID string  `json:"request_id"`
		KeyID     string  `json:"key_id"`
		Input     int64   `json:"input_tokens"`
		Output    int64   `json:"output_tokens"`
		Cost      float64 `json:"cost_usd"`
		TotalUS   int64   `json:"total_us"`
	}](t, ask("usage", "export", "--project-id=shop"))
	if exported.RequestID != "reported" || exported.Input == 0 || exported.Output == 0 || exported.Cost <= 0 || exported.TotalUS <= 0 {
		t.Errorf("the export has %+v", exported)
	}
	type total struct {
		Requests int64   `json:"requests"`
		Tokens   int64   `json:"tokens"`
		Cost     float64 `json:"cost_usd"`
	}
	want := total{1, exported.Input + exported.Output, exported.Cost}
	for _, args := range [][]string{{"--project-id=shop"}, {"--key=" + s.key}, {"--key=" + exported.KeyID, "--period=day"}} {
		if got := decode[total](t, ask(append([]string{"usage", "summary", "-o", "json"}, args...)...)); got != want {
			t.Errorf("the summary for %v is %+v, want %+v", args, got, want)
		}
	}
	spent := map[string]float64{}
	for _, b := range decode[[]struct {
		Unit  string  `json:"unit"`
		Spent float64 `json:"spent"`
	}](t, ask("budgets", "list", "--key="+s.key, "-o", "json")) {
		spent[b.Unit] = b.Spent
	}
	if spent["usd"] != exported.Cost || spent["tokens"] != float64(want.Tokens) {
		t.Errorf("of the budgets %v is spent, want %+v", spent, want)
	}

	ask("keys", "revoke", exported.KeyID, "--force")
	if log := ask("audit", "list", "--action=key.revoked", "-o", "csv"); !strings.Contains(log, ",cli,,key.revoked,"+exported.KeyID+",shop,") {
		t.Errorf("the audit log has %s", log)
	}
}
