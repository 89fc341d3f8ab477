package main

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"

	"claude-code-api-service/internal/simulator"
)

// testLeaveStream leaves in the middle of a stream: the upstream's request ends
// and the worker serves the next caller.
func testLeaveStream(t *testing.T, s *stand) {
	for _, backend := range []string{"cli", "direct"} {
		for _, endpoint := range endpoints[:2] {
			t.Run(backend+endpoint.path, func(t *testing.T) {
				before := s.upstream.Stats().Cancelled
				id := s.id()
				lines, leave := s.open(t, endpoint.path, endpoint.body(s.word("leave")+" [[tokens=5000 interval=20ms]]", `"stream":true`),
					"X-Claude-Backend", backend, "X-Request-ID", id)
				until(t, lines, "Echo")
				leave()
				s.upstream.await(t, "that the caller left", func(stats simulator.Stats) bool { return stats.Cancelled > before && stats.InFlight == 0 })
				s.left(t, id)
				s.serves(t, backend)
			})
		}
	}
}

// testLeaveEarly leaves before the first token, with a key that may have one request
// at a time and a budget: the next one finds its place free and nothing held.
func testLeaveEarly(t *testing.T, s *stand) {
	const prompt = "nothing comes of it"
	for _, backend := range []string{"cli", "direct"} {
		t.Run(backend, func(t *testing.T) {
			s.idle(t)
			key := command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "--rate-limit=0", "--concurrent-requests=1", "--budget-tokens-day=1000000", "-q")
			before := s.upstream.Stats().Cancelled
			ctx, leave := context.WithCancel(within(t))
			defer leave()
			id := s.id()
			failed := make(chan error, 1)
			go func() {
				response, err := s.client.Do(s.request(ctx, t, http.MethodPost, "/v1/messages", messagesBody(prompt+" [[hang]]", `"stream":true`),
					"Authorization", "Bearer "+key, "X-Claude-Backend", backend, "X-Request-ID", id))
				if err == nil {
					_ = response.Body.Close()
				}
				failed <- err
			}()
			s.upstream.await(t, "the request", func(stats simulator.Stats) bool { return stats.InFlight == 1 })
			if a := s.post(t, "/v1/messages", messagesBody(prompt), "Authorization", "Bearer "+key, "X-Claude-Backend", backend); a.status != http.StatusTooManyRequests {
				t.Errorf("beside it: %d %s", a.status, a.body)
			}
			leave()
			if err := <-failed; !errors.Is(err, context.Canceled) {
				t.Fatalf("the request ended with %v", err)
			}
			s.upstream.await(t, "that the caller left", func(stats simulator.Stats) bool { return stats.Cancelled > before && stats.InFlight == 0 })
			s.left(t, id)
			// The place is given back behind the row.
			eventually(t, patience, "its place is free", func() bool {
				a := s.post(t, "/v1/messages", messagesBody(prompt), "Authorization", "Bearer "+key, "X-Claude-Backend", backend)
				return a.status == http.StatusOK
			})
			s.serves(t, backend)
		})
	}
}

// left waits until the ledger has the request as one whose caller left.
func (s *stand) left(t *testing.T, id string) {
	t.Helper()
	eventually(t, patience, "a row of status 499 for "+id, func() bool {
		for _, r := range rows(t, s.db) {
			if r.RequestID == id {
				return r.Status == 499 && r.Category == "client_closed"
			}
		}
		return false
	})
}

// serves asks as many requests as there are workers, so that each one shows that
// nothing is left of what it did before.
func (s *stand) serves(t *testing.T, backend string) {
	t.Helper()
	s.idle(t)
	for range 2 {
		prompt := s.word("next")
		a := s.post(t, "/v1/chat/completions", chat(prompt), "X-Claude-Backend", backend)
		if a.status != 200 || !strings.Contains(a.body, "Echo: "+prompt) {
			t.Errorf("the next request: %d %s", a.status, a.body)
		}
		if body := string(s.upstream.one(t, prompt)); strings.Contains(body, "leave-") || strings.Contains(body, "interrupted") {
			t.Errorf("something of the former request is left: %.300s", body)
		}
	}
}

// testLeaveQueue leaves while two others have the workers: nothing of the
// request reaches the upstream.
func testLeaveQueue(t *testing.T, s *stand) {
	s.idle(t)
	before := s.upstream.Stats().Cancelled
	for range 2 {
		lines, leave := s.open(t, "/v1/chat/completions", chat(s.word("leave")+" [[tokens=5000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli")
		until(t, lines, "Echo")
		defer leave()
	}
	ctx, leave := context.WithCancel(within(t))
	defer leave()
	id, prompt := s.id(), s.word("leave")
	failed := make(chan error, 1)
	go func() {
		response, err := s.client.Do(s.request(ctx, t, http.MethodPost, "/v1/chat/completions", chat(prompt), "X-Claude-Backend", "cli", "X-Request-ID", id))
		if err == nil {
			_ = response.Body.Close()
		}
		failed <- err
	}()
	eventually(t, patience, "a request waits", func() bool { return s.metric(t, "claude_api_cli_queue_length") == 1 })
	leave()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("the request in the queue ended with %v", err)
	}
	eventually(t, patience, "the queue is empty", func() bool { return s.metric(t, "claude_api_cli_queue_length") == 0 })
	s.left(t, id)
	if got := s.upstream.Stats().Cancelled; got != before {
		t.Errorf("%d of those with a worker were cancelled", got-before)
	}
	if len(s.upstream.messages(prompt)) != 0 {
		t.Error("the request reached the upstream")
	}
}
