package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"strconv"
	"time"

	"github.com/pressly/goose/v3"
)

// The schemas of the two files.
var (
	//go:embed migrations/*.sql
	migrations embed.FS
	//go:embed jobmigrations/*.sql
	jobMigrations embed.FS
)

// ErrNewerSchema says that a newer program has changed the database. Migrations
// only go forward.
var ErrNewerSchema = errors.New("the database was changed by a newer version of this program")

func migrate(ctx context.Context, db *sql.DB) error {
	provider, err := migrator(db)
	if err != nil {
		return err
	}
	return bringForward(ctx, provider)
}

func bringForward(ctx context.Context, provider *goose.Provider) error {
	current, target, err := provider.GetVersions(ctx)
	if err != nil {
		return fmt.Errorf("read schema version: %w", err)
	}
	if current > target {
		return fmt.Errorf("%w: its schema is %d, this program's is %d", ErrNewerSchema, current, target)
	}
	if _, err := provider.Up(ctx); err != nil {
		return fmt.Errorf("migrate: %w", err)
	}
	return nil
}

func migrator(db *sql.DB) (*goose.Provider, error) { return migratorOf(db, migrations, "migrations") }

func migratorOf(db *sql.DB, all embed.FS, folder string) (*goose.Provider, error) {
	files, err := fs.Sub(all, folder)
	if err != nil {
		return nil, err
	}
	provider, err := goose.NewProvider(goose.DialectSQLite3, db, files, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	return provider, nil
}

// setupTimeout bounds the wait for other processes that are opening the same
// database: longer than any migration takes.
const setupTimeout = time.Minute

// setupLock is held by one process at a time while it opens the database.
// Switching to WAL and reading which migrations are missing before running them
// are no single transactions, so SQLite's own locks on the database don't cover
// them.
type setupLock struct {
	db   *sql.DB
	conn *sql.Conn
}

// lockSetup takes the lock.
func lockSetup(ctx context.Context, path string) (*setupLock, error) {
	return lock(ctx, path, setupTimeout)
}

// lock takes a lock for which it waits for a time: an exclusive transaction on an empty
// SQLite file beside the database. The system takes it back when the process dies. The
// file stays: removing it would let two processes hold two locks of one name.
func lock(ctx context.Context, path string, wait time.Duration) (*setupLock, error) {
	if err := create(path); err != nil {
		return nil, err
	}
	timeout := strconv.FormatInt(wait.Milliseconds(), 10)
	db, err := sql.Open("sqlite", address(path, url.Values{"_busy_timeout": {timeout}}))
	if err != nil {
		return nil, err
	}
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), db.Close())
	}
	return &setupLock{db, conn}, nil
}

// release gives the lock back: closing the connection ends its transaction.
func (l *setupLock) release() error {
	return errors.Join(l.conn.Close(), l.db.Close())
}
