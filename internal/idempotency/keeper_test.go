package idempotency_test

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestAnswerIsGivenAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, body := range map[string]string{"whole": plain, "stream": streamed} {
			s := newStand(t)
			s.rooms.Message, s.rooms.Stream = []byte(`{"a":1}`), []byte(events)
			s.rooms.Warn = []string{"top_k: has no effect"}
			s.rooms.Limits = gateway.Limits{RequestsLimit: 10, RequestsRemaining: 9}
			first := s.send(t.Context(), "k", body)
			want := first.body
			time.Sleep(24*time.Hour - time.Nanosecond)
			again := s.send(t.Context(), "k", body)
			if got := again.body; got != want || again.status != 200 || s.count.Load() != 1 || len(s.rooms.Entries()) != 1 || want == "" {
				t.Errorf("%s: %d %q, want %q; served %d times", name, again.status, got, want, s.count.Load())
			}
			for _, same := range []string{"Content-Type", "X-Request-Id", "X-Claude-Backend", "X-Claude-Warnings"} {
				if got := again.header.Get(same); got == "" || got != first.header.Get(same) {
					t.Errorf("%s: %s is %q, was %q", name, same, got, first.header.Get(same))
				}
			}
			for _, gone := range []string{"Server-Timing", "Trailer", "X-Ratelimit-Remaining-Requests"} {
				if again.header[gone] != nil || first.header[gone] == nil && gone != "Trailer" {
					t.Errorf("%s: %s is %q, was %q", name, gone, again.header[gone], first.header[gone])
				}
			}
			if first.header["Idempotent-Replayed"] != nil || again.header.Get("Idempotent-Replayed") != "true" {
				t.Errorf("%s: replayed is %q, then %q", name, first.header["Idempotent-Replayed"], again.header["Idempotent-Replayed"])
			}
			if other := s.send(t.Context(), "k2", body); other.header["Idempotent-Replayed"] != nil || s.count.Load() != 2 {
				t.Errorf("%s: under another name: %v, served %d times", name, other.header, s.count.Load())
			}
			time.Sleep(time.Nanosecond)
			if late := s.send(t.Context(), "k", body); late.status != 200 || late.header["Idempotent-Replayed"] != nil || s.count.Load() != 3 {
				t.Errorf("%s: after a day: %d %v, served %d times", name, late.status, late.header, s.count.Load())
			}
		}
	})
}

// refused says whether an answer is an error with this status, code and header
// x-should-retry.
func refused(r answer, status int, code, retry string) bool {
	return r.status == status && strings.Contains(r.body, `"code":"`+code+`"`) && r.header.Get("X-Should-Retry") == retry
}

func TestWhileTheFirstRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.rooms.Message = []byte(`{"a":1}`)
		goOn := make(chan struct{})
		s.serve = func(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
			<-goOn
			return protocol.Serve(r.Context(), s.rooms.Gateway(), call, &encoder{w: w, call: call, stream: protocol.NewStream(w, protocol.SetHeader)}, nil)
		}
		done := make(chan answer, 1)
		go func() { done <- s.send(t.Context(), "k", plain) }()
		synctest.Wait()
		same, other := s.send(t.Context(), "k", plain), s.send(t.Context(), "k", streamed)
		if !refused(same, 409, "idempotency_in_progress", "") || same.header.Get("Retry-After") != "1" {
			t.Errorf("the same: %d %v", same.status, same.header)
		}
		if !refused(other, 422, "idempotency_mismatch", "false") {
			t.Errorf("another: %d %v", other.status, other.header)
		}
		close(goOn)
		if first := <-done; first.status != 200 || s.count.Load() != 1 {
			t.Errorf("the first: %d, served %d times", first.status, s.count.Load())
		}
		if later := s.send(t.Context(), "k", streamed); !refused(later, 422, "idempotency_mismatch", "false") || s.count.Load() != 1 {
			t.Errorf("another, later: %d %v", later.status, later.header)
		}
		if again := s.send(t.Context(), "k", plain); again.body != `{"a":1}` || s.count.Load() != 1 {
			t.Errorf("the same, later: %d, served %d times", again.status, s.count.Load())
		}
	})
}

// TestBetweenTwoLooks: the answer comes into the archive after the second request
// has looked there, and before it runs.
func TestBetweenTwoLooks(t *testing.T) {
	s := newStand(t)
	s.rooms.Message = []byte(`{"a":1}`)
	s.memory.meanwhile = func() { s.send(t.Context(), "k", plain) }
	if r := s.send(t.Context(), "k", plain); r.body != `{"a":1}` || r.header.Get("Idempotent-Replayed") != "true" || s.count.Load() != 1 {
		t.Errorf("%d, served %d times", r.status, s.count.Load())
	}
}

// TestKeptBeforeTheEnd: the last bytes wait until the answer is kept.
func TestKeptBeforeTheEnd(t *testing.T) {
	for name, tt := range map[string]struct{ body, before, after string }{
		"whole":  {plain, "", `{"a":1}`},
		"stream": {streamed, "data: {\"n\":1}\n\ndata: {\"n\":2}\n\n", "data: {\"n\":1}\n\ndata: {\"n\":2}\n\ndata: [DONE]\n\n"},
	} {
		s := newStand(t)
		s.rooms.Message, s.rooms.Stream = []byte(`{"a":1}`), []byte(events)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", strings.NewReader(tt.body))
		r.Header.Set("X-Api-Key", protocoltest.Key)
		r.Header.Set("Idempotency-Key", "k")
		w := httptest.NewRecorder()
		looks, before := 0, "not kept"
		var look func()
		look = func() {
			if looks++; looks == 3 { // after two reads
				before = w.Body.String()
				return
			}
			s.memory.meanwhile = look
		}
		s.memory.meanwhile = look
		s.handler().ServeHTTP(w, r)
		if before != tt.before || w.Body.String() != tt.after {
			t.Errorf("%s: when it was kept %q had left, at the end %q", name, before, w.Body)
		}
	}
}

// TestHandlerPanics: the name is free again.
func TestHandlerPanics(t *testing.T) {
	s := newStand(t)
	s.serve = func(http.ResponseWriter, *http.Request, *gateway.Call) error { panic(http.ErrAbortHandler) }
	func() {
		defer func() { _ = recover() }()
		s.send(t.Context(), "k", plain)
		t.Error("the panic is gone")
	}()
	s.serve, s.rooms.Message = nil, []byte(`{"a":1}`)
	if r := s.send(t.Context(), "k", plain); r.status != 200 || s.count.Load() != 2 {
		t.Errorf("afterwards: %d, served %d times", r.status, s.count.Load())
	}
}

func TestManyAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		goOn := make(chan struct{})
		s.serve = func(w http.ResponseWriter, _ *http.Request, _ *gateway.Call) error {
			<-goOn
			return protocol.WriteJSON(w, 200, []byte(`{}`))
		}
		var running sync.WaitGroup
		for i := range 1_024 {
			running.Go(func() { s.send(t.Context(), "k"+strings.Repeat("x", i%250)+string(rune('a'+i/250)), plain) })
		}
		synctest.Wait()
		if r := s.send(t.Context(), "one-more", plain); r.status != 429 || r.header.Get("Retry-After") != "1" || !strings.Contains(r.body, "Idempotency-Key") {
			t.Errorf("one more: %d", r.status)
		}
		close(goOn)
		running.Wait()
		if r := s.send(t.Context(), "one-more", plain); r.status != 200 {
			t.Errorf("afterwards: %d", r.status)
		}
	})
}

// prompt is a caller that asks again as soon as it has the answer's last bytes.
type prompt struct {
	http.ResponseWriter
	again func()
}

func (p prompt) Write(b []byte) (int, error) {
	if bytes.HasSuffix(b, []byte("[DONE]\n\n")) || bytes.HasSuffix(b, []byte("}")) {
		p.again()
	}
	return p.ResponseWriter.Write(b)
}

func TestAsksAgainAtOnce(t *testing.T) {
	for name, body := range map[string]string{"whole": plain, "stream": streamed} {
		s := newStand(t)
		s.rooms.Message, s.rooms.Stream = []byte(`{"a":1}`), []byte(events)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", strings.NewReader(body))
		r.Header.Set("X-Api-Key", protocoltest.Key)
		r.Header.Set("Idempotency-Key", "k")
		status := 0
		s.handler().ServeHTTP(prompt{httptest.NewRecorder(), func() { status = s.send(t.Context(), "k", body).status }}, r)
		if status != 200 || s.count.Load() != 1 {
			t.Errorf("%s: %d, served %d times", name, status, s.count.Load())
		}
	}
}
