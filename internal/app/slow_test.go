package app

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/simulator"
)

// TestReaderWhoTakesNothingGivesAllBack: somebody asks for a long stream and reads
// none of it. The connection is cut, the upstream's call is stopped, and what the
// key's limits held is free again.
func TestReaderWhoTakesNothingGivesAllBack(t *testing.T) {
	upstream := simulator.New(simulator.Options{})
	url, err := upstream.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(upstream.Close)
	c := settings(t)
	c.Anthropic.BaseURL = url
	a, err := New(t.Context(), c, silent())
	if err != nil {
		t.Fatal(err)
	}
	options := a.now().serverOptions()
	options.WriteTimeout = 200 * time.Millisecond
	a.server = httpserver.New(options)
	if err := a.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = a.Stop(t.Context()) })
	key, _, err := a.Keys().Create(t.Context(), apikey.Create{ProjectID: "p", ConcurrentRequests: 1})
	if err != nil {
		t.Fatal(err)
	}

	conn, err := net.Dial("tcp", strings.TrimPrefix(a.URL(), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.(*net.TCPConn).SetReadBuffer(64 << 10); err != nil {
		t.Fatal(err)
	}
	// Several megabytes of events: more than the buffers between them hold.
	body := strings.NewReplacer("hello", "[[tokens=60000]]", `"max_tokens":9`, `"stream":true,"max_tokens":60000`).Replace(hello)
	if _, err := fmt.Fprintf(conn, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nX-Api-Key: %s\r\nContent-Length: %d\r\n\r\n%s", key, len(body), body); err != nil {
		t.Fatal(err)
	}
	if err := upstream.Wait(t.Context(), func(s simulator.Stats) bool { return s.InFlight == 1 }); err != nil {
		t.Fatal(err)
	}
	if err := upstream.Wait(t.Context(), func(s simulator.Stats) bool { return s.InFlight == 0 }); err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(20 * time.Second)
	for {
		status, answer := ask(t, a, http.MethodPost, "/v1/messages", key, hello)
		if status == http.StatusOK {
			break
		}
		if status != http.StatusTooManyRequests || time.Now().After(deadline) {
			t.Fatalf("the key's one request isn't free: %d %s", status, answer)
		}
		time.Sleep(10 * time.Millisecond)
	}
	// The connection was cut: what its buffers hold comes, and then the end.
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.Copy(io.Discard, conn); err != nil && !strings.Contains(err.Error(), "reset") {
		t.Errorf("after %d bytes: %v", n, err)
	}
}
