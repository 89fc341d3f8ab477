package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/storetest"
	"claude-code-api-service/internal/usage"
)

func TestMain(m *testing.M) {
	if job := os.Getenv(childJob); job != "" {
		child(job)
		return
	}
	goleak.VerifyTestMain(m)
}

func open(t testing.TB, options sqlite.Options) *sqlite.DB {
	t.Helper()
	if options.Path == "" {
		options.Path = filepath.Join(t.TempDir(), "test.db")
	}
	db, err := sqlite.Open(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

// openRaw opens one connection without the package, as another program would.
func openRaw(t *testing.T, path string) *sql.DB {
	t.Helper()
	raw, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	raw.SetMaxOpenConns(1)
	t.Cleanup(func() {
		if err := raw.Close(); err != nil {
			t.Error(err)
		}
	})
	return raw
}

func TestKeys(t *testing.T) {
	storetest.TestKeys(t, func(t *testing.T) apikey.Store { return open(t, sqlite.Options{}) })
}

func TestUsage(t *testing.T) {
	for _, synchronous := range []string{sqlite.SynchronousNormal, sqlite.SynchronousFull} {
		t.Run(synchronous, func(t *testing.T) {
			storetest.TestUsage(t, func(t *testing.T) usage.Store {
				return open(t, sqlite.Options{Synchronous: synchronous})
			})
		})
	}
}

func TestDocuments(t *testing.T) {
	storetest.TestDocuments(t, func(t *testing.T) archive.Store { return open(t, sqlite.Options{}) })
}

func TestSums(t *testing.T) {
	storetest.TestSums(t, func(t *testing.T) usage.Store { return open(t, sqlite.Options{}) })
}

func TestOpenRefuses(t *testing.T) {
	file := filepath.Join(t.TempDir(), "not-a-database")
	if err := os.WriteFile(file, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, options := range map[string]sqlite.Options{
		"no path":                       {},
		"an unknown synchronous":        {Path: filepath.Join(t.TempDir(), "x.db"), Synchronous: "OFF"},
		"a file that is no database":    {Path: file},
		"a folder in place of the file": {Path: t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := sqlite.Open(t.Context(), options)
			if err == nil {
				t.Fatal("opened", db.Close())
			}
			if db != nil {
				t.Error("a database beside an error")
			}
		})
	}
}

func TestFileModes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "new", "data")
	db := open(t, sqlite.Options{Path: filepath.Join(folder, "test.db")})
	if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: "one"}}, nil); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]fs.FileMode{
		"": 0o700, "test.db": 0o600, "test.db-wal": 0o600, "test.db-shm": 0o600, "test.db.lock": 0o600,
	} {
		info, err := os.Stat(filepath.Join(folder, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%q has mode %o, want %o", name, got, want)
		}
	}
}

func TestFilesOthersMayReadBecomePrivate(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	if err := open(t, sqlite.Options{Path: path}).AppendUsage(t.Context(), []usage.Row{{RequestID: "one"}}, nil); err != nil {
		t.Fatal(err)
	}
	names := []string{path, path + "-wal", path + "-shm"}
	for _, name := range names {
		if err := os.Chmod(name, 0o664); err != nil {
			t.Fatal(err)
		}
	}
	open(t, sqlite.Options{Path: path})
	for _, name := range names {
		info, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != 0o600 {
			t.Errorf("%s has mode %o", filepath.Base(name), got)
		}
	}
}

func TestPathWithSpecialCharacters(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=ro#c%41&d.db")
	db := open(t, sqlite.Options{Path: path})
	if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: "one"}}, nil); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() == 0 {
		t.Errorf("the file itself is %v, %v; want it written", info, err)
	}
}

func TestSettings(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	open(t, sqlite.Options{Path: path})
	raw := openRaw(t, path)
	var mode, check string
	if err := raw.QueryRowContext(t.Context(), "PRAGMA journal_mode").Scan(&mode); err != nil || mode != "wal" {
		t.Errorf("journal_mode is %q, %v; want wal", mode, err)
	}
	if err := raw.QueryRowContext(t.Context(), "PRAGMA integrity_check").Scan(&check); err != nil || check != "ok" {
		t.Errorf("integrity_check is %q, %v", check, err)
	}
}

func TestReopenKeepsRows(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	for n := 1; n <= 3; n++ {
		db := open(t, sqlite.Options{Path: path})
		if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: "again"}}, nil); err != nil {
			t.Fatal(err)
		}
		rows, err := db.ListUsage(t.Context(), 0, 100, usage.Filter{})
		if err != nil || len(rows) != n {
			t.Fatalf("after opening %d times: %d rows, %v", n, len(rows), err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	if err := open(t, sqlite.Options{Path: path}).Close(); err != nil {
		t.Fatal(err)
	}
	raw := openRaw(t, path)
	if _, err := raw.ExecContext(t.Context(), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, 1)"); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), sqlite.Options{Path: path}); !errors.Is(err, sqlite.ErrNewerSchema) {
		t.Errorf("Open = %v, want ErrNewerSchema", err)
	}
}

func TestCloseTwiceAndUseAfter(t *testing.T) {
	db := open(t, sqlite.Options{})
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := db.Ping(t.Context()); err == nil {
		t.Error("Ping works on a closed database")
	}
	if err := db.AppendUsage(t.Context(), []usage.Row{{}}, nil); err == nil {
		t.Error("AppendUsage works on a closed database")
	}
}

// A second writer waits for the first one's transaction, and gives up after the
// busy timeout.
func TestBusyTimeout(t *testing.T) {
	path := filepath.Join(t.TempDir(), "test.db")
	db := open(t, sqlite.Options{Path: path, BusyTimeout: 20 * time.Millisecond})
	raw := openRaw(t, path)
	if _, err := raw.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	if err := db.AppendUsage(t.Context(), []usage.Row{{}}, nil); err == nil {
		t.Error("two writers at once")
	}
	if _, err := db.ListUsage(t.Context(), 0, 1, usage.Filter{}); err != nil {
		t.Errorf("a reader waits for a writer: %v", err)
	}
	if _, err := raw.ExecContext(t.Context(), "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if err := db.AppendUsage(t.Context(), []usage.Row{{}}, nil); err != nil {
		t.Errorf("after the other writer ended: %v", err)
	}
}
