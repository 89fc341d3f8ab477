package main

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// TestStopWhileStarting: a database that takes a connection and says nothing would
// hold the service at its start; a signal ends it.
func TestStopWhileStarting(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = silent.Close() }()
	asked := make(chan net.Conn, 16)
	go func() {
		for {
			conn, err := silent.Accept()
			if err != nil {
				close(asked)
				return
			}
			asked <- conn
		}
	}()
	env := append(environment(t), "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL=http://127.0.0.1:1", "CLAUDE_API_CLAUDE_PATH=off")
	p := start(t, env, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir(),
		"--database-url=postgres://u:p@"+silent.Addr().String()+"/d?sslmode=disable")
	conn := <-asked
	defer func() { _ = conn.Close() }()
	began := time.Now()
	p.signal(t, syscall.SIGTERM)
	p.exit(t)
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("ended after %v\n%s", took, p.stderr.String())
	}
}
