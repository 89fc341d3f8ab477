package anthropic

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"claude-code-api-service/internal/apierror"
)

func TestConnectionIsReused(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Header.Get("Anthropic-Beta") {
		case "stream":
			_, _ = io.WriteString(w, answer)
			w.(http.Flusher).Flush() // the end of the body is sent apart
		case "error":
			http.Error(w, `{"type":"error","error":{"type":"invalid_request_error","message":"no"}}`, http.StatusBadRequest)
		default:
			_, _ = io.WriteString(w, plainAnswer)
		}
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	b := newBackend(t, Options{BaseURL: server.URL})
	for range 10 {
		for kind, body := range map[string]string{"stream": streamBody, "error": plainBody, "plain": plainBody} {
			call := newCall(t, body, "claude-a")
			call.Forward = http.Header{"Anthropic-Beta": {kind}}
			if _, err := b.Generate(t.Context(), call, &recorder{}); (err != nil) != (kind == "error") {
				t.Fatalf("%s: %v", kind, err)
			}
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections for 30 calls, want 1", n)
	}
}

func TestHTTP2(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Request-Id", r.Proto)
		_, _ = io.WriteString(w, answer)
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	transport := newTransport()
	transport.TLSClientConfig = &tls.Config{RootCAs: x509.NewCertPool()}
	transport.TLSClientConfig.RootCAs.AddCert(server.Certificate())
	b := newBackend(t, Options{BaseURL: server.URL, Transport: transport})
	call, out := newCall(t, streamBody, "claude-other"), &recorder{}
	if _, err := b.Generate(t.Context(), call, out); err != nil {
		t.Fatal(err)
	}
	if proto := call.UpstreamHeader.Get("Request-Id"); proto != "HTTP/2.0" {
		t.Errorf("upstream was spoken to in %s", proto)
	}
	if out.raw.String() != answer {
		t.Errorf("got %q", out.raw.String())
	}
}

func TestRefusedConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_ = listener.Close()
	b := newBackend(t, Options{BaseURL: "http://" + listener.Addr().String(), Retries: -1})
	_, err = b.Generate(t.Context(), newCall(t, plainBody, "m"), &recorder{})
	var e *apierror.Error
	if !errors.As(err, &e) || e.Category != apierror.ConnectionError {
		t.Errorf("error %v, want a connection_error", err)
	}
}

func TestSilentUpstreamIsLeft(t *testing.T) {
	for name, silentAfter := range map[string]int{"before the header": 0, "in the stream": 300} {
		t.Run(name, func(t *testing.T) {
			left := make(chan struct{})
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.ReadAll(r.Body)
				if silentAfter > 0 {
					_, _ = io.WriteString(w, answer[:silentAfter])
					w.(http.Flusher).Flush()
				}
				<-r.Context().Done()
				close(left)
			})
			b := newBackend(t, Options{BaseURL: url, FirstByteTimeout: 50 * time.Millisecond, IdleTimeout: 50 * time.Millisecond})
			_, err := b.Generate(t.Context(), newCall(t, streamBody, "m"), &recorder{})
			var e *apierror.Error
			if !errors.As(err, &e) || e.Category != apierror.Timeout {
				t.Errorf("error %v, want a timeout", err)
			}
			<-left
		})
	}
}

func TestPiecesReader(t *testing.T) {
	body := pieces{[]byte("{"), nil, []byte(`"model":"m",`), []byte("x"), []byte(`"messages":[]}`)}
	for range 2 { // it can be opened again
		r, err := body.open()
		if err != nil {
			t.Fatal(err)
		}
		if err := iotest.TestReader(r, []byte(`{"model":"m",x"messages":[]}`)); err != nil {
			t.Error(err)
		}
	}
	if body.size() != 28 {
		t.Errorf("size %d", body.size())
	}
}
