package main

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
)

// TestANotificationSurvivesAKill kills the service when its webhook's receiver has
// refused a message: the next start delivers the same one, once.
func TestANotificationSurvivesAKill(t *testing.T) {
	const secret = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
	type message struct{ id, body string }
	var up atomic.Bool
	refused, taken := make(chan message, 100), make(chan message, 100)
	receiver := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		m := message{r.Header.Get("Webhook-Id"), string(body)}
		if !up.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			refused <- m
			return
		}
		taken <- m
	}))
	defer receiver.Close()
	next := func(from chan message) message {
		t.Helper()
		select {
		case m := <-from:
			return m
		case <-within(t).Done():
			t.Fatal("no message came")
		}
		return message{}
	}
	variables := []string{"CLAUDE_API_WEBHOOK_URL=" + receiver.URL + "/planted-path", "CLAUDE_API_WEBHOOK_SECRET=" + secret}

	upstream := newUpstream(t)
	s := serve(t, upstream.url, "off", variables...)
	s.key = command(t, s.env, "keys", "create", "--data-dir="+s.data, "--project-id=e2e", "-q", "--budget-tokens-month=1000000", "--soft-budget-percent=1")
	use := func(s *service) {
		if a := s.post(t, "/v1/messages", `{"model":"haiku","max_tokens":9000,"messages":[{"role":"user","content":"spend [[tokens=4000]]"}]}`); a.status != http.StatusOK {
			t.Fatalf("%d %s", a.status, a.body)
		}
	}
	for range 3 { // the soft limit is 10,000 tokens
		use(s)
	}
	first := next(refused)
	if !strings.Contains(first.body, `"period":"month"`) || !strings.Contains(first.body, `"soft_limit":{"tokens":10000}`) {
		t.Errorf("it told of %s", first.body)
	}
	s.signal(t, syscall.SIGKILL)
	s.exit(t)

	up.Store(true)
	again := serveOn(t, s.data, upstream.url, "off", variables...)
	if got := next(taken); got != first {
		t.Errorf("after the kill it sent\n%+v, before\n%+v", got, first)
	}
	again.key = s.key
	use(again) // learns that the limit was reached before
	again.signal(t, syscall.SIGTERM)
	again.exit(t)
	if len(taken) != 0 {
		t.Errorf("it is told again: %+v", <-taken)
	}
	log := s.stderr.String() + again.stderr.String()
	for _, hidden := range []string{secret, strings.TrimPrefix(secret, "whsec_"), "planted-path"} {
		if strings.Contains(log, hidden) {
			t.Errorf("%q is in the log", hidden)
		}
	}
	events := command(t, s.env, "audit", "list", "--data-dir="+s.data, "--action=budget.soft_limit_crossed", "-o", "csv")
	if lines := slices.Collect(strings.Lines(events)); len(lines) != 2 {
		t.Errorf("the audit log has %s", events)
	}
}
