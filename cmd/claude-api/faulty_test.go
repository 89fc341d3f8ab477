package main

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"testing"
)

// faulty is an upstream that breaks off in ways in which the simulator doesn't: a
// prompt that holds fault:NAME has it, any other goes to the simulator.
type faulty struct {
	*upstream
	server *httptest.Server

	mu    sync.Mutex
	asked map[string]int // requests for messages, by what is asked for
	down  map[string]int // the status for what is refused, by a part of a model's or a client's name
}

func newFaulty(t testing.TB) *faulty {
	t.Helper()
	f := &faulty{upstream: newUpstream(t), asked: map[string]int{}, down: map[string]int{}}
	f.server = httptest.NewServer(f)
	t.Cleanup(f.server.Close)
	return f
}

// fail has requests answered with a status whose model's name holds the text, or
// whose client's; 0 ends that.
func (f *faulty) fail(part string, status int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.down[part] = status
}

// calls counts the requests that held the text.
func (f *faulty) calls(text string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	n := 0
	for body, count := range f.asked {
		if strings.Contains(body, text) {
			n += count
		}
	}
	return n
}

var (
	faultWord = regexp.MustCompile(`fault:([a-z-]+)`)
	modelWord = regexp.MustCompile(`"model":"([^"]*)"`)
)

func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	status := 0
	if strings.HasPrefix(r.URL.Path, "/v1/messages") {
		f.mu.Lock()
		f.asked[string(body)]++
		model := ""
		if m := modelWord.FindSubmatch(body); m != nil {
			model = string(m[1])
		}
		for part, s := range f.down {
			if strings.Contains(model, part) || strings.Contains(r.UserAgent(), part) {
				status = s
			}
		}
		f.mu.Unlock()
	}
	if status != 0 {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`)
		return
	}
	fault := faultWord.FindSubmatch(body)
	if fault == nil {
		f.upstream.ServeHTTP(w, r)
		return
	}
	// What the simulator would answer, but for its end.
	answer := httptest.NewRecorder()
	f.upstream.ServeHTTP(answer, r)
	half := answer.Body.Bytes()[:answer.Body.Len()/2]
	w.Header().Set("Content-Type", answer.Header().Get("Content-Type"))
	switch string(fault[1]) {
	case "reset":
		cut(w)
	case "garbage":
		w.Header().Set("Content-Type", "text/html")
		_, _ = w.Write([]byte("<html>a proxy's page</html>"))
	case "half": // and then nothing, as if that were all
		_, _ = w.Write(half)
	case "half-reset":
		w.Header().Set("Content-Length", "100000")
		_, _ = w.Write(half)
		_ = http.NewResponseController(w).Flush()
		cut(w)
	case "empty":
	case "error-event":
		_, _ = w.Write([]byte("event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"))
	}
}

// cut resets the connection.
func cut(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}
