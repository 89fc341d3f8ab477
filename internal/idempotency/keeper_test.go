package idempotency_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/idempotency"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is an archive that can be made to fail.
type memory struct {
	mu       sync.Mutex
	kept     map[[3]string]archive.Document
	get, put error
	// meanwhile, unless it is nil, is called once: after the next look for a document
	// or before the next one is kept.
	meanwhile func()
}

// interrupt calls meanwhile.
func (m *memory) interrupt() {
	m.mu.Lock()
	meanwhile := m.meanwhile
	m.meanwhile = nil
	m.mu.Unlock()
	if meanwhile != nil {
		meanwhile()
	}
}

func newMemory() *memory { return &memory{kept: map[[3]string]archive.Document{}} }

func (m *memory) fail(get, put error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.get, m.put = get, put
}

func (m *memory) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.kept)
}

func (m *memory) Put(_ context.Context, kind, keyID, id string, ttl time.Duration, body []byte) error {
	m.interrupt()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.put == nil {
		m.kept[[3]string{kind, keyID, id}] = archive.Document{Body: bytes.Clone(body), Expires: time.Now().Add(ttl)}
	}
	return m.put
}

func (m *memory) Get(ctx context.Context, kind, keyID, id string) (archive.Document, error) {
	defer m.interrupt()
	m.mu.Lock()
	defer m.mu.Unlock()
	d, found := m.kept[[3]string{kind, keyID, id}]
	if err := errors.Join(m.get, ctx.Err()); err != nil {
		return d, err
	}
	if !found || !time.Now().Before(d.Expires) {
		return d, archive.ErrNotFound
	}
	return d, nil
}

// stand serves one endpoint through a Keeper.
type stand struct {
	*idempotency.Keeper
	memory *memory
	rooms  *protocoltest.Rooms
	log    bytes.Buffer
	// serve takes the place of the gateway's walk where it is set.
	serve protocol.HandlerFunc
	count atomic.Int64 // how often a request was served
}

func newStand(t *testing.T) *stand {
	t.Helper()
	s := &stand{memory: newMemory(), rooms: &protocoltest.Rooms{}}
	s.Keeper = newKeeper(s)
	t.Cleanup(func() { _ = s.Stop(context.Background()) })
	return s
}

func newKeeper(s *stand) *idempotency.Keeper {
	return idempotency.New(idempotency.Options{Archive: s.memory, Log: slog.New(slog.NewTextHandler(&s.log, nil))})
}

// handler is that of a service. What whole and stream answer is what the walk of
// a call would have them.
func (s *stand) handler() http.Handler {
	serve := func(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
		s.count.Add(1)
		body, err := protocol.ReadBody(w, r, 0)
		if err != nil {
			return err
		}
		if call.Request, err = message.ParseRequest(body); err != nil {
			return err
		}
		if s.serve != nil {
			return s.serve(w, r, call)
		}
		return protocol.Serve(r.Context(), s.rooms.Gateway(), call, &encoder{w: w, call: call, stream: protocol.NewStream(w)}, nil)
	}
	return protocoltest.Handler(func(mux *http.ServeMux) {
		mux.Handle("POST /x", protocol.HandleOnce(s.rooms.Gateway(), s, "/x", serve, protocol.OpenAIErrorWriter(nil)))
	})
}

// send sends a request under a name and gives the whole answer.
func (s *stand) send(ctx context.Context, name, body string) answer {
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/x", strings.NewReader(body))
	r.Header.Set("X-Api-Key", protocoltest.Key)
	r.Header.Set("Idempotency-Key", name)
	w := httptest.NewRecorder()
	s.handler().ServeHTTP(w, r)
	return answer{w.Code, w.Header(), w.Body.String()}
}

// answer is one that was read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

// encoder is a protocol's.
type encoder struct {
	w      http.ResponseWriter
	call   *gateway.Call
	stream *protocol.Stream
	whole  []byte
	sent   bool
}

func (e *encoder) Event(event message.Event) error {
	protocol.SetOpenAIHeader(e.w.Header(), e.call)
	e.stream.Start(e.call)
	return e.stream.Write([]byte("data: " + string(event.Data) + "\n\n"))
}

func (e *encoder) Flush() error { return e.stream.Flush() }

func (e *encoder) Message(body []byte) error {
	e.whole = body
	return nil
}

func (e *encoder) End(gateway.Result) error {
	if e.stream.Started() {
		if err := e.stream.Write([]byte("data: [DONE]\n\n")); err != nil {
			return err
		}
		return e.stream.Close(e.call)
	}
	e.sent = true
	protocol.SetOpenAIHeader(e.w.Header(), e.call)
	return protocol.WriteJSON(e.w, http.StatusOK, e.whole)
}

func (e *encoder) Started() bool { return e.sent || e.stream.Started() }

func (e *encoder) Fail(failure *apierror.Error) {
	if !e.stream.Started() {
		return
	}
	_ = e.stream.Write([]byte("data: " + failure.Message + "\n\n"))
	_ = e.stream.Close(e.call)
}

const (
	plain    = `{"model":"haiku","messages":[]}`
	streamed = `{"model":"haiku","messages":[],"stream":true}`
	events   = "event: a\ndata: {\"n\":1}\n\nevent: b\ndata: {\"n\":2}\n\n"
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
			return protocol.Serve(r.Context(), s.rooms.Gateway(), call, &encoder{w: w, call: call, stream: protocol.NewStream(w)}, nil)
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
