package protocol_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
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

func TestOpen(t *testing.T) {
	const key = protocoltest.Key
	tests := []struct {
		name   string
		header map[string]string
		prefer string
		want   apierror.Category
	}{
		{name: "x-api-key", header: map[string]string{"x-api-key": key}},
		{name: "bearer", header: map[string]string{"Authorization": "Bearer " + key}},
		{name: "bearer in lower case", header: map[string]string{"Authorization": "bearer  " + key}},
		{name: "x-api-key wins", header: map[string]string{"x-api-key": key, "Authorization": "Bearer no"}},
		{name: "other scheme", header: map[string]string{"Authorization": "Basic " + key}, want: apierror.AuthError},
		{name: "no key", want: apierror.AuthError},
		{name: "cli", header: map[string]string{"x-api-key": key, "X-Claude-Backend": "cli"}, prefer: "cli"},
		{name: "direct", header: map[string]string{"x-api-key": key, "X-Claude-Backend": "direct"}, prefer: "direct"},
		{name: "unknown backend", header: map[string]string{"x-api-key": key, "X-Claude-Backend": "gpu"}, want: apierror.BadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", nil)
			for name, value := range tt.header {
				r.Header.Set(name, value)
			}
			w := httptest.NewRecorder()
			w.Header().Set(protocol.HeaderRequestID, "req_1")
			call, err := protocol.Open(new(protocoltest.Rooms).Gateway(), w, r, "/v1/x")
			if tt.want != "" {
				if e := apierror.From(err); e == nil || e.Category != tt.want {
					t.Fatalf("err = %v, want category %s", err, tt.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if call.Prefer != tt.prefer || call.RequestID != "req_1" || call.Endpoint != "/v1/x" || call.Caller == nil {
				t.Errorf("call = %+v", call)
			}
		})
	}
}

func TestPreferBackend(t *testing.T) {
	yes, no := true, false
	for _, tt := range []struct {
		name, header string
		useCLI       *bool
		want         string
	}{
		{"neither", "", nil, ""},
		{"body asks for the CLI", "", &yes, "cli"},
		{"body asks for direct", "", &no, "direct"},
		{"header wins", "direct", &yes, "direct"},
	} {
		call := &gateway.Call{Prefer: tt.header}
		if protocol.PreferBackend(call, tt.useCLI); call.Prefer != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, call.Prefer, tt.want)
		}
	}
}

func TestReadBody(t *testing.T) {
	tests := []struct {
		name     string
		body     string
		chunked  bool
		encoding string
		status   int // 0: read
	}{
		{name: "exact", body: "12345678"},
		{name: "empty", body: ""},
		{name: "chunked", body: "12345678", chunked: true},
		{name: "too large by its length", body: "123456789", status: 413},
		{name: "too large in chunks", body: strings.Repeat("x", 100), chunked: true, status: 413},
		{name: "compressed", body: "1", encoding: "gzip", status: 400},
		{name: "identity", body: "1", encoding: "identity"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(tt.body))
			if tt.chunked {
				r.ContentLength = -1
			}
			r.Header.Set("Content-Encoding", tt.encoding)
			got, err := protocol.ReadBody(httptest.NewRecorder(), r, 8)
			if tt.status != 0 {
				if e := apierror.From(err); e == nil || e.Status() != tt.status {
					t.Fatalf("err = %v, want status %d", err, tt.status)
				}
				return
			}
			if err != nil || string(got) != tt.body {
				t.Fatalf("%q, %v", got, err)
			}
		})
	}
}

func TestReadBodyGrowsForChunks(t *testing.T) {
	want := strings.Repeat("0123456789", 10_000)
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(want))
	r.ContentLength = -1
	got, err := protocol.ReadBody(httptest.NewRecorder(), r, 0)
	if err != nil || string(got) != want {
		t.Fatalf("%d bytes, %v", len(got), err)
	}
}

func TestReadBodyOfCallerWhoLeft(t *testing.T) {
	failed := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, err := protocol.ReadBody(w, r, 0)
		failed <- err
	}))
	defer server.Close()
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{"); err != nil {
		t.Fatal(err)
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if e := apierror.From(<-failed); e == nil || e.Category != apierror.ClientClosed {
		t.Errorf("err = %v", e)
	}
}

func TestSetHeader(t *testing.T) {
	call := &gateway.Call{
		Backend: "cli", Clock: latency.Start(),
		Warnings:       []string{"top_p: no", "äh\r\nX-Evil: 1"},
		UpstreamHeader: http.Header{"Request-Id": {"req_up"}, "X-Claude-Backend": {"spoof"}},
	}
	call.Clock.Mark(latency.Auth)
	h := http.Header{}
	protocol.SetHeader(h, call)
	for name, want := range map[string]string{
		"Request-Id": "req_up", "X-Claude-Backend": "cli", "X-Claude-Warnings": "top_p: no; ?h??X-Evil: 1",
	} {
		if got := h.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if got := h.Get("Server-Timing"); !strings.HasPrefix(got, "auth;dur=") {
		t.Errorf("Server-Timing = %q", got)
	}

	call.Warnings = []string{strings.Repeat("long ", 1_000)}
	protocol.SetHeader(h, call)
	if got := h.Get("X-Claude-Warnings"); len(got) != 1_024 || !strings.HasSuffix(got, "...") {
		t.Errorf("a long warning gives %d bytes", len(got))
	}
}

func TestSetErrorHeader(t *testing.T) {
	tests := []struct {
		name string
		err  *apierror.Error
		want map[string]string
	}{
		{"plain", apierror.New(apierror.BadRequest, "x"), map[string]string{"X-Error-Category": "bad_request"}},
		{"rounded up", &apierror.Error{Category: apierror.RateLimited, RetryAfter: 1_200 * time.Millisecond},
			map[string]string{"X-Error-Category": "rate_limited", "Retry-After": "2"}},
		{"at least one", &apierror.Error{Category: apierror.Overloaded, RetryAfter: time.Millisecond},
			map[string]string{"X-Error-Category": "overloaded", "Retry-After": "1"}},
		{"a wrong key", apierror.New(apierror.AuthError, "x"), map[string]string{"X-Error-Category": "auth_error", "X-Should-Retry": "false"}},
		{"our own credential", &apierror.Error{Category: apierror.AuthError, Upstream: &apierror.Upstream{Status: 401, OurCredential: true}},
			map[string]string{"X-Error-Category": "auth_error", "X-Upstream-Status": "401"}},
		{"upstream", &apierror.Error{Category: apierror.UpstreamError, Upstream: &apierror.Upstream{Status: 529}},
			map[string]string{"X-Error-Category": "upstream_error", "X-Upstream-Status": "529"}},
		{"spent", apierror.New(apierror.BudgetExceeded, "x"),
			map[string]string{"X-Error-Category": "budget_exceeded", "X-Should-Retry": "false"}},
		{"held", &apierror.Error{Category: apierror.BudgetExceeded, RetryAfter: time.Second},
			map[string]string{"X-Error-Category": "budget_exceeded", "Retry-After": "1"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := http.Header{}
			protocol.SetErrorHeader(h, tt.err)
			if len(h) != len(tt.want) {
				t.Errorf("header = %v", h)
			}
			for name, want := range tt.want {
				if got := h.Get(name); got != want {
					t.Errorf("%s = %q, want %q", name, got, want)
				}
			}
		})
	}
}

func TestHandleWritesErrorsOnce(t *testing.T) {
	for _, tt := range []struct {
		name            string
		err             error
		wrote, observed int
	}{
		{"none", nil, 0, 0},
		{"caller left", apierror.New(apierror.ClientClosed, "x"), 1, 1},
		{"any other", errors.New("x"), 1, 1},
	} {
		wrote := 0
		rooms := &protocoltest.Rooms{}
		h := protocol.Handle(rooms.Gateway(), "/v1/x",
			func(http.ResponseWriter, *http.Request, *gateway.Call) error { return tt.err },
			func(_ http.ResponseWriter, _ *http.Request, call *gateway.Call, err error) {
				wrote++
				if !errors.Is(err, tt.err) || call.Endpoint != "/v1/x" {
					t.Errorf("%s: err = %v, call %+v", tt.name, err, call)
				}
			})
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Api-Key", protocoltest.Key)
		h.ServeHTTP(httptest.NewRecorder(), r)
		if observed := len(rooms.Observed()); wrote != tt.wrote || observed != tt.observed {
			t.Errorf("%s: wrote %d, want %d; observed %d, want %d", tt.name, wrote, tt.wrote, observed, tt.observed)
		}
	}
}

func TestStream(t *testing.T) {
	next := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		call := &gateway.Call{Backend: "direct", Clock: latency.Start()}
		call.Clock.Mark(latency.Auth)
		s := protocol.NewStream(w, protocol.SetHeader)
		if s.Started() {
			t.Error("started before the first write")
		}
		s.Start(call)
		_ = s.Write([]byte("data: 1\n\n"))
		_ = s.Flush()
		<-next // the first event must arrive while the stream is open
		call.Clock.Mark(latency.Generate)
		_ = s.Write([]byte("data: 2\n\n"))
		_ = s.Close(call)
	}))
	defer server.Close()
	response, err := http.Get(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body := bufio.NewReader(response.Body)
	if line, _ := body.ReadString('\n'); line != "data: 1\n" {
		t.Fatalf("first line %q", line)
	}
	close(next)
	rest, err := io.ReadAll(body)
	if err != nil || string(rest) != "\ndata: 2\n\n" {
		t.Fatalf("rest %q, %v", rest, err)
	}
	for name, want := range map[string]string{
		"Content-Type": "text/event-stream", "Cache-Control": "no-cache", "X-Accel-Buffering": "no", "X-Claude-Backend": "direct",
	} {
		if got := response.Header.Get(name); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if got := response.Header.Get("Server-Timing"); !strings.HasPrefix(got, "auth;") || strings.Contains(got, "total") {
		t.Errorf("header Server-Timing = %q", got)
	}
	if got := response.Trailer.Get("Server-Timing"); !strings.Contains(got, "generate;") || !strings.Contains(got, "total;") {
		t.Errorf("trailer Server-Timing = %q", got)
	}
}

func TestStreamToCallerWhoLeft(t *testing.T) {
	failed := make(chan error, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := protocol.NewStream(w, protocol.SetHeader)
		s.Start(&gateway.Call{Clock: latency.Start()})
		_ = s.Write([]byte("data: 1\n\n"))
		_ = s.Flush()
		<-r.Context().Done()
		for {
			if err := errors.Join(s.Write(make([]byte, 64<<10)), s.Flush()); err != nil {
				failed <- err
				return
			}
		}
	}))
	defer server.Close()
	ctx, cancel := context.WithCancel(t.Context())
	request, _ := http.NewRequestWithContext(ctx, http.MethodGet, server.URL, nil)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	_ = response.Body.Close()
	if e := apierror.From(<-failed); e.Category != apierror.ClientClosed {
		t.Errorf("err = %v", e)
	}
}
