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
		return protocol.Serve(r.Context(), s.rooms.Gateway(), call, &encoder{w: w, call: call, stream: protocol.NewStream(w, protocol.SetHeader)}, nil)
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
