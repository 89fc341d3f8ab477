package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"net/url"
)

// MigrateTo brings a file to the schema of a version, as a former program left it,
// and fills it with statements in that program's SQL.
func MigrateTo(ctx context.Context, path string, version int64, statements []string) (err error) {
	db, err := pool(Options{Path: path}, 1, url.Values{"_journal_mode": {"WAL"}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	provider, err := migrator(db)
	if err != nil {
		return err
	}
	if _, err := provider.UpTo(ctx, version); err != nil {
		return err
	}
	for _, statement := range statements {
		if _, err := db.ExecContext(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// Versions gives the number of the newest schema.
func Versions() (int64, error) {
	provider, err := migrator(new(sql.DB))
	if err != nil {
		return 0, err
	}
	sources := provider.ListSources()
	return sources[len(sources)-1].Version, nil
}
