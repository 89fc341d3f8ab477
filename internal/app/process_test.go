package app

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
)

// running starts a service on the direct path and makes a key.
func running(t *testing.T) (a *App, key string) {
	t.Helper()
	a, err := New(t.Context(), settings(t), silent())
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

// A report holds every request that has been answered before it.
func TestUsageReadsItsOwnWrites(t *testing.T) {
	a, key := running(t)
	total := int64(0)
	for range 20 {
		_, body := ask(t, a, "POST", "/v1/process", key, `{"provider":"openai","model_name":"gpt-4","content":"hello"}`)
		var answer struct {
			Metadata struct {
				Usage struct {
					Total int64 `json:"total_tokens"`
				} `json:"usage"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || answer.Metadata.Usage.Total == 0 {
			t.Fatalf("%s, %v", body, err)
		}
		total += answer.Metadata.Usage.Total
		var report struct {
			ProjectID string `json:"project_id"`
			Total     int64  `json:"total_tokens"`
			ByModel   map[string]struct {
				Tokens int64   `json:"tokens"`
				Cost   float64 `json:"cost"`
			} `json:"by_model"`
			Limit *int64 `json:"limit"`
		}
		status, body := ask(t, a, "GET", "/v1/usage?period=day", key, "")
		if err := json.Unmarshal([]byte(body), &report); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s, %v", status, body, err)
		}
		if m := report.ByModel["claude-sonnet-5-5"]; report.ProjectID != "p" || report.Total != total || m.Tokens != total || m.Cost <= 0 || report.Limit != nil {
			t.Fatalf("after %d tokens: %s", total, body)
		}
	}
}

func TestFormerFamily(t *testing.T) {
	a, key := running(t)
	for _, tt := range []struct {
		name, method, path, body string
		status                   int
		contains                 string
	}{
		{"providers", "GET", "/v1/providers", "", 200, `{"name":"claudecode","display_name":"Claude Code CLI","backend":"cli","available":false,"models":["haiku",`},
		{"the direct one", "GET", "/v1/providers", "", 200, `"backend":"direct","available":true`},
		{"models", "GET", "/v1/providers/anthropic/models", "", 200, `{"id":"claude-haiku-5-5"`},
		{"another provider", "GET", "/v1/providers/openai/models", "", 404, `"detail"`},
		{"route", "POST", "/v1/route", `{"prompt":"debug this"}`, 200, `{"recommended_model":"sonnet"`},
		{"batch", "POST", "/v1/batch", `{"prompts":["one",{"prompt":"two","id":"t"}],"model":"haiku"}`, 200, `{"total":2,"completed":2,"failed":0,"results":[{"id":"0","prompt":"one","status":"completed","content":"Echo: one"`},
		{"stream", "POST", "/v1/process", `{"provider":"p","model_name":"sonnet","content":"hello","additional_params":{"stream":true}}`, 200, "event: done\n"},
		{"schema", "POST", "/v1/process", `{"provider":"p","model_name":"sonnet","content":"hello","output_schema":{"type":"object","properties":{"a":{"type":"integer"}},"required":["a"]}}`, 200, `{"content":"{`},
		{"what exists", "GET", "/", "", 200, `"GET /v1/process/{id}"`},
	} {
		if status, body := ask(t, a, tt.method, tt.path, key, tt.body); status != tt.status || !strings.Contains(body, tt.contains) {
			t.Errorf("%s: %d %s", tt.name, status, body)
		}
	}
}

// A request whose caller has gone ends before the service does, or with the next one.
func TestStopKeepsAsynchronousRequests(t *testing.T) {
	c := settings(t)
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p"})
	if err != nil {
		t.Fatal(err)
	}
	var ids []string
	for i := range 5 {
		status, body := ask(t, a, "POST", "/v1/process", key, fmt.Sprintf(`{"provider":"p","model_name":"haiku","content":"number %d","async_processing":true}`, i))
		var accepted struct {
			ID string `json:"id"`
		}
		if err := json.Unmarshal([]byte(body), &accepted); err != nil || status != http.StatusAccepted {
			t.Fatalf("%d %s, %v", status, body, err)
		}
		ids = append(ids, accepted.ID)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := a.Stop(ctx); err != nil {
		t.Fatal(err)
	}
	again, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, id := range ids {
		status, body := ask(t, again, "GET", "/v1/process/"+id, key, "")
		for strings.Contains(body, `"status":"running"`) && ctx.Err() == nil {
			status, body = ask(t, again, "GET", "/v1/process/"+id, key, "")
		}
		if status != http.StatusOK || !strings.Contains(body, `"status":"completed"`) || !strings.Contains(body, fmt.Sprintf("Echo: number %d", i)) {
			t.Errorf("%d %s", status, body)
		}
	}
	if err := again.Stop(ctx); err != nil {
		t.Error(err)
	}
}
