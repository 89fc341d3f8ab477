package archive_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/archive"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// memory is a Store that can be made to fail.
type memory struct {
	mu        sync.Mutex
	documents map[[3]string]archive.Document
	sweeps    int
	err       error
}

func newMemory() *memory { return &memory{documents: map[[3]string]archive.Document{}} }

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

func (m *memory) count() (documents, sweeps int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.documents), m.sweeps
}

func (m *memory) PutDocument(_ context.Context, d archive.Document) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err == nil {
		d.Body = bytes.Clone(d.Body)
		m.documents[[3]string{d.Kind, d.KeyID, d.ID}] = d
	}
	return m.err
}

func (m *memory) Document(_ context.Context, kind, keyID, id string) (archive.Document, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d, ok := m.documents[[3]string{kind, keyID, id}]
	if m.err == nil && !ok {
		return d, archive.ErrNotFound
	}
	return d, m.err
}

func (m *memory) Documents(_ context.Context, kind, keyID string) (list []archive.Document, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.documents {
		if d.Kind == kind && d.KeyID == keyID {
			list = append(list, d)
		}
	}
	slices.SortFunc(list, func(a, b archive.Document) int { return a.Created.Compare(b.Created) })
	return list, m.err
}

func (m *memory) DeleteDocument(ctx context.Context, kind, keyID, id string) error {
	_, err := m.Document(ctx, kind, keyID, id)
	m.mu.Lock()
	defer m.mu.Unlock()
	if err == nil {
		delete(m.documents, [3]string{kind, keyID, id})
	}
	return err
}

func (m *memory) DeleteExpired(_ context.Context, now time.Time) (n int64, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.sweeps++
	if m.err != nil {
		return 0, m.err
	}
	for name, d := range m.documents {
		if !d.Expires.After(now) {
			delete(m.documents, name)
			n++
		}
	}
	return n, nil
}

func TestLifeOfADocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		a := archive.New(archive.Options{Store: store})
		if err := a.Put(t.Context(), "response", "key_1", "resp_1", time.Hour, []byte("body")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour - time.Nanosecond)
		d, err := a.Get(t.Context(), "response", "key_1", "resp_1")
		if err != nil || string(d.Body) != "body" || d.KeyID != "key_1" || d.Expires.Sub(d.Created) != time.Hour {
			t.Errorf("Get = %+v, %v", d, err)
		}
		for name, ask := range map[string][3]string{
			"another key's":  {"response", "key_2", "resp_1"},
			"another kind's": {"batch", "key_1", "resp_1"},
			"an unknown id":  {"response", "key_1", "resp_2"},
			"no key":         {"response", "", "resp_1"},
		} {
			if _, err := a.Get(t.Context(), ask[0], ask[1], ask[2]); !errors.Is(err, archive.ErrNotFound) {
				t.Errorf("Get of %s = %v, want ErrNotFound", name, err)
			}
			if err := a.Delete(t.Context(), ask[0], ask[1], ask[2]); !errors.Is(err, archive.ErrNotFound) {
				t.Errorf("Delete of %s = %v, want ErrNotFound", name, err)
			}
		}
		time.Sleep(time.Nanosecond)
		if _, err := a.Get(t.Context(), "response", "key_1", "resp_1"); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("Get of an expired one = %v, want ErrNotFound", err)
		}
		if err := a.Delete(t.Context(), "response", "key_1", "resp_1"); !errors.Is(err, archive.ErrNotFound) {
			t.Errorf("Delete of an expired one = %v, want ErrNotFound", err)
		}
		if n, _ := store.count(); n != 1 {
			t.Errorf("%d documents in the store, want 1: nothing has swept", n)
		}
	})
}

func TestPutReplacesAndDeleteRemoves(t *testing.T) {
	a := archive.New(archive.Options{Store: newMemory()})
	for _, body := range []string{"one", "two"} {
		if err := a.Put(t.Context(), "response", "key_1", "resp_1", time.Hour, []byte(body)); err != nil {
			t.Fatal(err)
		}
	}
	if d, err := a.Get(t.Context(), "response", "key_1", "resp_1"); err != nil || string(d.Body) != "two" {
		t.Errorf("Get = %q, %v", d.Body, err)
	}
	if err := a.Delete(t.Context(), "response", "key_1", "resp_1"); err != nil {
		t.Error(err)
	}
	if _, err := a.Get(t.Context(), "response", "key_1", "resp_1"); !errors.Is(err, archive.ErrNotFound) {
		t.Errorf("Get after Delete = %v", err)
	}
}

func TestList(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := archive.New(archive.Options{Store: newMemory()})
		for _, d := range []struct {
			kind, key, id string
			ttl           time.Duration
		}{
			{"alert", "", "short", time.Minute}, {"alert", "", "long", time.Hour}, {"alert", "", "longer", 2 * time.Hour},
			{"response", "", "other", time.Hour}, {"alert", "key_1", "other", time.Hour},
		} {
			if err := a.Put(t.Context(), d.kind, d.key, d.id, d.ttl, nil); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		for _, want := range []string{"short long longer ", "long longer ", "longer "} {
			list, err := a.List(t.Context(), "alert", "")
			got := ""
			for _, d := range list {
				got += d.ID + " "
			}
			if err != nil || got != want {
				t.Errorf("List = %s, %v, want %s", got, err, want)
			}
			time.Sleep(time.Until(list[0].Expires))
		}
	})
}

func TestFailures(t *testing.T) {
	broken := errors.New("disk on fire")
	store := newMemory()
	a := archive.New(archive.Options{Store: store})
	if err := a.Put(t.Context(), "response", "key_1", "resp_1", 0, nil); err == nil {
		t.Error("a document without a life was kept")
	}
	store.fail(broken)
	if err := a.Put(t.Context(), "response", "key_1", "resp_1", time.Hour, nil); !errors.Is(err, broken) {
		t.Errorf("Put = %v", err)
	}
	if _, err := a.Get(t.Context(), "response", "key_1", "resp_1"); !errors.Is(err, broken) || errors.Is(err, archive.ErrNotFound) {
		t.Errorf("Get = %v", err)
	}
	if _, err := a.List(t.Context(), "response", "key_1"); !errors.Is(err, broken) {
		t.Errorf("List = %v", err)
	}
	if err := a.Delete(t.Context(), "response", "key_1", "resp_1"); !errors.Is(err, broken) {
		t.Errorf("Delete = %v", err)
	}
}

func TestSweep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemory()
		var log bytes.Buffer
		a := archive.New(archive.Options{Store: store, SweepEvery: time.Minute, Log: slog.New(slog.NewTextHandler(&log, nil))})
		for id, ttl := range map[string]time.Duration{"short": 90 * time.Second, "long": time.Hour} {
			if err := a.Put(t.Context(), "response", "key_1", id, ttl, nil); err != nil {
				t.Fatal(err)
			}
		}
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() { a.Sweep(ctx); close(ended) }()
		for _, step := range []struct {
			after             time.Duration
			documents, sweeps int
		}{
			{0, 2, 1}, {time.Minute, 2, 2}, {time.Minute, 1, 3}, {58 * time.Minute, 0, 61},
		} {
			time.Sleep(step.after)
			synctest.Wait()
			if documents, sweeps := store.count(); documents != step.documents || sweeps != step.sweeps {
				t.Fatalf("after another %s: %d documents, %d sweeps; want %d, %d", step.after, documents, sweeps, step.documents, step.sweeps)
			}
		}
		store.fail(errors.New("disk on fire"))
		time.Sleep(time.Minute)
		synctest.Wait()
		stop()
		<-ended
		if !strings.Contains(log.String(), "disk on fire") {
			t.Errorf("the log says %q", log.String())
		}
	})
}
