package postgres

import (
	"context"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/pressly/goose/v3"
)

// Look is what a database shows to who only looks.
type Look struct {
	Version        string        // of the server
	Latency        time.Duration // of one question
	Empty          bool          // nothing of this service is there yet
	Schema, Target int64         // what it has, what this program has
	Keys, Admins   int           // that work
}

// LookAt connects to a database, looks at it and changes nothing. The URL is in no
// error.
func LookAt(ctx context.Context, options Options) (Look, error) {
	look, err := lookAt(ctx, options)
	if err != nil {
		return look, fmt.Errorf("look at the database: %w", discreet(err, options.URL))
	}
	return look, nil
}

func lookAt(ctx context.Context, options Options) (look Look, err error) {
	if look.Target, err = newest(); err != nil {
		return look, err
	}
	p, err := pool(options.URL, 1)
	if err != nil {
		return look, err
	}
	defer p.Close()
	if err := (&DB{rest: p}).check(ctx); err != nil {
		return look, err
	}
	return look, p.AcquireFunc(ctx, func(c *pgxpool.Conn) error { return look.read(ctx, c.Conn()) })
}

// newest is the schema that this program has.
func newest() (version int64, err error) {
	files, err := fs.Glob(migrations, "migrations/*.sql")
	for _, file := range files {
		of, err := goose.NumericComponent(file)
		if err != nil {
			return 0, err
		}
		version = max(version, of)
	}
	return version, err
}

func (look *Look) read(ctx context.Context, c *pgx.Conn) error {
	var there bool
	started := time.Now()
	if err := c.QueryRow(ctx, "SELECT current_setting('server_version'), to_regclass('goose_db_version') IS NOT NULL").Scan(&look.Version, &there); err != nil {
		return err
	}
	look.Latency = time.Since(started)
	if look.Empty = !there; look.Empty {
		return nil
	}
	if err := c.QueryRow(ctx, "SELECT coalesce(max(version_id), 0) FROM goose_db_version").Scan(&look.Schema); err != nil {
		return err
	}
	if look.Schema != look.Target {
		return nil // its tables may be others
	}
	return c.QueryRow(ctx, "SELECT count(*), count(*) FILTER (WHERE admin) FROM api_keys WHERE revoked_at IS NULL AND (expires_at IS NULL OR expires_at > now())").
		Scan(&look.Keys, &look.Admins)
}
