package benchmark

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestSamples(t *testing.T) {
	var s Samples
	if s.Median() != 0 {
		t.Error("no samples have a median")
	}
	for i := 100; i >= 1; i-- {
		s = append(s, time.Duration(i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.01: 1, 0.5: 50, 0.95: 95, 0.99: 99, 1: 100} {
		if got := s.Quantile(q); got != want {
			t.Errorf("quantile %v = %d, want %d", q, got, want)
		}
	}
	if s[0] != 100 {
		t.Error("the samples were reordered")
	}
}

func TestChatReadsStages(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer key" || r.Header.Get("X-Claude-Backend") != "cli" {
			w.WriteHeader(http.StatusUnauthorized)
		}
		w.Header().Set("Server-Timing", "auth;dur=0.001, queue;dur=2.5, odd, total;dur=x")
	}))
	defer server.Close()
	reply, err := NewService(server.URL, "key").Chat(t.Context(), "cli", Prompt(""))
	if err != nil || reply.Status != http.StatusOK {
		t.Fatal(reply, err)
	}
	if len(reply.Stages) != 2 || reply.Stages["auth"] != time.Microsecond || reply.Stages["queue"] != 2500*time.Microsecond {
		t.Errorf("stages = %v", reply.Stages)
	}
}

func TestPromptsDiffer(t *testing.T) {
	if a, b := Prompt("[[delay=1s]]"), Prompt("[[delay=1s]]"); a == b || !strings.HasSuffix(a, "[[delay=1s]]") {
		t.Errorf("%q and %q", a, b)
	}
}

func TestPrint(t *testing.T) {
	var out strings.Builder
	r := &CLIResult{
		Warm: Samples{20 * time.Millisecond}, Bare: Samples{19 * time.Millisecond}, Cold: Samples{400 * time.Millisecond},
		WarmPerSecond: 60, FourTogether: time.Second,
	}
	r.Print(&out)
	for _, want := range []string{"1.00 ms   (at most 2 ms)", "20.0x", "60.0 /s", "1000.00 ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	out.Reset()
	(&DirectResult{Upstream: Samples{time.Millisecond}, Messages: Samples{1200 * time.Microsecond}}).Print(&out)
	if !strings.Contains(out.String(), "added at p50: 0.20 ms") {
		t.Errorf("the table lacks what is added:\n%s", out.String())
	}
}
