package app

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// told makes one request and gives the body and the warnings in the header.
func told(t *testing.T, a *App, path, key, body string) (answer, warnings string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+path, strings.NewReader(body))
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
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%d %s, %v", response.StatusCode, got, err)
	}
	return string(got), response.Header.Get("X-Claude-Warnings")
}

// serving starts a service with these settings and makes a key.
func serving(t *testing.T, c *config.Config) (a *App, key string) {
	t.Helper()
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(context.Background()) })
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if key, _, err = a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p"}); err != nil {
		t.Fatal(err)
	}
	return a, key
}

// ledger stops the service and reads what it has written.
func ledger(t *testing.T, a *App) []usage.Row {
	t.Helper()
	if err := a.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	db, err := sqlite.Open(t.Context(), sqlite.Options{Path: a.config.Database()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	rows, err := db.ListUsage(t.Context(), 0, 100, usage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// TestCacheWritesOfAnHourArePricedAsSuch on the direct path, in both forms of an
// answer, to the millionth of a dollar.
func TestCacheWritesOfAnHourArePricedAsSuch(t *testing.T) {
	a, key := serving(t, settings(t))
	// 4,000 tokens for an hour and 1,000 for five minutes: "system" is 16,000 bytes.
	ask := func(first, stream string) string {
		return `{"model":"claude-opus-5-5","max_tokens":2,` + stream + `"system":[{"type":"text","text":"` + first + strings.Repeat("a", 15_999) + `","cache_control":{"type":"ephemeral","ttl":"1h"}}],` +
			`"messages":[{"role":"user","content":[{"type":"text","text":"` + strings.Repeat("b", 4_000) + `","cache_control":{"type":"ephemeral"}}]}]}`
	}
	for _, body := range []string{ask("1", ""), ask("2", `"stream":true,`), ask("2", "")} {
		if _, warnings := told(t, a, "/v1/messages", key, body); warnings != "" {
			t.Errorf("warnings: %s", warnings)
		}
	}
	rows := ledger(t, a)
	const output = 2 * 20
	for i, want := range []int64{4_000*8 + 1_000*5 + output, 4_000*8 + 1_000*5 + output, (5_000*2)/10 + output} {
		if cost := rows[i].CostMicroUSD; cost == nil || *cost != want {
			t.Errorf("row %d: %+v costs %v, want %d", i, rows[i].Usage, cost, want)
		}
	}
	if got := rows[0].Usage; got.CacheCreationInputTokens != 5_000 || got.OutputTokens != 2 {
		t.Errorf("the first row: %+v", got)
	}
}

// TestWhatHasNoPriceIsToldAndNull: what the service learns with the answer is told
// where the header can still say it. A strict service answers all the same.
func TestWhatHasNoPriceIsToldAndNull(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		request, err := message.ParseRequest(body)
		if err != nil || request.Stream {
			http.Error(w, "not expected", http.StatusBadRequest)
			return
		}
		_, _ = io.WriteString(w, `{"id":"msg_1","type":"message","role":"assistant","model":"`+request.Model+`","content":[{"type":"text","text":"hi"}],`+
			`"stop_reason":"end_turn","stop_sequence":null,"usage":{"input_tokens":3,"output_tokens":5,"service_tier":"priority"}}`)
	}))
	t.Cleanup(upstream.Close)
	c := settings(t)
	c.Anthropic.BaseURL, c.Strict = upstream.URL, true
	a, key := serving(t, c)
	const mine, unnamed = "the price of claude-of-tomorrow isn't known", "the price of this answer isn't known"
	for _, test := range []struct{ path, body, cost, warnings string }{
		{"/v1/messages", `{"model":"claude-of-tomorrow","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, "", mine},
		{"/v1/messages", `{"model":"opus","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`, "", unnamed},
		{"/v1/chat/completions", `{"model":"opus","messages":[{"role":"user","content":"hi"}]}`, `"cost":null`, unnamed},
		{"/v1/process", `{"provider":"anthropic","model_name":"opus","content":"hi"}`, `"cost_usd":null`, unnamed},
	} {
		answer, warnings := told(t, a, test.path, key, test.body)
		if !strings.Contains(answer, test.cost) || !strings.HasPrefix(warnings, test.warnings) {
			t.Errorf("%s: %s, warnings: %s", test.path, answer, warnings)
		}
		if test.path == "/v1/process" && !strings.Contains(answer, `"warnings":["`+unnamed) {
			t.Errorf("%s", answer)
		}
	}
	_, report := ask(t, a, http.MethodGet, "/v1/usage?period=day", key, "")
	if !strings.Contains(report, `"unpriced_requests":4`) || !strings.Contains(report, `"total_cost":0`) {
		t.Errorf("%s", report)
	}
	for _, row := range ledger(t, a) {
		if row.CostMicroUSD != nil || row.Usage.Total() != 8 {
			t.Errorf("%+v", row)
		}
	}
}

// TestStreamOfAnUnknownModelIsTold: its header goes before its answer.
func TestStreamOfAnUnknownModelIsTold(t *testing.T) {
	a, key := serving(t, settings(t))
	const body = `{"model":"claude-of-tomorrow","stream":true,"max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
	if answer, warnings := told(t, a, "/v1/messages", key, body); warnings != "the price of claude-of-tomorrow isn't known" || !strings.Contains(answer, "message_stop") {
		t.Errorf("%s, warnings: %s", answer, warnings)
	}
	if rows := ledger(t, a); rows[0].CostMicroUSD != nil || rows[0].Usage.OutputTokens == 0 {
		t.Errorf("%+v", rows[0])
	}
}

// TestPricesOfTheOperator are read at start.
func TestPricesOfTheOperator(t *testing.T) {
	path := filepath.Join(t.TempDir(), "mine.json")
	write := func(text string) *config.Config {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := settings(t)
		c.Prices = path
		return c
	}
	const prices = `"prices":{"input":0,"output":7000000,"cache_read":0,"cache_write_5m":0,"cache_write_1h":0}`
	a, key := serving(t, write(`{"models":[{"id":"claude-opus-5-5",`+prices+`},`+
		`{"id":"claude-of-tomorrow","display_name":"Claude of tomorrow","context_window":9,"max_output_tokens":9,`+prices+`}]}`))
	for _, model := range []string{"opus", "claude-of-tomorrow"} {
		if _, warnings := told(t, a, "/v1/messages", key, `{"model":"`+model+`","max_tokens":1,"messages":[{"role":"user","content":"hi"}]}`); warnings != "" {
			t.Errorf("%s: %s", model, warnings)
		}
	}
	if _, list := ask(t, a, http.MethodGet, "/v1/models", key, ""); !strings.Contains(list, "claude-of-tomorrow") {
		t.Errorf("%s", list)
	}
	for _, row := range ledger(t, a) {
		if row.CostMicroUSD == nil || *row.CostMicroUSD != 7 {
			t.Errorf("%+v costs %v", row.Usage, row.CostMicroUSD)
		}
	}

	_, err := New(t.Context(), write(`{"models":[{"id":"claude-opus-5-5","prices":{"input":0}}]}`), silent())
	if err == nil || err.Error() != `--prices: `+path+`: model "claude-opus-5-5": prices.output: must be given` {
		t.Errorf("%v", err)
	}
	c := settings(t)
	c.Prices = filepath.Join(t.TempDir(), "absent.json")
	if _, err := New(t.Context(), c, silent()); err == nil || !strings.Contains(err.Error(), "--prices: ") || !strings.Contains(err.Error(), "absent.json") {
		t.Errorf("%v", err)
	}
}

// TestWhatTheModelsListHasCanBeAskedFor also where the operator's file has added it.
func TestWhatTheModelsListHasCanBeAskedFor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "prices.json")
	if err := os.WriteFile(file, []byte(`{
		"aliases": {"house": "own-model"},
		"models": [{"id": "own-model", "display_name": "Own", "context_window": 1000, "max_output_tokens": 100,
			"prices": {"input": 1, "output": 1, "cache_read": 1, "cache_write_5m": 1, "cache_write_1h": 1}}]
	}`), 0o600); err != nil {
		t.Fatal(err)
	}
	catalogue, err := readPrices(file)
	if err != nil {
		t.Fatal(err)
	}
	own := 0
	for _, m := range models(catalogue) {
		id, ok := resolve(catalogue)(m.ID)
		if !ok {
			t.Errorf("%s: can't be asked for", m.ID)
		}
		if id == "own-model" {
			own++
		}
	}
	if own != 2 {
		t.Errorf("%d names lead to the file's model, want its alias and its id", own)
	}
	if id, ok := resolve(catalogue)("gpt-9"); ok {
		t.Errorf("gpt-9 is %q", id)
	}
}
