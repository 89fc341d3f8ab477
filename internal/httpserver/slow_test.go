package httpserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// dial opens a connection that says nothing by itself.
func dial(t *testing.T, url string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(20 * time.Second)) // a hang fails
	return conn
}

// A caller whose body nobody reads, because the key is wrong, gets the answer and
// is gone: net/http would wait for the body without end before it answers.
func TestSlowSenderWhoseBodyNobodyReads(t *testing.T) {
	_, url := start(t, Options{ReadHeaderTimeout: 100 * time.Millisecond, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("POST /refuse", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	})})
	for _, header := range []string{"Content-Length: 100", "Transfer-Encoding: chunked"} {
		conn := dial(t, url)
		if _, err := fmt.Fprintf(conn, "POST /refuse HTTP/1.1\r\nHost: x\r\n%s\r\n\r\n", header); err != nil {
			t.Fatal(err)
		}
		answer, err := io.ReadAll(conn) // to its end: the connection is closed
		if err != nil || !bytes.HasPrefix(answer, []byte("HTTP/1.1 401 ")) {
			t.Errorf("%s: %q, %v", header, answer, err)
		}
	}
}

// A header that comes a byte at a time is cut when its time is up.
func TestHeaderOfOneByteAtATime(t *testing.T) {
	_, url := start(t, Options{ReadHeaderTimeout: 100 * time.Millisecond})
	conn := dial(t, url)
	wrote := make(chan error, 1)
	go func() {
		for {
			if _, err := conn.Write([]byte("G")); err != nil {
				wrote <- err
				return
			}
		}
	}()
	if _, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("the connection stays open: %v", err)
	}
	_ = conn.Close()
	if err := <-wrote; err == nil {
		t.Error("it went on writing")
	}
}

// A reader who takes nothing is cut, and the handler learns of it; the connection
// is half-open for all that the service can see.
func TestReaderWhoTakesNothing(t *testing.T) {
	ended := make(chan error, 1)
	_, url := start(t, Options{WriteTimeout: 100 * time.Millisecond, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /stream", func(w http.ResponseWriter, r *http.Request) {
			piece := bytes.Repeat([]byte("x"), 1<<20)
			for {
				if _, err := w.Write(piece); err != nil {
					<-r.Context().Done() // what runs for the request ends too
					ended <- err
					return
				}
			}
		})
	})})
	conn := dial(t, url)
	if _, err := io.WriteString(conn, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if !strings.Contains(err.Error(), "timeout") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("somebody who doesn't read holds the handler")
	}
}

// A reader who goes on reading isn't cut, however long the whole takes.
func TestSlowReaderIsServed(t *testing.T) {
	const size = 3 << 20
	_, url := start(t, Options{WriteTimeout: 500 * time.Millisecond, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("GET /large", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, size)) })
	})})
	conn := dial(t, url)
	if err := conn.(*net.TCPConn).SetReadBuffer(32 << 10); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "GET /large HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	var got int
	pace := time.NewTicker(10 * time.Millisecond) // over a second in all
	defer pace.Stop()
	for buf := make([]byte, 24<<10); ; <-pace.C {
		n, err := io.ReadFull(conn, buf)
		got += n
		if err != nil {
			break
		}
	}
	if got < size {
		t.Errorf("got %d of %d bytes", got, size)
	}
}

// A deadline that the former answer left on a connection that is kept must not
// meet the next request, whose first bytes may be net/http's own.
func TestDeadlineOfTheFormerAnswer(t *testing.T) {
	_, url := start(t, Options{WriteTimeout: 50 * time.Millisecond, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("POST /echo", func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			_, _ = w.Write(body)
		})
	})})
	conn := dial(t, url)
	answers := bufio.NewReader(conn)
	for range 2 {
		if _, err := io.WriteString(conn, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		line, err := answers.ReadString('\n')
		if err != nil || !strings.HasPrefix(line, "HTTP/1.1 100 ") {
			t.Fatalf("%q, %v", line, err)
		}
		if _, err = answers.ReadString('\n'); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(conn, "ok"); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		if body, err := io.ReadAll(response.Body); string(body) != "ok" || err != nil {
			t.Fatalf("%q, %v", body, err)
		}
		_ = response.Body.Close()
		<-time.After(100 * time.Millisecond) // the idle time that the hole needs
	}
}

// A request may be bounded in all, whatever its header says.
func TestRequestTimeout(t *testing.T) {
	log, logger := newLog()
	_, url := start(t, Options{RequestTimeout: 20 * time.Millisecond, Logger: logger, Register: routes(func(mux *http.ServeMux) {
		mux.HandleFunc("POST /wait", func(w http.ResponseWriter, r *http.Request) {
			<-r.Context().Done()
			w.WriteHeader(http.StatusGatewayTimeout)
		})
	})})
	for i, upgrade := range []string{"", "websocket"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/wait", nil)
		if err != nil {
			t.Fatal(err)
		}
		if upgrade != "" {
			r.Header.Set("Connection", "Upgrade")
			r.Header.Set("Upgrade", upgrade)
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusGatewayTimeout {
			t.Errorf("upgrade %q: %d", upgrade, response.StatusCode)
		}
		<-log.wrote
		if lines := log.with("request"); len(lines) != i+1 || lines[i]["route"] != "/wait" || lines[i]["status"] != 504.0 {
			t.Errorf("log %v", lines)
		}
	}
}
