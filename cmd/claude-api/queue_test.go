package main

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"
)

// testDefaultBackend asks without a wish: the CLI is the first choice.
func testDefaultBackend(t *testing.T, s *stand) {
	for _, endpoint := range endpoints {
		if a := s.post(t, endpoint.path, endpoint.body("hello")); a.status != http.StatusOK || a.header.Get("X-Claude-Backend") != "cli" {
			t.Errorf("%s: %d on %q", endpoint.path, a.status, a.header.Get("X-Claude-Backend"))
		}
	}
}

// testQueueFull fills both workers and the ten places that each has in the queue:
// the next is refused at once, everything else still answers, and those who
// waited are served in the end.
func testQueueFull(t *testing.T, s *stand) {
	const workers, places = 2, 20
	s.idle(t)
	ctx, giveUp := context.WithCancel(within(t))
	defer giveUp()
	var leave []func()
	for range workers {
		lines, stop := s.open(t, "/v1/chat/completions", chat(s.word("slow")+" [[tokens=5000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli")
		until(t, lines, "Echo")
		leave = append(leave, stop)
	}
	served := make(chan string, places)
	for range places {
		prompt := s.word("patient")
		go func() {
			response, err := s.client.Do(s.request(ctx, t, http.MethodPost, "/v1/chat/completions", chat(prompt), "X-Claude-Backend", "cli"))
			if err != nil {
				served <- err.Error()
				return
			}
			defer func() { _ = response.Body.Close() }()
			served <- response.Status
		}()
	}
	eventually(t, patience, "the queue is full", func() bool { return s.metric(t, "claude_api_cli_queue_length") == places })
	for _, endpoint := range endpoints {
		began := time.Now()
		a := s.post(t, endpoint.path, endpoint.body("one more"), "X-Claude-Backend", "cli")
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" || a.header.Get("X-Error-Category") != "overloaded" {
			t.Errorf("%s: %d %v %s", endpoint.path, a.status, a.header, a.body)
		}
		checkEnvelope(t, endpoint.path, a, "")
		if took := time.Since(began); took > time.Second {
			t.Errorf("%s: refused after %v", endpoint.path, took)
		}
		if a := s.post(t, endpoint.path, endpoint.body("around"), "X-Claude-Backend", "direct"); a.status != http.StatusOK {
			t.Errorf("%s on the direct path: %d", endpoint.path, a.status)
		}
	}
	if a := s.get(t, "/ready"); a.status != http.StatusServiceUnavailable || !strings.Contains(a.body, "saturated") {
		t.Errorf("ready: %d %s", a.status, a.body)
	}
	if a := s.get(t, "/health"); a.status != http.StatusOK || !strings.Contains(a.body, "2 busy") || !strings.Contains(a.body, "20 queued") {
		t.Errorf("health: %d %s", a.status, a.body)
	}
	for _, stop := range leave {
		stop()
	}
	for range places {
		if got := <-served; got != "200 OK" {
			t.Errorf("one who waited: %s", got)
		}
	}
	s.ready(t)
}
