// Package protocoltest gives the tests of the protocol packages a gateway with
// a scripted backend behind it, and an HTTP server in front of it.
package protocoltest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/sse"
)

// What the gateway knows.
const (
	Key       = "cc_0123456789012345678901234567890123456789"
	ProjectID = "acme"
	RequestID = "req_test"
)

// Rooms are a gateway's rooms, scripted. The zero value admits everybody who has
// Key and answers with nothing; set what a test needs before it serves. What the
// walk did is read with Calls and Entries.
type Rooms struct {
	Limits    gateway.Limits
	AdmitErr  error
	RecordErr error

	Stream  []byte // what a stream is answered with, as the upstream frames it
	Framed  bool   // events carry their raw frames
	Message []byte // what a plain request is answered with
	Result  gateway.Result
	Err     error    // ends the answer after Stream
	Warn    []string // what the backend couldn't honour
	Header  http.Header
	Backend string // "cli" when it is ""

	mu       sync.Mutex
	calls    []*gateway.Call
	entries  []gateway.Entry
	observed []gateway.Entry
}

// Gateway makes a gateway of the rooms.
func (r *Rooms) Gateway() *gateway.Gateway {
	return gateway.New(gateway.Options{Authenticator: r, Admitter: r, Router: r, Recorder: r, Observer: r, Roots: []string{"/"}})
}

// Calls gives the calls that reached the backend. Read them after the answer.
func (r *Rooms) Calls() []*gateway.Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.calls
}

// Entries gives the ledger's rows.
func (r *Rooms) Entries() []gateway.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.entries
}

// caller is who the Key belongs to; its profile allows all tools but Bash, and to
// work everywhere. It is never changed.
var caller = &gateway.Caller{KeyID: "k1", ProjectID: ProjectID, Permissions: gateway.Permissions{
	AllowedTools: []string{gateway.All}, BlockedTools: []string{"Bash"}, WorkingDirectories: []string{gateway.All},
}}

// Authenticate implements gateway.Authenticator.
func (r *Rooms) Authenticate(_ context.Context, key, _ string) (*gateway.Caller, error) {
	if key != Key {
		return nil, &apierror.Error{Category: apierror.AuthError, Code: apierror.CodeInvalidKey, Message: "invalid API key"}
	}
	return caller, nil
}

// Admit implements gateway.Admitter.
func (r *Rooms) Admit(_ context.Context, call *gateway.Call) error {
	call.Limits = r.Limits
	return r.AdmitErr
}

// Reserve implements gateway.Admitter.
func (r *Rooms) Reserve(context.Context, *gateway.Call) error { return nil }

// Release implements gateway.Admitter.
func (r *Rooms) Release(*gateway.Call, gateway.Result) {}

// Route implements gateway.Router.
func (r *Rooms) Route(call *gateway.Call) (gateway.Backend, error) {
	call.Backend = r.Backend
	if call.Backend == "" {
		call.Backend = gateway.BackendCLI
	}
	call.Model = "claude-haiku-5-5"
	return r, nil
}

// Record implements gateway.Recorder.
func (r *Rooms) Record(_ context.Context, entry gateway.Entry) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.entries = append(r.entries, entry)
	return r.RecordErr
}

// Observe implements gateway.Observer.
func (r *Rooms) Observe(entry gateway.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observed = append(r.observed, entry)
}

// Observed gives what the observer heard of.
func (r *Rooms) Observed() []gateway.Entry {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.observed
}

// Generate implements gateway.Backend.
func (r *Rooms) Generate(_ context.Context, call *gateway.Call, out gateway.EventWriter) (gateway.Result, error) {
	r.mu.Lock()
	r.calls = append(r.calls, call)
	r.mu.Unlock()
	call.UpstreamHeader = r.Header
	for _, text := range r.Warn {
		call.Warn(text)
	}
	if !call.Request.Stream || call.CountOnly {
		if r.Err != nil {
			return r.Result, r.Err
		}
		return r.Result, out.Message(r.Message)
	}
	events := sse.NewReader(bytes.NewReader(r.Stream), 1<<20)
	for {
		frame, err := events.Next()
		if errors.Is(err, io.EOF) {
			return r.Result, r.Err
		}
		if err != nil {
			return r.Result, err
		}
		event := message.Event{Type: string(frame.Event), Data: frame.Data}
		if r.Framed {
			event.Raw = frame.Raw
		}
		if err := out.Event(event); err != nil {
			return r.Result, err
		}
		if err := out.Flush(); err != nil {
			return r.Result, err
		}
	}
}

// Handler serves what register adds to a mux, with RequestID set as the
// service's own middleware does.
func Handler(register func(mux *http.ServeMux)) http.Handler {
	mux := http.NewServeMux()
	register(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(protocol.HeaderRequestID, RequestID)
		mux.ServeHTTP(w, r)
	})
}

// Server serves Handler on loopback until the test ends.
func Server(t testing.TB, register func(mux *http.ServeMux)) *httptest.Server {
	t.Helper()
	server := httptest.NewServer(Handler(register))
	t.Cleanup(server.Close)
	return server
}

// Answer is a complete answer of a Server.
type Answer struct {
	Status  int
	Header  http.Header
	Trailer http.Header
	Body    string
}

// Post sends a body to a Server with Key, and with further headers given as
// names and values in turn.
func Post(t testing.TB, url, body string, headers ...string) Answer {
	t.Helper()
	return Do(t, http.MethodPost, url, body, append([]string{"X-Api-Key", Key}, headers...)...)
}

// Do sends a request without a key of its own.
func Do(t testing.TB, method, url, body string, headers ...string) Answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader([]byte(body)))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{Status: response.StatusCode, Header: response.Header, Trailer: response.Trailer, Body: string(text)}
}
