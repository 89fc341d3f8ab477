package postgres_test

import (
	"errors"
	"testing"
	"time"

	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
)

const (
	patience = 30 * time.Second
	channel  = "claude_api_test"
)

// hearing subscribes, and gives what comes.
func hearing(t *testing.T, db *postgres.DB, channel string) <-chan string {
	t.Helper()
	heard := make(chan string, 100)
	t.Cleanup(db.Subscribe(channel, func(payload string) { heard <- payload }))
	return heard
}

func expect(t *testing.T, heard <-chan string, want string) {
	t.Helper()
	select {
	case got := <-heard:
		if got != want {
			t.Fatalf("heard %q, want %q", got, want)
		}
	case <-time.After(patience):
		t.Fatalf("%q isn't heard", want)
	}
}

func notify(t *testing.T, db *postgres.DB, channel, payload string) {
	t.Helper()
	if err := db.Notify(t.Context(), channel, payload); err != nil {
		t.Fatal(err)
	}
}

func TestNodesHearOfEachOther(t *testing.T) {
	address := pgtest.Database(t)
	one, two := openURL(t, address), openURL(t, address)
	first, same, far := hearing(t, one, channel), hearing(t, one, channel), hearing(t, two, channel)
	for _, heard := range []<-chan string{first, same, far} {
		expect(t, heard, "")
	}
	other := hearing(t, two, `an odd "channel"`)
	expect(t, other, "")
	notify(t, one, channel, "first")
	notify(t, two, channel, "second")
	notify(t, one, `an odd "channel"`, "third")
	for _, heard := range []<-chan string{first, same, far} {
		expect(t, heard, "first")
		expect(t, heard, "second")
	}
	expect(t, other, "third")
	if n := len(first) + len(same) + len(far) + len(other); n != 0 {
		t.Errorf("%d more came", n)
	}
}

func TestStopOfASubscription(t *testing.T) {
	db := open(t)
	stopped := make(chan string, 10)
	stop := db.Subscribe(channel, func(payload string) { stopped <- payload })
	expect(t, stopped, "")
	stop()
	stop()
	heard := hearing(t, db, channel)
	expect(t, heard, "")
	notify(t, db, channel, "more")
	expect(t, heard, "more")
	if len(stopped) != 0 {
		t.Errorf("heard %q after stop", <-stopped)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db.Subscribe(channel, func(string) { t.Error("called after Close") })()
}

// TestListenerReturns ends the server, and the connection alone: "" tells of each
// loss and each return.
func TestListenerReturns(t *testing.T) {
	server := pgtest.Start(t, "fsync=off")
	address := server.Database(t)
	db := openURL(t, address)
	heard := hearing(t, db, channel)
	expect(t, heard, "")
	if err := errors.Join(server.Crash(), server.Start()); err != nil {
		t.Fatal(err)
	}
	expect(t, heard, "")
	expect(t, heard, "")
	if n := question[int](t, connect(t, address), `SELECT count(*)::int FROM (SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%') AS ended`); n != 1 {
		t.Fatalf("%d connections listen, want 1", n)
	}
	expect(t, heard, "")
	expect(t, heard, "")
	_ = db.Ping(t.Context()) // finds the connections of before the crash broken
	notify(t, db, channel, "again")
	expect(t, heard, "again")
}
