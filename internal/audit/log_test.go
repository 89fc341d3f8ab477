package audit_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store whose commits a test can hold up and make fail.
type memory struct {
	audit.Store // only AppendAudit is called

	gate chan struct{} // when not nil, each commit takes one from it

	mu      sync.Mutex
	batches [][]audit.Event
	failing error
}

func (m *memory) AppendAudit(ctx context.Context, events []audit.Event) error {
	if m.gate != nil {
		select {
		case <-m.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.failing != nil {
		return m.failing
	}
	m.batches = append(m.batches, append([]audit.Event(nil), events...)) // the log uses events again
	return nil
}

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.failing = err
}

func (m *memory) events() []audit.Event {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []audit.Event
	for _, batch := range m.batches {
		all = append(all, batch...)
	}
	return all
}

// targets are the events' targets, or what they say where they have none.
func (m *memory) targets() string {
	var all []string
	for _, e := range m.events() {
		if e.Target == "" {
			e.Target = "(" + e.Detail + ")"
		}
		all = append(all, e.Target)
	}
	return strings.Join(all, " ")
}

func done(target string) audit.Event { return audit.Event{Action: "key.created", Target: target} }

func closeLog(t *testing.T, l *audit.Log) {
	t.Helper()
	if err := l.Close(context.Background()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestRecordNeverWaitsAndBatchesGather(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})}
		l := audit.NewLog(audit.Options{Store: store, Batch: 3})
		l.Record(done("0"))
		synctest.Wait() // its commit has begun
		for i := range 7 {
			l.Record(done(fmt.Sprint(i + 1)))
		}
		close(store.gate)
		closeLog(t, l)
		var sizes []int
		for _, batch := range store.batches {
			sizes = append(sizes, len(batch))
		}
		if fmt.Sprint(sizes) != "[1 3 3 1]" || store.targets() != "0 1 2 3 4 5 6 7" {
			t.Errorf("batches of %v: %s", sizes, store.targets())
		}
	})
}

func TestEventsGetATimeAndStorableTexts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{}
		l := audit.NewLog(audit.Options{Store: store})
		now := time.Now()
		before := now.Add(-time.Hour)
		long := strings.Repeat("ä", 1000)
		l.Record(audit.Event{Action: "a", Detail: "\x1b[2Jx\x00y\xff\n\u009b"})
		l.Record(audit.Event{Action: "b", Time: before, Actor: long, Address: long, Target: long, Project: long, RequestID: "z" + long, Detail: strings.Repeat(long, 9)})
		closeLog(t, l)
		got := store.events()
		if len(got) != 2 || !got[0].Time.Equal(now) || !got[1].Time.Equal(before) {
			t.Fatalf("events %+v", got)
		}
		if got[0].Detail != "[2Jxy?" {
			t.Errorf("detail %q", got[0].Detail)
		}
		if n := len(got[1].Detail); n != 4096 {
			t.Errorf("a detail of %d bytes", n)
		}
		for _, text := range []string{got[1].Actor, got[1].Address, got[1].Target, got[1].Project, got[1].RequestID} {
			if len(text) > 256 || len(text) < 250 || !utf8.ValidString(text) {
				t.Errorf("a text of %d bytes: %q", len(text), text)
			}
		}
	})
}

func TestWhatDoesntFitIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &memory{gate: make(chan struct{})}
		l := audit.NewLog(audit.Options{Store: store, Buffer: 2})
		l.Record(done("first"))
		synctest.Wait()
		for i := range 50 {
			l.Record(done(fmt.Sprint(i)))
		}
		close(store.gate)
		synctest.Wait()
		l.Record(done("last"))
		closeLog(t, l)
		want := "first 0 (48 events came faster than they could be stored and are lost) 1 last"
		if got := store.targets(); got != want {
			t.Errorf("the log has %s\nwant %s", got, want)
		}
		if e := store.events()[2]; e.Action != audit.Dropped || e.Time.IsZero() {
			t.Errorf("the event that says so is %+v", e)
		}
	})
}

func TestAFailingStoreIsTriedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var said bytes.Buffer
		store := &memory{failing: errors.New("disk full")}
		l := audit.NewLog(audit.Options{Store: store, Logger: slog.New(slog.NewTextHandler(&said, nil))})
		l.Record(done("one"))
		time.Sleep(10 * time.Second)
		l.Record(done("two"))
		store.fail(nil)
		time.Sleep(time.Second)
		synctest.Wait()
		if got := store.targets(); got != "one two" {
			t.Errorf("the log has %s", got)
		}
		closeLog(t, l)
		if n := strings.Count(said.String(), "disk full"); n != 10 && n != 11 {
			t.Errorf("%d attempts failed in ten seconds", n)
		}
	})
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("disk full")
		store := &memory{failing: broken}
		l := audit.NewLog(audit.Options{Store: store})
		l.Record(done("one"))
		synctest.Wait()
		l.Record(done("two"))
		for range 2 {
			err := l.Close(context.Background())
			if !errors.Is(err, audit.ErrClosed) || !errors.Is(err, broken) || !strings.Contains(err.Error(), "1 of 2 audit events") {
				t.Errorf("Close = %v", err)
			}
		}
		l.Record(done("late")) // does nothing
	})
}

func TestCloseEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := audit.NewLog(audit.Options{Store: &memory{gate: make(chan struct{})}})
		l.Record(done("one"))
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		before := time.Now()
		if err := l.Close(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(before) != time.Second {
			t.Errorf("Close = %v after %s", err, time.Since(before))
		}
		// The commit was cancelled: the committer has ended.
		if err := l.Close(context.Background()); !errors.Is(err, context.Canceled) {
			t.Errorf("the second Close = %v", err)
		}
	})
}

func TestManyRecordAtOnce(t *testing.T) {
	store := &memory{}
	l := audit.NewLog(audit.Options{Store: store, Buffer: 10_000})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				l.Record(done("x"))
			}
		})
	}
	wg.Wait()
	closeLog(t, l)
	if n := len(store.events()); n != 8000 {
		t.Errorf("%d events, want 8000", n)
	}
}

func TestWrite(t *testing.T) {
	store := &memory{}
	if err := audit.Write(t.Context(), store, done("key_1"), done("\x00key_2")); err != nil {
		t.Fatal(err)
	}
	if got := store.events(); store.targets() != "key_1 key_2" || len(store.batches) != 1 || got[0].Time.IsZero() {
		t.Errorf("events %+v", got)
	}
	broken := errors.New("disk full")
	store.fail(broken)
	if err := audit.Write(t.Context(), store, done("key_1")); !errors.Is(err, broken) {
		t.Errorf("Write = %v", err)
	}
}
