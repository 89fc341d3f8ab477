package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"claude-code-api-service/internal/archive"
)

// sweepBatch is how many documents one statement removes. The ledger shares the
// connection that writes and waits meanwhile; a hundred small documents take
// some milliseconds, and large ones are removed page by page all the same.
const sweepBatch = 100

type documentStatements struct {
	put, get, list, remove, sweep *sql.Stmt
}

func (s *documentStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`INSERT INTO documents (kind, key_id, id, created_at, expires_at, body) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET created_at = excluded.created_at, expires_at = excluded.expires_at, body = excluded.body`: &s.put,
		`DELETE FROM documents WHERE kind = ? AND key_id = ? AND id = ?`:                                                       &s.remove,
		`DELETE FROM documents WHERE rowid IN (SELECT rowid FROM documents WHERE expires_at <= ? ORDER BY expires_at LIMIT ?)`: &s.sweep,
	})
	if err != nil {
		return err
	}
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT created_at, expires_at, body FROM documents WHERE kind = ? AND key_id = ? AND id = ?`:                  &s.get,
		`SELECT id, created_at, expires_at, body FROM documents WHERE kind = ? AND key_id = ? ORDER BY created_at, id`: &s.list,
	})
}

// PutDocument implements archive.Store.
func (db *DB) PutDocument(ctx context.Context, d archive.Document) error {
	body := d.Body
	if body == nil {
		body = []byte{} // nil would be NULL
	}
	_, err := db.documents.put.ExecContext(ctx, d.Kind, d.KeyID, d.ID, d.Created.UnixMicro(), d.Expires.UnixMicro(), body)
	if err != nil {
		return fmt.Errorf("insert document: %w", err)
	}
	return nil
}

// Document implements archive.Store.
func (db *DB) Document(ctx context.Context, kind, keyID, id string) (archive.Document, error) {
	d := archive.Document{Kind: kind, KeyID: keyID, ID: id}
	var created, expires int64
	err := db.documents.get.QueryRowContext(ctx, kind, keyID, id).Scan(&created, &expires, &d.Body)
	if errors.Is(err, sql.ErrNoRows) {
		return archive.Document{}, archive.ErrNotFound
	}
	if err != nil {
		return archive.Document{}, fmt.Errorf("select document: %w", err)
	}
	d.Created, d.Expires = fromMicros(created), fromMicros(expires)
	return d, nil
}

// Documents implements archive.Store.
func (db *DB) Documents(ctx context.Context, kind, keyID string) ([]archive.Document, error) {
	rows, err := db.documents.list.QueryContext(ctx, kind, keyID)
	if err != nil {
		return nil, fmt.Errorf("select documents: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []archive.Document
	for rows.Next() {
		d := archive.Document{Kind: kind, KeyID: keyID}
		var created, expires int64
		if err := rows.Scan(&d.ID, &created, &expires, &d.Body); err != nil {
			return nil, fmt.Errorf("scan document: %w", err)
		}
		d.Created, d.Expires = fromMicros(created), fromMicros(expires)
		list = append(list, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select documents: %w", err)
	}
	return list, nil
}

// DeleteDocument implements archive.Store.
func (db *DB) DeleteDocument(ctx context.Context, kind, keyID, id string) error {
	result, err := db.documents.remove.ExecContext(ctx, kind, keyID, id)
	if err != nil {
		return fmt.Errorf("delete document: %w", err)
	}
	n, err := result.RowsAffected()
	if err != nil {
		return fmt.Errorf("delete document: %w", err)
	}
	if n == 0 {
		return archive.ErrNotFound
	}
	return nil
}

// DeleteExpired implements archive.Store. Between two batches others may write.
func (db *DB) DeleteExpired(ctx context.Context, now time.Time) (int64, error) {
	var removed int64
	for {
		result, err := db.documents.sweep.ExecContext(ctx, now.UnixMicro(), sweepBatch)
		if err != nil {
			return removed, fmt.Errorf("delete expired documents: %w", err)
		}
		n, err := result.RowsAffected()
		if err != nil {
			return removed, fmt.Errorf("delete expired documents: %w", err)
		}
		removed += n
		if n < sweepBatch {
			return removed, nil
		}
	}
}
