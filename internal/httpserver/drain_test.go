package httpserver

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"
)

// While requests finish, new ones are told so, on new connections and on those
// that are kept, and each such connection is closed behind the answer.
func TestDrainRefusesNewRequests(t *testing.T) {
	finish := make(chan struct{})
	options, entered := waiting(func(w http.ResponseWriter, _ *http.Request) {
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	s, url := start(t, options)
	kept := dial(t, url)
	answers := bufio.NewReader(kept)
	ask := func(path string) (status int, header http.Header, closes bool) {
		if _, err := io.WriteString(kept, "GET "+path+" HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, response.Body); err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		return response.StatusCode, response.Header, response.Close
	}
	ask("/health")
	running := get(url + "/wait")
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	<-s.stopping

	for _, got := range []outcome{<-get(url + "/wait"), <-get(url + "/nothing")} {
		if got.status != http.StatusServiceUnavailable || got.err != nil {
			t.Errorf("a new connection got %+v", got)
		}
	}
	if got := <-get(url + "/ready"); got.status != http.StatusServiceUnavailable {
		t.Errorf("/ready: %+v", got)
	}
	if got := <-get(url + "/health"); got.status != http.StatusOK {
		t.Errorf("/health: %+v", got)
	}
	if status, header, closes := ask("/wait"); status != http.StatusServiceUnavailable || header.Get("Retry-After") != "1" || !closes {
		t.Errorf("a connection that was kept got %d %v", status, header)
	}
	if n, err := answers.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("it stays open: %d, %v", n, err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped while a request runs: %v", err)
	default:
	}
	close(finish)
	if got := <-running; got.body != "done" || got.err != nil {
		t.Errorf("the running request got %+v", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}

// Balancers may be given time to see that /ready says no. What they send meanwhile is
// served.
func TestDrainDelay(t *testing.T) {
	s, url := start(t, Options{DrainDelay: 300 * time.Millisecond, Endpoints: []string{"GET /work"}, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /work", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "done") })
	})})
	if got := <-get(url + "/ready"); got.status != http.StatusOK {
		t.Fatalf("/ready: %+v", got)
	}
	began := time.Now()
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	<-s.leaving
	if got := <-get(url + "/ready"); got.status != http.StatusServiceUnavailable {
		t.Errorf("/ready: %+v", got)
	}
	if got := <-get(url + "/work"); got.status != http.StatusOK || got.body != "done" {
		t.Errorf("a request during the delay: %+v", got)
	}
	if err := <-stopped; err != nil || time.Since(began) < 300*time.Millisecond {
		t.Errorf("stopped after %v: %v", time.Since(began), err)
	}
}

// A start that fails isn't held up by it.
func TestDrainDelayOfWhatNeverServed(t *testing.T) {
	began := time.Now()
	if err := New(Options{DrainDelay: time.Minute}).Shutdown(t.Context()); err != nil || time.Since(began) > 30*time.Second {
		t.Errorf("stopped after %v: %v", time.Since(began), err)
	}
}

// Requests that run when the routes are replaced go on with those that they
// began with.
func TestReplace(t *testing.T) {
	finish := make(chan struct{})
	options, entered := waiting(func(w http.ResponseWriter, _ *http.Request) {
		<-finish
		_, _ = io.WriteString(w, "old")
	})
	s, url := start(t, options)
	running := get(url + "/wait")
	<-entered
	s.Replace(Options{Endpoints: []string{"GET /wait"}, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /wait", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "new") })
	})})
	if got := <-get(url + "/wait"); got.body != "new" {
		t.Errorf("got %+v", got)
	}
	if got := <-get(url + "/health"); got.status != http.StatusOK {
		t.Errorf("got %+v", got)
	}
	close(finish)
	if got := <-running; got.body != "old" {
		t.Errorf("got %+v", got)
	}
}
