package httpserver

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// startTLS serves over TLS until the test ends, with a client for HTTP/2.
func startTLS(t *testing.T, o Options) (*Server, string, *http.Client) {
	t.Helper()
	// httptest has a certificate, and a client that trusts it.
	other := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(other.Close)
	o.TLS = &tls.Config{Certificates: other.TLS.Certificates}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := New(o)
	served := make(chan error, 1)
	go func() { served <- s.ServeTLS(listener) }()
	transport := other.Client().Transport.(*http.Transport).Clone()
	transport.ForceAttemptHTTP2 = true
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		_ = s.Close()
		if err := <-served; err != nil {
			t.Errorf("ServeTLS: %v", err)
		}
	})
	return s, "https://" + listener.Addr().String(), &http.Client{Transport: transport}
}

// A deadline of HTTP/2 that passes between two writes would reset the stream: a
// model may think for longer than a write may take.
func TestSilentStreamOverHTTP2(t *testing.T) {
	const timeout = 50 * time.Millisecond
	_, url, client := startTLS(t, Options{WriteTimeout: timeout, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /stream", func(w http.ResponseWriter, _ *http.Request) {
			control := http.NewResponseController(w)
			for range 3 {
				_, _ = io.WriteString(w, "data\n")
				_ = control.Flush()
				<-time.After(2 * timeout)
			}
		})
	})})
	response, err := client.Get(url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil || string(body) != "data\ndata\ndata\n" || response.ProtoMajor != 2 {
		t.Errorf("%s: %q, %v", response.Proto, body, err)
	}
}

// A stream of HTTP/2 whose reader takes nothing is cut, and the others of its
// connection go on.
func TestReaderWhoTakesNothingOverHTTP2(t *testing.T) {
	ended := make(chan error, 1)
	_, url, client := startTLS(t, Options{WriteTimeout: 100 * time.Millisecond, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
			piece := bytes.Repeat([]byte("x"), 1<<20)
			for {
				if _, err := w.Write(piece); err != nil {
					<-r.Context().Done()
					ended <- err
					return
				}
			}
		})
	})})
	response, err := client.Get(url + "/stream")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	select {
	case err := <-ended:
		t.Log(err)
	case <-time.After(20 * time.Second):
		t.Fatal("somebody who doesn't read holds the handler")
	}
	other, err := client.Get(url + "/health")
	if err != nil {
		t.Fatal(err)
	}
	_ = other.Body.Close()
	if other.StatusCode != http.StatusOK || other.ProtoMajor != 2 {
		t.Errorf("%s %d", other.Proto, other.StatusCode)
	}
}

// A drain ends connections of HTTP/2 too, after their requests.
func TestDrainOverHTTP2(t *testing.T) {
	finish := make(chan struct{})
	options, entered := waiting(func(w http.ResponseWriter, _ *http.Request) {
		<-finish
		_, _ = io.WriteString(w, "done")
	})
	s, url, client := startTLS(t, options)
	running := make(chan outcome, 1)
	go func() {
		response, err := client.Get(url + "/wait")
		if err != nil {
			running <- outcome{err: err}
			return
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		running <- outcome{response.StatusCode, string(body), err}
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- s.Shutdown(t.Context()) }()
	<-s.stopping
	response, err := client.Get(url + "/wait")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a new request: %d", response.StatusCode)
	}
	close(finish)
	if got := <-running; got.body != "done" || got.err != nil {
		t.Errorf("the running request got %+v", got)
	}
	if err := <-stopped; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
}
