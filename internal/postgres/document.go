package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/archive"
)

// sweepBatch is how many documents one statement removes, so that none holds its
// rows for long.
const sweepBatch = 1000

// PutDocument implements archive.Store.
func (db *DB) PutDocument(ctx context.Context, d archive.Document) error {
	body := d.Body
	if body == nil {
		body = []byte{} // nil would be NULL
	}
	_, err := db.rest.Exec(ctx, `INSERT INTO documents (kind, key_id, id, created_at, expires_at, body) VALUES ($1, $2, $3, $4, $5, $6)
		ON CONFLICT (kind, key_id, id) DO UPDATE SET created_at = excluded.created_at, expires_at = excluded.expires_at, body = excluded.body`,
		d.Kind, d.KeyID, d.ID, d.Created, d.Expires, body)
	if err != nil {
		return db.failed(ctx, "insert document", err)
	}
	return nil
}

// Document implements archive.Store.
func (db *DB) Document(ctx context.Context, kind, keyID, id string) (archive.Document, error) {
	if !storable(kind, keyID, id) {
		return archive.Document{}, archive.ErrNotFound
	}
	d := archive.Document{Kind: kind, KeyID: keyID, ID: id}
	err := db.rest.QueryRow(ctx, `SELECT created_at, expires_at, body FROM documents WHERE kind = $1 AND key_id = $2 AND id = $3`,
		kind, keyID, id).Scan(&d.Created, &d.Expires, &d.Body)
	if errors.Is(err, pgx.ErrNoRows) {
		return archive.Document{}, archive.ErrNotFound
	}
	if err != nil {
		return archive.Document{}, db.failed(ctx, "select document", err)
	}
	d.Created, d.Expires = d.Created.UTC(), d.Expires.UTC()
	return d, nil
}

// Documents implements archive.Store.
func (db *DB) Documents(ctx context.Context, kind, keyID string) ([]archive.Document, error) {
	if !storable(kind, keyID) {
		return nil, nil
	}
	rows, _ := db.rest.Query(ctx, `SELECT id, created_at, expires_at, body FROM documents WHERE kind = $1 AND key_id = $2 ORDER BY created_at, id`,
		kind, keyID) // its error is that of the rows
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (archive.Document, error) {
		d := archive.Document{Kind: kind, KeyID: keyID}
		err := row.Scan(&d.ID, &d.Created, &d.Expires, &d.Body)
		d.Created, d.Expires = d.Created.UTC(), d.Expires.UTC()
		return d, err
	})
	if err != nil {
		return nil, db.failed(ctx, "select documents", err)
	}
	return list, nil
}

// DeleteDocument implements archive.Store.
func (db *DB) DeleteDocument(ctx context.Context, kind, keyID, id string) error {
	if !storable(kind, keyID, id) {
		return archive.ErrNotFound
	}
	tag, err := db.rest.Exec(ctx, `DELETE FROM documents WHERE kind = $1 AND key_id = $2 AND id = $3`, kind, keyID, id)
	if err != nil {
		return db.failed(ctx, "delete document", err)
	}
	if tag.RowsAffected() == 0 {
		return archive.ErrNotFound
	}
	return nil
}

// DeleteExpired implements archive.Store. Nodes that sweep at once share the
// work: what another one is removing is skipped.
func (db *DB) DeleteExpired(ctx context.Context, now time.Time) (int64, error) {
	var removed int64
	for {
		tag, err := db.rest.Exec(ctx, `WITH expired AS (
				SELECT kind, key_id, id FROM documents WHERE expires_at <= $1 ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED
			) DELETE FROM documents AS d USING expired AS e WHERE d.kind = e.kind AND d.key_id = e.key_id AND d.id = e.id`, now, sweepBatch)
		if err != nil {
			return removed, db.failed(ctx, "delete expired documents", err)
		}
		removed += tag.RowsAffected()
		if tag.RowsAffected() < sweepBatch {
			return removed, nil
		}
	}
}
