package httpserver

import (
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
	"time"
)

// waiting has a route that tells of each request and then does what the test
// says.
func waiting(do func(w http.ResponseWriter, r *http.Request)) (Options, chan struct{}) {
	entered := make(chan struct{}, 1)
	return Options{Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /wait", func(w http.ResponseWriter, r *http.Request) {
			entered <- struct{}{}
			do(w, r)
		})
	})}, entered
}

type outcome struct {
	status int
	body   string
	err    error
}

func get(url string) chan outcome {
	done := make(chan outcome, 1)
	go func() {
		resp, err := http.Get(url)
		if err != nil {
			done <- outcome{err: err}
			return
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		done <- outcome{resp.StatusCode, string(body), err}
	}()
	return done
}

func TestShutdownWaitsForRequests(t *testing.T) {
	finish := make(chan struct{})
	options, entered := waiting(func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-finish:
			_, _ = io.WriteString(w, "done")
		case <-r.Context().Done():
		}
	})
	s, url := start(t, options)
	answer := get(url + "/wait")
	<-entered

	var group sync.WaitGroup
	errs := make([]error, 3)
	for i := range errs {
		group.Go(func() { errs[i] = s.Shutdown(t.Context()) })
	}
	<-s.stopping
	if w := do(s, "GET", "/ready"); w.Code != http.StatusServiceUnavailable || w.Body.String() != `{"ready":false,"reason":"stopping"}`+"\n" {
		t.Errorf("ready while stopping: %d %s", w.Code, w.Body)
	}
	if s.Context().Err() != nil {
		t.Error("requests were cancelled by a graceful stop")
	}
	close(finish)
	if got := <-answer; got.body != "done" || got.err != nil {
		t.Errorf("the request in flight got %+v", got)
	}
	group.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	if s.Context().Err() == nil {
		t.Error("the base context outlives the server")
	}
	if err := s.Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown again: %v", err)
	}
}

func TestShutdownCancelsWhenTimeIsUp(t *testing.T) {
	causes := make(chan error, 1)
	log, logger := newLog()
	options, entered := waiting(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		causes <- context.Cause(r.Context())
	})
	options.Logger = logger
	s, url := start(t, options)
	answer := get(url + "/wait")
	<-entered
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := s.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Shutdown: %v", err)
	}
	if cause := <-causes; !errors.Is(cause, ErrStopped) {
		t.Errorf("cause %v", cause)
	}
	if got := <-answer; got.status != http.StatusServiceUnavailable || got.err != nil {
		t.Errorf("the request in flight got %+v", got)
	}
	<-log.wrote
	if lines := log.with("request"); len(lines) != 1 || lines[0]["status"] != 503.0 {
		t.Errorf("log %v", lines)
	}
}

// A request may go on when its connection was closed: what it is recorded in waits
// for it.
func TestIdle(t *testing.T) {
	finish := make(chan struct{})
	options, entered := waiting(func(http.ResponseWriter, *http.Request) { <-finish })
	s, url := start(t, options)
	answer := get(url + "/wait")
	<-entered
	over, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Shutdown(over); !errors.Is(err, context.Canceled) {
		t.Errorf("Shutdown: %v", err)
	}
	<-answer
	if err := s.Idle(over); !errors.Is(err, context.Canceled) {
		t.Errorf("while the request runs: %v", err)
	}
	close(finish)
	if err := s.Idle(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestClose(t *testing.T) {
	options, entered := waiting(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	s, url := start(t, options)
	answer := get(url + "/wait")
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(context.WithoutCancel(t.Context())) }()
	<-s.stopping
	_ = s.Close()
	<-answer
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown, hurried by Close: %v", err)
	}
	_ = s.Close()
	if got := <-get(url + "/health"); got.err == nil {
		t.Errorf("answered after Close: %+v", got)
	}
}

func TestShutdownDrains(t *testing.T) {
	finish := make(chan struct{})
	draining := make(chan struct{})
	failure := errors.New("didn't end")
	s, _ := start(t, Options{Drain: []func(context.Context) error{func(ctx context.Context) error {
		close(draining)
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return failure
	}}})
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	<-draining
	if s.Context().Err() != nil {
		t.Error("what was taken over is cancelled before it has had its time")
	}
	close(finish)
	if err := <-stopped; !errors.Is(err, failure) {
		t.Errorf("Shutdown: %v", err)
	}
	if s.Context().Err() == nil {
		t.Error("the base context outlives the server")
	}
}

// A connection that is taken over has its line in the access log when it ends.
func TestHijack(t *testing.T) {
	log, logger := newLog()
	s, url := start(t, Options{Logger: logger, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /upgrade", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Upgrade", "echo")
			w.WriteHeader(http.StatusSwitchingProtocols)
			conn, buffered, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			line, _ := buffered.ReadString('\n')
			_, _ = io.WriteString(conn, line)
			_ = conn.Close()
		})
	})})
	defer func() { _ = s.Close() }()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/upgrade", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Connection", "Upgrade")
	r.Header.Set("Upgrade", "echo")
	response, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, ok := response.Body.(io.ReadWriter)
	if !ok || response.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%d, %T", response.StatusCode, response.Body)
	}
	if _, err := io.WriteString(body, "hello\n"); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(body); string(got) != "hello\n" || err != nil {
		t.Errorf("got %q, %v", got, err)
	}
	<-log.wrote
	if lines := log.with("request"); len(lines) != 1 || lines[0]["status"] != 101.0 || lines[0]["route"] != "/upgrade" {
		t.Errorf("log %v", lines)
	}
}
