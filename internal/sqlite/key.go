package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
)

const keyColumns = `k.id, k.prefix, k.name, k.project_id, k.profile, k.admin, k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests,
	k.created_at, k.expires_at, k.revoked_at, k.former_until`

type keyStatements struct {
	create, update, rotate, revoke, byRef, list, exists, version *sql.Stmt
}

func (s *keyStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`INSERT INTO api_keys (id, prefix, name, project_id, profile, admin, requests_per_minute, tokens_per_minute, concurrent_requests,
			created_at, expires_at, revoked_at, former_until, hash) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`: &s.create,
		`UPDATE api_keys SET name = ?, profile = ?, requests_per_minute = ?, tokens_per_minute = ?, concurrent_requests = ?, expires_at = ?
			WHERE id = ?`: &s.update,
		`UPDATE api_keys SET former_hash = hash, former_until = ?, prefix = ?, hash = ? WHERE id = ?`: &s.rotate,
		`UPDATE api_keys SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL`:                      &s.revoke,
	})
	if err != nil {
		return err
	}
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT ` + keyColumns + ` FROM api_keys k WHERE k.id = ?1 OR k.prefix = ?1 ORDER BY k.created_at, k.id`: &s.byRef,
		`SELECT ` + keyColumns + ` FROM api_keys k ORDER BY k.created_at, k.id`:                                  &s.list,
		`SELECT EXISTS (SELECT 1 FROM api_keys WHERE id = ?)`:                                                    &s.exists,
		`SELECT version FROM api_keys_version`:                                                                   &s.version,
	})
}

// CreateKey implements apikey.Store.
func (db *DB) CreateKey(ctx context.Context, k apikey.Key, hash apikey.Hash, budgets []budget.Limit) error {
	return db.change(ctx, func(tx *sql.Tx) error {
		create := tx.StmtContext(ctx, db.keys.create) //nolint:sqlclosecheck // the transaction closes it
		_, err := create.ExecContext(ctx, k.ID, k.Prefix, k.Name, k.ProjectID, k.Profile, k.Admin,
			k.Limits.RequestsPerMinute, k.Limits.TokensPerMinute, k.Limits.ConcurrentRequests,
			k.CreatedAt.UnixMicro(), optionalMicros(k.ExpiresAt), optionalMicros(k.RevokedAt), optionalMicros(k.FormerUntil), hash[:])
		if isUniqueViolation(err) {
			return fmt.Errorf("insert key: %w: %w", apikey.ErrExists, err)
		}
		if err != nil {
			return fmt.Errorf("insert key: %w", err)
		}
		for _, limit := range budgets {
			if err := db.budgets.set(ctx, tx, limit); err != nil {
				return err
			}
		}
		return nil
	})
}

// UpdateKey implements apikey.Store.
func (db *DB) UpdateKey(ctx context.Context, k apikey.Key) error {
	changed, err := exec(ctx, db.keys.update, k.Name, k.Profile,
		k.Limits.RequestsPerMinute, k.Limits.TokensPerMinute, k.Limits.ConcurrentRequests, optionalMicros(k.ExpiresAt), k.ID)
	if err != nil {
		return fmt.Errorf("update key: %w", err)
	}
	if changed == 0 {
		return apikey.ErrNotFound
	}
	return nil
}

// RotateKey implements apikey.Store.
func (db *DB) RotateKey(ctx context.Context, id, prefix string, hash apikey.Hash, formerUntil time.Time) error {
	changed, err := exec(ctx, db.keys.rotate, formerUntil.UnixMicro(), prefix, hash[:], id)
	if isUniqueViolation(err) {
		return fmt.Errorf("rotate key: %w: %w", apikey.ErrExists, err)
	}
	if err != nil {
		return fmt.Errorf("rotate key: %w", err)
	}
	if changed == 0 {
		return apikey.ErrNotFound
	}
	return nil
}

// RevokeKey implements apikey.Store.
func (db *DB) RevokeKey(ctx context.Context, id string, at time.Time) error {
	changed, err := exec(ctx, db.keys.revoke, at.UnixMicro(), id)
	if err != nil {
		return fmt.Errorf("revoke key: %w", err)
	}
	if changed > 0 {
		return nil
	}
	// The key is revoked already, or there is none.
	var exists bool
	if err := db.keys.exists.QueryRowContext(ctx, id).Scan(&exists); err != nil {
		return fmt.Errorf("select key: %w", err)
	}
	if !exists {
		return apikey.ErrNotFound
	}
	return nil
}

// KeysByRef implements apikey.Store.
func (db *DB) KeysByRef(ctx context.Context, ref string) ([]apikey.Key, error) {
	return selectAll(ctx, "keys", db.keys.byRef, scanKey, ref)
}

// ListKeys implements apikey.Store.
func (db *DB) ListKeys(ctx context.Context) ([]apikey.Key, error) {
	return selectAll(ctx, "keys", db.keys.list, scanKey)
}

// KeysVersion implements apikey.Store.
func (db *DB) KeysVersion(ctx context.Context) (int64, error) {
	var version int64
	if err := db.keys.version.QueryRowContext(ctx).Scan(&version); err != nil {
		return 0, fmt.Errorf("select keys version: %w", err)
	}
	return version, nil
}

// keyRow takes the key columns of a row.
type keyRow struct {
	key                      apikey.Key
	created                  int64
	expires, revoked, former sql.Null[int64]
}

// fields are where the key columns go, in their order.
func (r *keyRow) fields() []any {
	k := &r.key
	return []any{
		&k.ID, &k.Prefix, &k.Name, &k.ProjectID, &k.Profile, &k.Admin,
		&k.Limits.RequestsPerMinute, &k.Limits.TokensPerMinute, &k.Limits.ConcurrentRequests,
		&r.created, &r.expires, &r.revoked, &r.former,
	}
}

func (r *keyRow) scanned() apikey.Key {
	k := r.key
	k.CreatedAt, k.ExpiresAt, k.RevokedAt, k.FormerUntil = fromMicros(r.created), optionalTime(r.expires), optionalTime(r.revoked), optionalTime(r.former)
	return k
}

func scanKey(rows *sql.Rows) (apikey.Key, error) {
	var row keyRow
	if err := rows.Scan(row.fields()...); err != nil {
		return apikey.Key{}, err
	}
	return row.scanned(), nil
}
