package main

import (
	"io"
	"strings"
	"syscall"
	"testing"
)

// testKilledWorkers kills workers under the service, as the kernel does when
// memory runs out.
func testKilledWorkers(t *testing.T, s *stand) {
	kill := func(pids []int) {
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	s.idle(t)
	former, _ := s.workers(t)
	if len(former) != 2 {
		t.Fatalf("the workers are %v", former)
	}
	kill(former[:1])
	// Whether or not the service knows already that it died.
	for range 2 {
		prompt := s.word("after")
		if a := s.post(t, "/v1/chat/completions", chat(prompt), "X-Claude-Backend", "cli"); a.status != 200 || !strings.Contains(a.body, "Echo: "+prompt) {
			t.Errorf("after an idle worker died: %d %s", a.status, a.body)
		}
	}
	s.idle(t)

	id := s.id()
	lines, _ := s.open(t, "/v1/chat/completions", chat(s.word("cut")+" [[tokens=5000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli", "X-Request-ID", id)
	until(t, lines, "Echo")
	busy, _ := s.workers(t)
	kill(busy)
	rest, err := io.ReadAll(lines)
	if err != nil || strings.Contains(string(rest), "[DONE]") || !strings.Contains(string(rest), `"error":`) {
		t.Errorf("a stream whose worker died ends with %v: %.500s", err, rest)
	}
	if r := row(t, s.db, id); r.Status != 502 || r.Category != "cli_error" {
		t.Errorf("the ledger has %+v", r)
	}
	s.idle(t)
	if a := s.post(t, "/v1/chat/completions", chat("hello"), "X-Claude-Backend", "cli"); a.status != 200 {
		t.Errorf("after a busy worker died: %d %s", a.status, a.body)
	}
	now, _ := s.workers(t)
	if len(now) != 2 || len(alive(busy)) != 0 {
		t.Errorf("workers now %v, before %v", now, busy)
	}
}
