package main

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"claude-code-api-service/internal/postgres/pgtest"
)

// TestOnceAcrossNodes sends one request with an Idempotency-Key to two nodes at once, again and
// again: one serves it. After the kill of a node that serves one, the other does.
func TestOnceAcrossNodes(t *testing.T) {
	address, up := pgtest.Database(t), newUpstream(t)
	one, two := serveOnPostgres(t, address, up.url), serveOnPostgres(t, address, up.url)
	two.key = one.key
	for _, name := range []string{"a", "b", "c", "d"} {
		var served, replayed, refused atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			for _, s := range []*service{one, two} {
				wg.Go(func() {
					a := s.post(t, "/v1/chat/completions", chat("once "+name+" [[delay=20ms]]"), "Idempotency-Key", name)
					switch {
					case a.status == http.StatusOK && a.header.Get("Idempotent-Replayed") == "true":
						replayed.Add(1)
					case a.status == http.StatusOK:
						served.Add(1)
					case a.status == http.StatusConflict:
						refused.Add(1)
					default:
						t.Errorf("%d %s", a.status, a.body)
					}
				})
			}
		}
		wg.Wait()
		if served.Load() != 1 || len(up.messages("once "+name)) != 1 {
			t.Errorf("%s: served %d times, refused %d, given again %d, asked upstream %d", name, served.Load(), refused.Load(), replayed.Load(), len(up.messages("once "+name)))
		}
		a := two.post(t, "/v1/chat/completions", chat("once "+name+" [[delay=20ms]]"), "Idempotency-Key", name)
		if a.status != http.StatusOK || a.header.Get("Idempotent-Replayed") != "true" {
			t.Errorf("%s, later: %d %v", name, a.status, a.header)
		}
	}

	const last = "last [[delay=2s]]"
	lost := make(chan struct{})
	go func() {
		defer close(lost)
		if response, err := one.client.Do(one.request(t.Context(), t, http.MethodPost, "/v1/chat/completions", chat(last), "Idempotency-Key", "last")); err == nil {
			_ = response.Body.Close()
		}
	}()
	eventually(t, patience, "the first node serves it", func() bool { return len(up.messages("last ")) == 1 })
	if a := two.post(t, "/v1/chat/completions", chat(last), "Idempotency-Key", "last"); a.status != http.StatusConflict || !strings.Contains(a.body, "idempotency_in_progress") {
		t.Errorf("while the other node serves it: %d %s", a.status, a.body)
	}
	one.signal(t, syscall.SIGKILL)
	<-lost
	eventually(t, patience, "the second node serves it", func() bool {
		return two.post(t, "/v1/chat/completions", chat(last), "Idempotency-Key", "last").status == http.StatusOK
	})
	if n := len(up.messages("last ")); n != 2 {
		t.Errorf("asked upstream %d times", n)
	}
}
