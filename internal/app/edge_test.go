package app

import (
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/config"
)

// TestDeepNestingIsRefused at every endpoint that takes a body, wherever it stands
// in it: what reads requests, here and behind us, may use memory or its stack for
// each level.
func TestDeepNestingIsRefused(t *testing.T) {
	a, key := serving(t, settings(t))
	admin, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p", Admin: true})
	if err != nil {
		t.Fatal(err)
	}
	deep := strings.Repeat("[", 201) + strings.Repeat("]", 201)
	paths := 0
	for _, endpoint := range a.now().endpoints {
		path, post := strings.CutPrefix(endpoint, http.MethodPost+" ")
		if !post {
			continue
		}
		paths++
		asking := key
		if strings.HasPrefix(path, "/admin/") {
			asking = admin
		}
		for _, body := range []string{
			`{"messages":` + deep + `}`,
			`{"model":"haiku","max_tokens":5,"messages":[{"role":"user","content":"x"}],"unknown":` + deep + `}`,
			`{"tools":[{"name":"t","input_schema":` + strings.Repeat(`{"items":`, 5_000) + "{}" + strings.Repeat("}", 5_000) + `}]}`,
		} {
			status, answer := ask(t, a, http.MethodPost, strings.NewReplacer("{id}", "x", "{n}", "1").Replace(path), asking, body)
			if strings.HasSuffix(path, "/cancel") || strings.HasSuffix(path, "/reload") || strings.HasPrefix(path, "/v1/sessions") && status == http.StatusNotImplemented {
				continue // it reads no body, or not without a CLI
			}
			if status != http.StatusBadRequest || !strings.Contains(answer, "nests deeper than 200 levels") {
				t.Errorf("%s: %d %.300s", path, status, answer)
			}
		}
	}
	if paths < 6 {
		t.Errorf("only %d paths were tried", paths)
	}
}

// TestBodiesOfManySmallThings: what a body of a megabyte of the smallest messages,
// tools and members makes of itself in memory is a small multiple of it.
func TestBodiesOfManySmallThings(t *testing.T) {
	c := settings(t)
	a, key := serving(t, c)
	const size = 1_000_000
	many := func(piece string) string {
		return strings.TrimSuffix(strings.Repeat(piece+",", size/(len(piece)+1)), ",")
	}
	var members strings.Builder
	for i := 0; members.Len() < size; i++ {
		fmt.Fprintf(&members, `"%x":0,`, i)
	}
	for name, body := range map[string]string{
		"messages":       `{"model":"haiku","max_tokens":5,"messages":[` + many(`{"role":"user","content":"x"}`) + `]}`,
		"empty messages": `{"model":"haiku","max_tokens":5,"messages":[` + many(`{}`) + `]}`,
		"blocks":         `{"model":"haiku","max_tokens":5,"messages":[{"role":"user","content":[` + many(`{"type":"text","text":"x"}`) + `]}]}`,
		"tools":          `{"model":"haiku","max_tokens":5,"messages":[{"role":"user","content":"x"}],"tools":[` + many(`{"name":"x"}`) + `]}`,
		"stops":          `{"model":"haiku","max_tokens":5,"messages":[{"role":"user","content":"x"}],"stop":[` + many(`""`) + `],"stop_sequences":[` + `""` + `]}`,
		"members":        `{"model":"haiku","max_tokens":5,"messages":[{"role":"user","content":"x"}],` + members.String() + `"z":0}`,
		"prompts":        `{"prompts":[` + many(`{"prompt":"x"}`) + `]}`,
		"items":          `{"model":"haiku","input":[` + many(`{"role":"user","content":"x"}`) + `]}`,
	} {
		for _, path := range []string{"/v1/messages", "/v1/chat/completions", "/v1/process", "/v1/responses", "/v1/batch"} {
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			ask(t, a, http.MethodPost, path, key, body)
			runtime.ReadMemStats(&after)
			allocated := int64(after.TotalAlloc - before.TotalAlloc)
			// All that was ever allocated, by the caller and the upstream too.
			if allocated > 80*size {
				t.Errorf("%s on %s: %d MB for a body of %d MB", name, path, allocated>>20, size>>20)
			}
		}
	}
}

// TestRequestTimeout holds with an Idempotency-Key too, with which a request goes on
// when its caller leaves.
func TestRequestTimeout(t *testing.T) {
	c := settings(t)
	c.RequestTimeout = config.Seconds(300 * time.Millisecond)
	a, key := serving(t, c)
	slow := strings.Replace(hello, "hello", "[[delay=20s]]", 1)
	for _, name := range []string{"", "once"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, a.URL()+"/v1/messages", strings.NewReader(slow))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", key)
		if name != "" {
			r.Header.Set("Idempotency-Key", name)
		}
		began := time.Now()
		response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if took := time.Since(began); response.StatusCode != http.StatusGatewayTimeout || took > 10*time.Second {
			t.Errorf("key %q: %d after %v", name, response.StatusCode, took)
		}
	}
}
