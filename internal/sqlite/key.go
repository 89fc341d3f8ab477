package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"claude-code-api-service/internal/apikey"
)

const keyColumns = `id, prefix, name, project_id, profile, requests_per_minute, created_at, expires_at, revoked_at`

type keyStatements struct {
	create, byHash, byRef, list, revoke, exists, version *sql.Stmt
}

func (s *keyStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`INSERT INTO api_keys (` + keyColumns + `, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`: &s.create,
		`UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`:                &s.revoke,
	})
	if err != nil {
		return err
	}
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT ` + keyColumns + ` FROM api_keys WHERE hash = ?`:                                   &s.byHash,
		`SELECT ` + keyColumns + ` FROM api_keys WHERE id = ?1 OR prefix = ?1 ORDER BY created_at`: &s.byRef,
		`SELECT ` + keyColumns + ` FROM api_keys ORDER BY created_at, id`:                          &s.list,
		`SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)`:                                      &s.exists,
		`SELECT version FROM api_keys_version`:                                                     &s.version,
	})
}

// CreateKey implements apikey.Store.
func (db *DB) CreateKey(ctx context.Context, k apikey.Key, hash apikey.Hash) error {
	_, err := db.keys.create.ExecContext(ctx, k.ID, k.Prefix, k.Name, k.ProjectID, k.Profile, k.RequestsPerMinute,
		k.CreatedAt.UnixMicro(), optionalMicros(k.ExpiresAt), optionalMicros(k.RevokedAt), hash[:])
	if isUniqueViolation(err) {
		return fmt.Errorf("insert key: %w: %w", apikey.ErrExists, err)
	}
	if err != nil {
		return fmt.Errorf("insert key: %w", err)
	}
	return nil
}

// KeyByHash implements apikey.Store.
func (db *DB) KeyByHash(ctx context.Context, hash apikey.Hash) (apikey.Key, error) {
	key, err := scanKey(db.keys.byHash.QueryRowContext(ctx, hash[:]))
	if errors.Is(err, sql.ErrNoRows) {
		return apikey.Key{}, apikey.ErrNotFound
	}
	if err != nil {
		return apikey.Key{}, fmt.Errorf("select key: %w", err)
	}
	return key, nil
}

// KeysByRef implements apikey.Store.
func (db *DB) KeysByRef(ctx context.Context, ref string) ([]apikey.Key, error) {
	return selectKeys(ctx, db.keys.byRef, ref)
}

// ListKeys implements apikey.Store.
func (db *DB) ListKeys(ctx context.Context) ([]apikey.Key, error) {
	return selectKeys(ctx, db.keys.list)
}

// RevokeKey implements apikey.Store.
func (db *DB) RevokeKey(ctx context.Context, id string, at time.Time) error {
	result, err := db.keys.revoke.ExecContext(ctx, at.UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("update key: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n > 0 {
		return err
	}
	// Nothing changed: the key is revoked already, or there is none.
	var exists bool
	if err := db.keys.exists.QueryRowContext(ctx, id).Scan(&exists); err != nil {
		return fmt.Errorf("select key: %w", err)
	}
	if !exists {
		return apikey.ErrNotFound
	}
	return nil
}

// KeysVersion implements apikey.Store.
func (db *DB) KeysVersion(ctx context.Context) (int64, error) {
	var version int64
	if err := db.keys.version.QueryRowContext(ctx).Scan(&version); err != nil {
		return 0, fmt.Errorf("select keys version: %w", err)
	}
	return version, nil
}

func selectKeys(ctx context.Context, statement *sql.Stmt, args ...any) ([]apikey.Key, error) {
	rows, err := statement.QueryContext(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("select keys: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var keys []apikey.Key
	for rows.Next() {
		key, err := scanKey(rows)
		if err != nil {
			return nil, fmt.Errorf("scan key: %w", err)
		}
		keys = append(keys, key)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select keys: %w", err)
	}
	return keys, nil
}

func scanKey(row interface{ Scan(...any) error }) (apikey.Key, error) {
	var k apikey.Key
	var created int64
	var expires, revoked sql.Null[int64]
	err := row.Scan(&k.ID, &k.Prefix, &k.Name, &k.ProjectID, &k.Profile, &k.RequestsPerMinute, &created, &expires, &revoked)
	if err != nil {
		return apikey.Key{}, err
	}
	k.CreatedAt, k.ExpiresAt, k.RevokedAt = fromMicros(created), optionalTime(expires), optionalTime(revoked)
	return k, nil
}
