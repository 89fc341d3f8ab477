package pgtest_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"go.uber.org/goleak"

	"claude-code-api-service/internal/postgres/pgtest"
)

// asChild makes the test binary start a server, print its pid, and wait.
const asChild = "PGTEST_CHILD"

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(pgtest.Main(m))
}

// TestChild is what the other process runs.
func TestChild(t *testing.T) {
	if os.Getenv(asChild) == "" {
		t.Skip("only for TestServerDiesWithItsTests")
	}
	conn := connect(t, pgtest.Database(t))
	var parent int
	if err := conn.QueryRow(t.Context(), "SELECT split_part(pg_read_file('postmaster.pid'), E'\\n', 1)::int").Scan(&parent); err != nil {
		t.Fatal(err)
	}
	fmt.Println("postgres", parent)
	select {} // until it is killed
}

func connect(t *testing.T, address string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	one, two := connect(t, pgtest.Database(t)), connect(t, pgtest.Database(t))
	if _, err := one.Exec(t.Context(), "CREATE TABLE mine (id int)"); err != nil {
		t.Fatal(err)
	}
	if _, err := two.Exec(t.Context(), "SELECT FROM mine"); err == nil {
		t.Error("one test's table is in another's database")
	}
}

func TestCrashAndStart(t *testing.T) {
	server := pgtest.Start(t)
	address := server.Database(t)
	conn := connect(t, address)
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept (id int)"); err != nil {
		t.Fatal(err)
	}
	if err := server.Crash(); err != nil {
		t.Fatal(err)
	}
	if err := conn.Ping(t.Context()); err == nil || server.Running() {
		t.Errorf("a stopped server answers: %v", err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	again := connect(t, address)
	if _, err := again.Exec(t.Context(), "SELECT FROM kept"); err != nil {
		t.Error(err)
	}
}

func TestServerDiesWithItsTests(t *testing.T) {
	connect(t, pgtest.Database(t)) // skips where there is no PostgreSQL
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^TestChild$")
	cmd.Env = append(os.Environ(), asChild+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := 0
	for lines := bufio.NewScanner(out); pid == 0 && lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "postgres "); ok {
			if pid, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pid == 0 {
		t.Fatal("the other process started no server")
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // killed
	t.Cleanup(func() {
		left, _ := filepath.Glob(filepath.Join(os.TempDir(), fmt.Sprintf("claude-api-postgres-%d-*", cmd.Process.Pid))) // fails only for a bad pattern
		for _, folder := range left {
			_ = os.RemoveAll(folder) // else the next server does
		}
	})
	deadline := time.After(30 * time.Second)
	for !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		select {
		case <-deadline:
			t.Fatalf("postgres, process %d, outlives the tests that started it", pid)
		case <-time.After(10 * time.Millisecond):
		}
	}
}
