package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"time"
)

// Look is what a database's file shows to who only looks.
type Look struct {
	Exists         bool
	Version        string        // of SQLite
	Latency        time.Duration // of one question
	Schema, Target int64         // what it has, what this program has
	Keys, Admins   int           // that work
}

// Times and sizes of a look.
const (
	lookBusy = 2 * time.Second
	// wholeCheck is up to which size a file is read whole, to find damage.
	wholeCheck = 128 << 20
)

// LookAt looks at a database's file and changes nothing of what it holds: it makes no
// file and runs no migration. It may be called while a service uses the file.
func LookAt(ctx context.Context, path string) (look Look, err error) {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return look, nil
	}
	if err != nil {
		return look, err
	}
	// Not mode=ro: that can't look at a file whose last user was killed.
	db, err := sql.Open("sqlite", address(path, url.Values{"mode": {"rw"}, "_query_only": {"1"}, "_busy_timeout": {fmt.Sprint(lookBusy.Milliseconds())}}))
	if err != nil {
		return look, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	look.Exists = true
	if err := look.read(ctx, db, info.Size()); err != nil {
		return look, fmt.Errorf("look at database %s: %w", path, err)
	}
	return look, nil
}

func (look *Look) read(ctx context.Context, db *sql.DB, size int64) error {
	tables := 0
	if err := db.QueryRowContext(ctx, "SELECT sqlite_version(), count(*) FROM sqlite_schema").Scan(&look.Version, &tables); err != nil {
		return err
	}
	if size <= wholeCheck {
		var said string
		if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
			return err
		}
		if said != "ok" {
			return fmt.Errorf("the file is damaged: %s", said)
		}
	}
	provider, err := migrator(db)
	if err != nil {
		return err
	}
	for _, source := range provider.ListSources() {
		look.Target = max(look.Target, source.Version)
	}
	if tables == 0 {
		return nil
	}
	// Asked of the table: a provider would make it where it is missing.
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version").Scan(&look.Schema); err != nil {
		return fmt.Errorf("it isn't this service's: %w", err)
	}
	started := time.Now()
	var version int64
	if err := db.QueryRowContext(ctx, "SELECT version FROM api_keys_version").Scan(&version); err != nil {
		return err
	}
	look.Latency = time.Since(started)
	if look.Schema != look.Target {
		return nil // its tables may be others
	}
	return db.QueryRowContext(ctx, "SELECT count(*), coalesce(sum(admin), 0) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > ?)",
		time.Now().UnixMicro()).Scan(&look.Keys, &look.Admins)
}
