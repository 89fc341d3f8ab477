package idempotency_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// slow is a stand whose backend sends one event, waits, and sends the rest; or,
// where its context ends, no more than that.
type slow struct {
	*stand
	goOn  chan struct{}
	ended error // of the context's, at the backend
}

func newSlow(t *testing.T) *slow {
	s := &slow{stand: newStand(t), goOn: make(chan struct{})}
	s.serve = func(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
		g := s.rooms.Gateway()
		g.Router = s
		return protocol.Serve(r.Context(), g, call, &encoder{w: w, call: call, stream: protocol.NewStream(w, protocol.SetHeader)}, nil)
	}
	return s
}

func (s *slow) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend, call.Model = gateway.BackendDirect, "claude-haiku-5-5"
	return s, nil
}

func (s *slow) Generate(ctx context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	cost := gateway.Result{Summary: message.Summary{Usage: message.Usage{InputTokens: 5}}}
	if call.Request.Stream {
		if err := errors.Join(out.Event(message.Event{Data: []byte("1")}), out.Flush()); err != nil {
			return cost, err
		}
	}
	select {
	case <-s.goOn:
	case <-ctx.Done():
		s.ended = context.Cause(ctx)
		return cost, ctx.Err()
	}
	if !call.Request.Stream {
		return cost, out.Message([]byte(`{"a":1}`))
	}
	return cost, errors.Join(out.Event(message.Event{Data: []byte("2")}), out.Flush())
}

const whole = "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"

// TestCallerLeaves: the request goes on, and the next one that asks gets its
// answer, whole.
func TestCallerLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, tt := range map[string]struct{ body, want string }{"whole": {plain, `{"a":1}`}, "stream": {streamed, whole}} {
			s := newSlow(t)
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() { s.send(ctx, "k", tt.body); close(done) }()
			synctest.Wait()
			leave()
			time.Sleep(10 * time.Minute)
			if r := s.send(t.Context(), "k", tt.body); !refused(r, 409, "idempotency_in_progress", "") {
				t.Errorf("%s: while it goes on: %d", name, r.status)
			}
			close(s.goOn)
			<-done
			if r := s.send(t.Context(), "k", tt.body); r.body != tt.want || s.count.Load() != 1 || s.ended != nil {
				t.Errorf("%s: then %d, served %d times, ended by %v", name, r.status, s.count.Load(), s.ended)
			}
			if rows := s.rooms.Entries(); len(rows) != 1 || rows[0].Status != 200 {
				t.Errorf("%s: the ledger has %+v", name, rows)
			}
		}
	})
}

// deaf is a connection whose other end is gone.
type deaf struct{ http.ResponseWriter }

func (deaf) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestConnectionBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		close(s.goOn)
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/x", strings.NewReader(streamed))
		r.Header.Set("X-Api-Key", protocoltest.Key)
		r.Header.Set("Idempotency-Key", "k")
		s.handler().ServeHTTP(deaf{httptest.NewRecorder()}, r)
		if again := s.send(t.Context(), "k", streamed); again.body != whole || s.count.Load() != 1 {
			t.Errorf("%d, served %d times", again.status, s.count.Load())
		}
	})
}

// TestAloneTooLong: nobody's request runs for half an hour at most, and what it
// cost is kept.
func TestAloneTooLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		ctx, leave := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { s.send(ctx, "k", plain); close(done) }()
		synctest.Wait()
		leave()
		start := time.Now()
		<-done
		if took := time.Since(start); took != 30*time.Minute {
			t.Errorf("it went on for %s", took)
		}
		if r := s.send(t.Context(), "k", plain); r.status != 504 || r.header.Get("Idempotent-Replayed") != "true" || s.count.Load() != 1 {
			t.Errorf("then %d, served %d times", r.status, s.count.Load())
		}
	})
}

func TestLeavesWhileItIsLookedFor(t *testing.T) {
	s := newStand(t)
	ctx, leave := context.WithCancel(t.Context())
	leave()
	if r := s.send(ctx, "k", plain); r.status != apierror.StatusClientClosed || s.count.Load() != 0 {
		t.Errorf("%d, served %d times", r.status, s.count.Load())
	}
}

// TestStop: requests whose callers have left end before Stop does; those that take
// too long are cut off, and nothing of them is kept.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, tt := range []struct {
			name   string
			body   string
			leaves bool // the caller does
			in     time.Duration
			kept   int
		}{
			{"in time", plain, true, 5 * time.Second, 1},
			{"too late", plain, true, time.Minute, 0},
			{"a stream, too late", streamed, true, time.Minute, 0},
			{"with its caller", plain, false, time.Minute, 0},
		} {
			s := newSlow(t)
			ctx, leave := context.WithCancel(t.Context())
			done := make(chan answer, 1)
			go func() { done <- s.send(ctx, "k", tt.body) }()
			synctest.Wait()
			if tt.leaves {
				leave()
			}
			timer := time.AfterFunc(tt.in, func() { close(s.goOn) })
			stopping, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			start := time.Now()
			stopped := make(chan error, 1)
			go func() { stopped <- s.Stop(stopping) }()
			synctest.Wait()
			if r := s.send(t.Context(), "new", plain); r.status != 503 || !strings.Contains(r.body, "the service is stopping") {
				t.Errorf("%s: a new one is answered with %d", tt.name, r.status)
			}
			err, first := <-stopped, <-done
			if (err == nil) != (tt.kept == 1) || time.Since(start) != min(tt.in, 10*time.Second) || s.memory.count() != tt.kept {
				t.Errorf("%s: stopped after %s with %v, %d are kept", tt.name, time.Since(start), err, s.memory.count())
			}
			if tt.kept == 0 && !strings.Contains(first.body, "the service is stopping") {
				t.Errorf("%s: answered %q", tt.name, first.body)
			}
			if again := s.Stop(t.Context()); again != nil {
				t.Errorf("%s: stopped again with %v", tt.name, again)
			}
			timer.Stop()
			cancel()
			leave()
		}
	})
}

// TestServerCancels: the server ends the contexts of its requests with a cause that
// callers may read.
func TestServerCancels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSlow(t)
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan answer, 1)
		go func() { done <- s.send(ctx, "k", plain) }()
		synctest.Wait()
		cancel(apierror.New(apierror.Overloaded, "the server is going"))
		if r := <-done; r.status != 503 || s.memory.count() != 0 {
			t.Errorf("%d, %d are kept", r.status, s.memory.count())
		}
	})
}

// TestBatchIsCutOff: an answer that says of its parts that the service stopped isn't
// kept, though it has a status of 200.
func TestBatchIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStand(t)
		s.serve = func(w http.ResponseWriter, r *http.Request, _ *gateway.Call) error {
			<-r.Context().Done()
			return protocol.WriteJSON(w, http.StatusOK, []byte(`{"failed":2}`))
		}
		done := make(chan answer, 1)
		go func() { done <- s.send(t.Context(), "k", plain) }()
		synctest.Wait()
		now, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Stop(now); !errors.Is(err, context.Canceled) {
			t.Errorf("stopped with %v", err)
		}
		if r := <-done; r.status != 200 || s.memory.count() != 0 {
			t.Errorf("%d, %d are kept", r.status, s.memory.count())
		}
	})
}
