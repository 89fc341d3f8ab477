package idempotency_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// TestWhatIsKept: a failure is kept where it may have cost something.
func TestWhatIsKept(t *testing.T) {
	cost := gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 5}}}
	for _, tt := range []struct {
		name   string
		rooms  *protocoltest.Rooms
		body   string
		status int
		kept   bool
	}{
		{"a body that isn't JSON", &protocoltest.Rooms{}, `{`, 400, false},
		{"too many requests", &protocoltest.Rooms{AdmitErr: apierror.New(apierror.RateLimited, "slow down")}, plain, 429, false},
		{"refused by the upstream", &protocoltest.Rooms{Err: apierror.FromUpstream(500, "")}, plain, 502, false},
		{"overloaded", &protocoltest.Rooms{Err: apierror.FromUpstream(529, "")}, plain, 503, false},
		{"no connection", &protocoltest.Rooms{Err: apierror.New(apierror.ConnectionError, "refused")}, plain, 502, false},
		{"too slow", &protocoltest.Rooms{Err: apierror.New(apierror.Timeout, "too slow")}, plain, 504, true},
		{"some tokens, then a refusal", &protocoltest.Rooms{Err: apierror.FromUpstream(529, ""), Result: cost}, plain, 503, true},
		{"a stream that broke", &protocoltest.Rooms{Stream: []byte(events), Err: apierror.FromUpstream(529, ""), Result: cost}, streamed, 200, true},
		{"no row in the ledger", &protocoltest.Rooms{Message: []byte(`{}`), Result: cost, RecordErr: errors.New("disk full")}, plain, 500, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newStand(t)
			s.rooms = tt.rooms
			first := s.send(t.Context(), "k", tt.body)
			want := first.body
			again := s.send(t.Context(), "k", tt.body)
			replayed := again.header.Get("Idempotent-Replayed") == "true"
			if got := again.body; first.status != tt.status || again.status != tt.status || replayed != tt.kept || got != want {
				t.Errorf("%d %q, then %d %q, replayed %v", first.status, want, again.status, got, replayed)
			}
			if (s.memory.count() == 1) != tt.kept || s.count.Load() == 1 != tt.kept {
				t.Errorf("%d answers are kept, served %d times", s.memory.count(), s.count.Load())
			}
			if retry := first.header.Get("X-Should-Retry"); tt.kept && tt.status != 200 && (retry != "false" || again.header.Get("X-Should-Retry") != "false") {
				t.Errorf("x-should-retry is %q, then %q", retry, again.header.Get("X-Should-Retry"))
			}
			if again.header.Get("Retry-After") != "" && tt.kept {
				t.Error("an answer that stays says when to try again")
			}
		})
	}
}

// TestTooLarge: an answer of more than 8 MiB goes out whole and isn't kept; the
// name says so from then on.
func TestTooLarge(t *testing.T) {
	for name, tt := range map[string]struct {
		body  string
		piece int
		large bool
	}{
		"whole":            {plain, 8<<20 + 1, true},
		"whole, just fits": {plain, 8 << 20, false},
		"stream":           {streamed, 3 << 20, true},
	} {
		s := newStand(t)
		piece := strings.Repeat("x", tt.piece)
		s.rooms.Message = []byte(piece)
		s.rooms.Stream = bytes.Repeat([]byte("event: a\ndata: "+piece[:min(tt.piece, 1<<19)]+"\n\n"), 20)
		first := s.send(t.Context(), "k", tt.body)
		want := piece
		if tt.body == streamed {
			want = strings.Repeat("data: "+piece[:1<<19]+"\n\n", 20) + "data: [DONE]\n\n"
		}
		if got := first.body; first.status != 200 || got != want {
			t.Errorf("%s: %d, %d bytes of %d", name, first.status, len(got), len(want))
		}
		again := s.send(t.Context(), "k", tt.body)
		if tt.large && !refused(again, 409, "idempotency_answer_too_large", "false") || !tt.large && again.body != want || s.count.Load() != 1 {
			t.Errorf("%s: then %d, served %d times", name, again.status, s.count.Load())
		}
	}
}

// TestManyLargeAnswers: what isn't kept, because its owner has too many large
// answers, isn't served again either.
func TestManyLargeAnswers(t *testing.T) {
	s := newStand(t)
	s.UseUpAllowance("k1")
	s.rooms.Message = bytes.Repeat([]byte("x"), 64<<10)
	if first := s.send(t.Context(), "k", plain); first.status != 200 || len(first.body) != 64<<10 {
		t.Errorf("%d, %d bytes", first.status, len(first.body))
	}
	if again := s.send(t.Context(), "k", plain); !refused(again, 409, "idempotency_answer_too_large", "false") || s.count.Load() != 1 {
		t.Errorf("then %d, served %d times", again.status, s.count.Load())
	}
}

func TestStoreFails(t *testing.T) {
	broken := errors.New("disk on fire")
	for name, body := range map[string]string{"whole": plain, "stream": streamed} {
		s := newStand(t)
		s.rooms.Message, s.rooms.Stream = []byte(`{"a":1}`), []byte(events)
		s.memory.fail(broken, nil)
		if r := s.send(t.Context(), "k", body); r.status != 503 || r.header.Get("Retry-After") != "1" || s.count.Load() != 0 {
			t.Errorf("%s that can't be looked for: %d, served %d times", name, r.status, s.count.Load())
		}
		s.memory.fail(nil, broken)
		r := s.send(t.Context(), "k", body)
		got := r.body
		if strings.Contains(got, "[DONE]") || strings.Contains(got, `"a":1`) || strings.Contains(got, "on fire") || !strings.Contains(got, "couldn't be kept") {
			t.Errorf("%s that can't be kept: %d %q", name, r.status, got)
		}
		if body == plain && (r.status != 500 || r.header.Get("X-Should-Retry") != "false" || r.header.Get("X-Claude-Backend") == "" || r.header.Get("Content-Type") != "application/json") {
			t.Errorf("%s that can't be kept: %d %v", name, r.status, r.header)
		}
		s.memory.fail(nil, nil)
		if r := s.send(t.Context(), "k", body); r.status != 200 || r.header["Idempotent-Replayed"] != nil || s.count.Load() != 2 {
			t.Errorf("%s afterwards: %d, served %d times", name, r.status, s.count.Load())
		}
	}
}

// TestFailureThatCannotBeKept: the caller hears of the failure itself, the log of
// both.
func TestFailureThatCannotBeKept(t *testing.T) {
	s := newStand(t)
	s.memory.fail(nil, errors.New("disk on fire"))
	s.rooms.Err = apierror.New(apierror.Timeout, "too slow")
	if r := s.send(t.Context(), "k", plain); r.status != 504 || !strings.Contains(r.body, "too slow") {
		t.Errorf("answered %d", r.status)
	}
	if !strings.Contains(s.log.String(), "disk on fire") {
		t.Errorf("the log says %q", s.log.String())
	}
}
