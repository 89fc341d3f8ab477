package httpserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	// net/http lingers for half a second on a connection whose request it didn't
	// read to the end, which is as long as goleak waits.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("net/http.(*conn).closeWriteAndWait"))
}

// logLines keeps log lines as JSON and says when one was written.
type logLines struct {
	mu    sync.Mutex
	lines []map[string]any
	wrote chan struct{}
}

func newLog() (*logLines, *slog.Logger) {
	l := &logLines{wrote: make(chan struct{}, 100)}
	return l, slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

func (l *logLines) Write(p []byte) (int, error) {
	var line map[string]any
	if err := json.Unmarshal(p, &line); err != nil {
		return 0, err
	}
	l.mu.Lock()
	l.lines = append(l.lines, line)
	l.mu.Unlock()
	l.wrote <- struct{}{}
	return len(p), nil
}

func (l *logLines) with(msg string) []map[string]any {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for _, line := range l.lines {
		if line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

func routes(register func(*http.ServeMux)) []func(*http.ServeMux) {
	return []func(*http.ServeMux){register}
}

// do serves one request without a network.
func do(s *Server, method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	s.ServeHTTP(w, r)
	return w
}

// start serves on a socket until the test ends.
func start(t *testing.T, o Options) (*Server, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	served := make(chan error, 1)
	go func() { served <- s.Serve(listener) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
		http.DefaultClient.CloseIdleConnections()
	})
	return s, "http://" + listener.Addr().String()
}

func TestRequestID(t *testing.T) {
	fresh := regexp.MustCompile(`^req_[0-9a-f]{32}$`)
	long := strings.Repeat("x", 128)
	tests := []struct {
		name   string
		header []string
		want   string // "" for a fresh one
	}{
		{name: "none"},
		{name: "valid", header: []string{"X-Request-ID", "a.B_9-z"}, want: "a.B_9-z"},
		{name: "longest", header: []string{"x-request-id", long}, want: long},
		{name: "too long", header: []string{"X-Request-ID", long + "x"}},
		{name: "empty", header: []string{"X-Request-ID", ""}},
		{name: "space", header: []string{"X-Request-ID", "a b"}},
		{name: "line break", header: []string{"X-Request-ID", "a\nb"}},
		{name: "not ASCII", header: []string{"X-Request-ID", "é"}},
		{name: "two", header: []string{"X-Request-ID", "a", "X-Request-ID", "b"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var seen string
			s := New(Options{Register: routes(func(mux *http.ServeMux) {
				mux.HandleFunc("GET /x", func(w http.ResponseWriter, _ *http.Request) { seen = w.Header().Get("X-Request-ID") })
			})})
			got := do(s, "GET", "/x", tt.header...).Header().Get("X-Request-ID")
			if tt.want != "" && got != tt.want || tt.want == "" && !fresh.MatchString(got) {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if seen != got {
				t.Errorf("the handler saw %q, the caller %q", seen, got)
			}
		})
	}
	if one, other := requestID(nil), requestID(nil); one == other {
		t.Errorf("%s twice", one)
	}
}

func TestPanic(t *testing.T) {
	log, logger := newLog()
	_, url := start(t, Options{Logger: logger, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /early", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "3")
			w.Header().Set("X-Secret", "1")
			panic("boom")
		})
		mux.HandleFunc("GET /late", func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "begun")
			w.(http.Flusher).Flush()
			panic("boom")
		})
		mux.HandleFunc("GET /abort", func(http.ResponseWriter, *http.Request) { panic(fmt.Errorf("left: %w", http.ErrAbortHandler)) })
	})})

	resp, err := http.Get(url + "/early")
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	id := resp.Header.Get("X-Request-ID")
	want := `{"type":"error","error":{"message":"internal error","type":"api_error","param":null,"code":"internal_error"},"request_id":"` + id + `","detail":"internal error"}` + "\n"
	if resp.StatusCode != 500 || string(body) != want || resp.Header.Get("X-Secret") != "" || id == "" {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	lines := log.with("panic in a handler")
	if len(lines) != 1 || lines[0]["panic"] != "boom" || lines[0]["request_id"] != id || !strings.Contains(fmt.Sprint(lines[0]["stack"]), "httpserver_test.go") {
		t.Errorf("log %v", lines)
	}

	if resp, err := http.Get(url + "/late"); err == nil {
		if _, err := io.ReadAll(resp.Body); err == nil {
			t.Error("an answer that broke off looks complete")
		}
		_ = resp.Body.Close()
	}
	if resp, err := http.Get(url + "/abort"); err == nil {
		_ = resp.Body.Close()
		t.Errorf("aborted request answered %d", resp.StatusCode)
	}
	if n := len(log.with("panic in a handler")); n != 2 {
		t.Errorf("%d panics logged, want 2", n)
	}
}

func TestAccessLog(t *testing.T) {
	log, logger := newLog()
	s := New(Options{Logger: logger, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("POST /v1/things/{id}", func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusTeapot)
			_, _ = io.WriteString(w, "12345")
		})
		mux.HandleFunc("/empty/", func(http.ResponseWriter, *http.Request) {})
	})})
	do(s, "POST", "/v1/things/secret-id?key=secret", "X-Request-ID", "one", "Authorization", "secret", "X-Api-Key", "secret")
	do(s, "GET", "/empty/secret", "X-Request-ID", "two")
	do(s, "GET", "/secret", "X-Request-ID", "three")
	do(s, "GET", "/health", "X-Request-ID", "four")

	want := []string{
		"INFO POST /v1/things/{id} 418 5 one", "INFO GET /empty/ 200 0 two", "INFO GET  404 168 three", "DEBUG GET /health 200 0 four",
	}
	lines := log.with("request")
	for i, line := range lines {
		if i >= 2 {
			line["bytes"] = map[int]any{2: 168, 3: 0}[i] // the server's own bodies
		}
		got := fmt.Sprint(line["level"], " ", line["method"], " ", line["route"], " ", line["status"], " ", line["bytes"], " ", line["request_id"])
		if i >= len(want) || got != want[i] {
			t.Errorf("line %d: %s", i, got)
		}
		if took, ok := line["duration"].(float64); !ok || took <= 0 {
			t.Errorf("duration %v", line["duration"])
		}
	}
	if len(lines) != len(want) {
		t.Errorf("%d lines, want %d", len(lines), len(want))
	}
	if strings.Contains(fmt.Sprint(log.lines), "secret") {
		t.Errorf("the log holds a secret: %v", log.lines)
	}
}

func TestCallerLeft(t *testing.T) {
	log, logger := newLog()
	_, url := start(t, Options{Logger: logger, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		})
	})})
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	req, _ := http.NewRequestWithContext(ctx, "GET", url+"/wait", nil)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	leave()
	_ = resp.Body.Close()
	<-log.wrote
	if lines := log.with("request"); len(lines) != 1 || lines[0]["status"] != 499.0 {
		t.Errorf("log %v", lines)
	}
}

// hurried is a caller who leaves as soon as the whole answer is there.
type hurried struct {
	nullWriter
	leave func()
}

func (w *hurried) Flush() { w.leave() }

func TestCallerLeavesWithTheWholeAnswer(t *testing.T) {
	log, logger := newLog()
	s := New(Options{Logger: logger})
	ctx, leave := context.WithCancel(t.Context())
	w := &hurried{nullWriter{http.Header{}}, leave}
	s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, "GET", "/nothing", nil))
	if ctx.Err() == nil {
		t.Fatal("the answer wasn't flushed")
	}
	if lines := log.with("request"); len(lines) != 1 || lines[0]["status"] != 404.0 {
		t.Errorf("log %v", lines)
	}
}

func TestHeaderLimits(t *testing.T) {
	_, url := start(t, Options{MaxHeaderBytes: 1 << 10, ReadHeaderTimeout: 50 * time.Millisecond})
	req, _ := http.NewRequest("GET", url+"/health", nil)
	req.Header.Set("X-Large", strings.Repeat("x", 8<<10))
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d for a large header", resp.StatusCode)
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, _ = io.WriteString(conn, "GET /health HTTP/1.1\r\n")
	if _, err := io.ReadAll(conn); err != nil { // ends only when the server hangs up
		t.Errorf("a slow header: %v", err)
	}
}

// The writer that handlers get must still be able to do what they ask of it.
func TestRecorderKeepsAbilities(t *testing.T) {
	_, url := start(t, Options{Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			if err := errors.Join(control.SetWriteDeadline(time.Now().Add(time.Minute)), control.EnableFullDuplex()); err != nil {
				t.Error(err)
			}
			w.Header().Set("Trailer", "X-End")
			_, _ = io.WriteString(w, "one\n")
			if err := control.Flush(); err != nil {
				t.Error(err)
			}
			<-r.Context().Done()
		})
		mux.HandleFunc("GET /trailer", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Trailer", "X-End")
			_, _ = io.WriteString(w, "one\n")
			w.Header().Set("X-End", "yes")
		})
		mux.HandleFunc("GET /hijack", func(w http.ResponseWriter, _ *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.WriteString(conn, "HTTP/1.1 204 Mine\r\n\r\n")
			_ = conn.Close()
		})
	})})
	resp, err := http.Get(url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	// The handler doesn't end before this line has arrived.
	if line, err := bufio.NewReader(resp.Body).ReadString('\n'); line != "one\n" {
		t.Errorf("read %q, %v", line, err)
	}
	_ = resp.Body.Close()

	resp, err = http.Get(url + "/trailer")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.Trailer.Get("X-End") != "yes" {
		t.Errorf("trailer %v", resp.Trailer)
	}

	resp, err = http.Get(url + "/hijack")
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Errorf("hijacked: %d", resp.StatusCode)
	}
}

func TestRecorder(t *testing.T) {
	tests := []struct {
		name   string
		do     func(w http.ResponseWriter)
		status int
		bytes  int64
	}{
		{"nothing", func(http.ResponseWriter) {}, 0, 0},
		{"a body", func(w http.ResponseWriter) { _, _ = io.WriteString(w, "12"); _, _ = io.WriteString(w, "345") }, 200, 5},
		{"a status", func(w http.ResponseWriter) { w.WriteHeader(418); _, _ = io.WriteString(w, "1") }, 418, 1},
		{"the first status counts", func(w http.ResponseWriter) { w.WriteHeader(400); w.WriteHeader(500) }, 400, 0},
		{"hints before the status", func(w http.ResponseWriter) { w.WriteHeader(103); w.WriteHeader(201) }, 201, 0},
		{"another protocol", func(w http.ResponseWriter) { w.WriteHeader(101) }, 101, 0},
		{"a flush", func(w http.ResponseWriter) { w.(http.Flusher).Flush() }, 200, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rec := newRecorder(New(Options{}), &nullWriter{header: http.Header{}}, httptest.NewRequest("GET", "/", nil))
			tt.do(rec)
			if rec.status != tt.status || rec.bytes != tt.bytes {
				t.Errorf("status %d, %d bytes", rec.status, rec.bytes)
			}
		})
	}
}

func BenchmarkServe(b *testing.B) {
	body := []byte("ok")
	s := New(Options{Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("POST /v1/messages", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) })
	})})
	r := httptest.NewRequest("POST", "/v1/messages", nil)
	w := &nullWriter{header: http.Header{}}
	b.ReportAllocs()
	for b.Loop() {
		s.ServeHTTP(w, r)
	}
}

type nullWriter struct{ header http.Header }

func (w *nullWriter) Header() http.Header         { return w.header }
func (w *nullWriter) Write(b []byte) (int, error) { return len(b), nil }
func (w *nullWriter) WriteHeader(int)             {}

func FuzzRequestID(f *testing.F) {
	f.Add("abc")
	f.Add("a\r\nSet-Cookie: x")
	f.Fuzz(func(t *testing.T, given string) {
		id := requestID(http.Header{"X-Request-Id": {given}})
		if !validID(id) || bytes.ContainsAny([]byte(id), " \r\n\"") {
			t.Errorf("%q became %q", given, id)
		}
	})
}
