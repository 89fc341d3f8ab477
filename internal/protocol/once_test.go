package protocol_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/protocol"
	"claude-code-api-service/internal/protocol/protocoltest"
)

// once counts what comes through it.
type once int

func (o *once) Serve(w http.ResponseWriter, r *http.Request, call *gateway.Call, serve protocol.HandlerFunc, write protocol.ErrorWriter) error {
	*o++
	if err := serve(w, r, call); err != nil {
		write(w, r, call, err)
	}
	return nil
}

func TestHandleOnce(t *testing.T) {
	rooms := &protocoltest.Rooms{}
	failure := apierror.New(apierror.Timeout, "too slow")
	served := func(o protocol.Once, headers ...string) protocoltest.Answer {
		return protocoltest.Post(t, protocoltest.Server(t, func(mux *http.ServeMux) {
			mux.Handle("POST /x", protocol.HandleOnce(rooms.Gateway(), o, "/x",
				func(http.ResponseWriter, *http.Request, *gateway.Call) error { return failure }, protocol.OpenAIErrorWriter(nil)))
		}).URL+"/x", "{}", headers...)
	}
	var o once
	for _, test := range []struct {
		name    string
		once    protocol.Once
		headers []string
		want    once
	}{
		{"without the header", &o, nil, 0},
		{"with it", &o, []string{"Idempotency-Key", "k"}, 1},
		{"with nobody to read it", nil, []string{"Idempotency-Key", "k"}, 0},
	} {
		o = 0
		before := len(rooms.Observed())
		if a := served(test.once, test.headers...); a.Status != 504 || o != test.want || len(rooms.Observed()) != before+1 {
			t.Errorf("%s: %d, through once %d times, observed %d times", test.name, a.Status, o, len(rooms.Observed())-before)
		}
	}
}

// TestWithoutTheHeaderNothingIsPaid: a request that doesn't name itself costs no
// allocation more.
func TestWithoutTheHeaderNothingIsPaid(t *testing.T) {
	rooms := &protocoltest.Rooms{}
	serve := func(w http.ResponseWriter, _ *http.Request, _ *gateway.Call) error {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	allocations := func(h http.Handler, named bool) float64 {
		r := httptest.NewRequest(http.MethodPost, "/x", nil)
		r.Header.Set("X-Api-Key", protocoltest.Key)
		if named {
			r.Header.Set("Idempotency-Key", "k")
		}
		return testing.AllocsPerRun(100, func() { h.ServeHTTP(httptest.NewRecorder(), r) })
	}
	var o once
	with := protocol.HandleOnce(rooms.Gateway(), &o, "/x", serve, protocol.OpenAIErrorWriter(nil))
	without := protocol.Handle(rooms.Gateway(), "/x", serve, protocol.OpenAIErrorWriter(nil))
	if got, want := allocations(with, false), allocations(without, false); got != want || o != 0 {
		t.Errorf("%v allocations, %v where nobody reads the header; %d times through once", got, want, o)
	}
	if allocations(with, true); o == 0 {
		t.Error("the header isn't read")
	}
}

// keptWriter notes when it is told that the answer is complete.
type keptWriter struct {
	*httptest.ResponseRecorder
	complete string // the body by then
	err      error
}

func (k *keptWriter) Complete() error {
	k.complete = k.Body.String()
	return k.err
}

func TestStreamIsKeptBeforeItsEnd(t *testing.T) {
	for _, want := range []error{nil, errors.New("disk full")} {
		w := &keptWriter{ResponseRecorder: httptest.NewRecorder(), err: want}
		s := protocol.NewStream(w, protocol.SetHeader)
		call := &gateway.Call{Clock: latency.Start()}
		s.Start(call)
		if err := s.Write([]byte("data: last\n\n")); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(call); !errors.Is(err, want) || w.complete != "data: last\n\n" || w.Flushed {
			t.Errorf("%v, kept %q, flushed %v", err, w.complete, w.Flushed)
		}
	}
}

func TestBodyThatWasRead(t *testing.T) {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("over the wire"))
	body := []byte("read before")
	ctx, cancel := context.WithCancel(t.Context())
	r = protocol.WithBody(ctx, r, body)
	got, err := protocol.ReadBody(httptest.NewRecorder(), r, 1)
	if err != nil || &got[0] != &body[0] || len(got) != len(body) {
		t.Errorf("%q, %v", got, err)
	}
	if streamed, err := io.ReadAll(r.Body); err != nil || string(streamed) != string(body) {
		t.Errorf("%q, %v", streamed, err)
	}
	if cancel(); r.Context().Err() == nil {
		t.Error("the request has another context")
	}
}

// TestShouldRetry: SDKs ask again for a 409, a 429 and a 5xx unless they are told
// otherwise.
func TestShouldRetry(t *testing.T) {
	for name, test := range map[string]struct {
		e    apierror.Error
		want string
	}{
		"a key that is being served": {apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeIdempotencyInProgress}, ""},
		"a key of another request":   {apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeIdempotencyMismatch}, "false"},
		"an answer too large":        {apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeIdempotencyTooLarge}, "false"},
		"a budget that is spent":     {apierror.Error{Category: apierror.BudgetExceeded}, "false"},
		"a budget that is held":      {apierror.Error{Category: apierror.BudgetExceeded, RetryAfter: time.Second}, ""},
		"a wrong key":                {apierror.Error{Category: apierror.AuthError}, "false"},
		"a fault of ours":            {apierror.Error{Category: apierror.Internal}, "false"},
		"the upstream's fault":       {apierror.Error{Category: apierror.UpstreamError}, ""},
		"overload":                   {apierror.Error{Category: apierror.Overloaded, RetryAfter: time.Second}, ""},
	} {
		h := http.Header{}
		protocol.SetErrorHeader(h, &test.e)
		if got := h.Get(protocol.HeaderShouldRetry); got != test.want {
			t.Errorf("%s: x-should-retry is %q", name, got)
		}
	}
}
