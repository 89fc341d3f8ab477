// Package sqlite keeps keys, the ledger and documents in one SQLite file. Several
// processes may use the file at the same time.
package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	sqlite "modernc.org/sqlite" // also registers the driver "sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/usage"
)

// The settings of Options.Synchronous.
const (
	// SynchronousNormal keeps every committed row when a process is killed. A
	// power failure may lose the last commits, but never damages the file.
	SynchronousNormal = "NORMAL"
	// SynchronousFull waits for the disk at every commit, and so survives a power
	// failure too.
	SynchronousFull = "FULL"
)

// Defaults of Options.
const (
	// DefaultReaders is small because a read takes some 10 µs.
	DefaultReaders = 4
	// DefaultBusyTimeout is how long a writer waits for another process's write
	// transaction; those take milliseconds.
	DefaultBusyTimeout = 5 * time.Second
)

// Options say how a database is opened.
type Options struct {
	// Path is the file. It is created with the mode 0600, and its folder with
	// 0700, where they don't exist. A file of this user's that others may read or
	// write, as a restored copy often is, gets the mode 0600 too.
	Path        string
	Synchronous string        // "" is SynchronousNormal
	Readers     int           // connections that read; 0 is DefaultReaders
	BusyTimeout time.Duration // 0 is DefaultBusyTimeout
}

// DB is an open database: one connection that writes and a few that read, kept
// open, each with its statements prepared once. It is an apikey.Store, a
// usage.Store and an archive.Store, and safe for concurrent use.
type DB struct {
	write, read *sql.DB
	keys        keyStatements
	accounts    accountStatements
	projects    projectStatements
	budgets     budgetStatements
	usage       usageStatements
	documents   documentStatements
	audit       auditStatements

	closeOnce sync.Once
	closeErr  error
}

var (
	_ apikey.Store  = (*DB)(nil)
	_ usage.Store   = (*DB)(nil)
	_ archive.Store = (*DB)(nil)
)

// Open opens the database, creates it where there is none, and brings it to
// this program's schema. Processes that open it at once wait for each other. A
// database that a newer program has changed is refused. ctx ends the opening
// only.
func Open(ctx context.Context, options Options) (*DB, error) {
	if err := options.complete(); err != nil {
		return nil, fmt.Errorf("open database: %w", err)
	}
	db, err := open(ctx, options)
	if err != nil {
		return nil, fmt.Errorf("open database %s: %w", options.Path, err)
	}
	return db, nil
}

func (o *Options) complete() error {
	if o.Path == "" {
		return errors.New("no path")
	}
	switch o.Synchronous {
	case "":
		o.Synchronous = SynchronousNormal
	case SynchronousNormal, SynchronousFull:
	default:
		return fmt.Errorf("synchronous must be %s or %s, not %q", SynchronousNormal, SynchronousFull, o.Synchronous)
	}
	if o.Readers <= 0 {
		o.Readers = DefaultReaders
	}
	if o.BusyTimeout <= 0 {
		o.BusyTimeout = DefaultBusyTimeout
	}
	path, err := filepath.Abs(o.Path)
	o.Path = path
	return err
}

func open(ctx context.Context, o Options) (db *DB, err error) {
	lock, err := prepareFile(ctx, o.Path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()

	db = &DB{}
	defer func() {
		if err != nil {
			err = errors.Join(err, db.Close())
			db = nil
		}
	}()
	if db.write, err = pool(o, 1, url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {o.Synchronous}, "_foreign_keys": {"1"}, "_txlock": {"immediate"},
	}); err != nil {
		return db, err
	}
	if err := migrate(ctx, db.write); err != nil {
		return db, err
	}
	if db.read, err = pool(o, o.Readers, url.Values{"_query_only": {"1"}}); err != nil {
		return db, err
	}
	if err := db.keys.prepare(ctx, db); err != nil {
		return db, err
	}
	if err := db.usage.prepare(ctx, db); err != nil {
		return db, err
	}
	return db, errors.Join(
		db.accounts.prepare(ctx, db), db.projects.prepare(ctx, db), db.budgets.prepare(ctx, db),
		db.documents.prepare(ctx, db), db.audit.prepare(ctx, db),
	)
}

// prepareFile makes the file, where there is none, and gives it to this process alone while it
// is opened.
func prepareFile(ctx context.Context, path string) (*setupLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	// SQLite gives -wal and -shm the mode of the file, so making it first is
	// enough for all three, where they aren't there already.
	if err := create(path); err != nil {
		return nil, err
	}
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := keepPrivate(path + suffix); err != nil {
			return nil, err
		}
	}
	return lockSetup(ctx, path+".lock")
}

func create(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// keepPrivate takes away other people's rights to a file, if it is there and theirs
// to take: not on a file of another user, nor where the file system has no modes.
func keepPrivate(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o077 != 0 {
		err = os.Chmod(path, 0o600)
	}
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// pool opens connections that are never closed before the pool is.
func pool(o Options, connections int, settings url.Values) (*sql.DB, error) {
	settings.Set("_busy_timeout", strconv.FormatInt(o.BusyTimeout.Milliseconds(), 10))
	db, err := sql.Open("sqlite", address(o.Path, settings))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, nil
}

// address escapes the path: it may hold characters that mean something in a
// URI.
func address(path string, settings url.Values) string {
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(path), RawQuery: settings.Encode()}).String()
}

// Close ends all connections. It may be called more than once. Whoever uses the
// database while it is closed gets an error.
func (db *DB) Close() error {
	db.closeOnce.Do(func() {
		var errs []error
		// The readers go first: the last connection to close writes the WAL back
		// into the file, and that needs one that may write.
		for _, pool := range []*sql.DB{db.read, db.write} {
			if pool != nil {
				errs = append(errs, pool.Close())
			}
		}
		if err := errors.Join(errs...); err != nil {
			db.closeErr = fmt.Errorf("close database: %w", err)
		}
	})
	return db.closeErr
}

// prepareAll prepares each query into its statement. Closing the pool closes
// the statements.
func prepareAll(ctx context.Context, pool *sql.DB, queries map[string]**sql.Stmt) error {
	for query, statement := range queries {
		prepared, err := pool.PrepareContext(ctx, query) //nolint:sqlclosecheck // the pool closes it
		if err != nil {
			return fmt.Errorf("prepare %q: %w", query, err)
		}
		*statement = prepared
	}
	return nil
}

// Ping says whether the database answers. It reads.
func (db *DB) Ping(ctx context.Context) error {
	if _, err := db.KeysVersion(ctx); err != nil {
		return fmt.Errorf("ping database: %w", err)
	}
	return nil
}

func isUniqueViolation(err error) bool {
	var e *sqlite.Error
	return errors.As(err, &e) &&
		(e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY)
}

func fromMicros(us int64) time.Time { return time.UnixMicro(us).UTC() }

func optionalMicros(t *time.Time) sql.Null[int64] {
	if t == nil {
		return sql.Null[int64]{}
	}
	return sql.Null[int64]{V: t.UnixMicro(), Valid: true}
}

func optionalTime(us sql.Null[int64]) *time.Time {
	if !us.Valid {
		return nil
	}
	t := fromMicros(us.V)
	return &t
}
