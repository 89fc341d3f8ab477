// Package pgtest gives tests a real PostgreSQL server: one for each test binary,
// in a folder and on a port of its own, with a database for each test. It takes
// the binaries of an installed PostgreSQL; as root it runs them as the user
// postgres, because they refuse root.
//
// Where PostgreSQL isn't installed, tests are skipped; with
// CLAUDE_API_TEST_REQUIRE_POSTGRES=1 they fail.
package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// RequireVariable makes a missing PostgreSQL a failure when it is 1.
const RequireVariable = "CLAUDE_API_TEST_REQUIRE_POSTGRES"

// patience bounds every wait for the server.
const patience = 60 * time.Second

// shared is the test binary's server, started by the first test that needs it.
var shared struct {
	once   sync.Once
	server *Server
	err    error
}

// Tests are a test binary's, after which the shared server ends.
type Tests struct{ m interface{ Run() int } }

// Main wraps what TestMain gets, or what stands in for it. goleak.VerifyTestMain
// and testscript.Main take it as it is.
func Main(m interface{ Run() int }) *Tests { return &Tests{m} }

// Run runs the tests and gives their exit code.
func (t *Tests) Run() int {
	code := t.m.Run()
	if shared.server == nil {
		return code
	}
	if err := shared.server.remove(); err != nil {
		fmt.Fprintln(os.Stderr, "end PostgreSQL:", err)
		return max(code, 1)
	}
	return code
}

// Database makes a new, empty database on the shared server and gives its URL.
// The test's end drops it. TestMain must use Main.
func Database(t testing.TB) string {
	t.Helper()
	shared.once.Do(func() { shared.server, shared.err = newServer("fsync=off") })
	need(t, shared.err)
	return shared.server.Database(t)
}

// Start starts a server for one test alone, which may stop it. Unlike the
// shared one it writes to the disk as an operator's does, unless settings, each
// NAME=VALUE, say otherwise.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s, err := newServer(settings...)
	need(t, err)
	t.Cleanup(func() {
		if err := s.remove(); err != nil {
			t.Errorf("end PostgreSQL: %v", err)
		}
	})
	return s
}

func need(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, errMissing) && os.Getenv(RequireVariable) != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// The users of every server. Password is in every URL, so that tests can look
// for it where it must not be; the server asks only Stranger for it.
const (
	User     = "claude"
	Password = "planted/pass:word@1" // with what a URL has to escape
	Stranger = "stranger"            // a user whose password is another
)

// Database makes a new, empty database and gives its URL. The test's end drops
// it.
func (s *Server) Database(t testing.TB) string {
	t.Helper()
	s.mu.Lock()
	s.databases++
	name := fmt.Sprintf("test_%d", s.databases)
	s.mu.Unlock()
	if err := s.administer("CREATE DATABASE " + name); err != nil {
		t.Fatalf("create a database: %v", err)
	}
	t.Cleanup(func() {
		if !s.Running() {
			return
		}
		if err := s.administer("DROP DATABASE " + name + " WITH (FORCE)"); err != nil {
			t.Errorf("drop the database: %v", err)
		}
	})
	return s.url(User, name)
}

// administer runs one statement as the superuser, one at a time: PostgreSQL
// makes no two databases at once of one template.
func (s *Server) administer(statement string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url(User, "postgres"))
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(ctx))
}
