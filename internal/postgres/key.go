package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
)

const keyColumns = `k.id, k.prefix, k.name, k.project_id, k.profile, k.admin, k.requests_per_minute, k.tokens_per_minute, k.concurrent_requests,
	k.created_at, k.expires_at, k.revoked_at, k.former_until`

// createKey is one statement, and so one transaction. The triggers that raise the
// version run at its end.
const createKey = `
WITH limits AS (
	INSERT INTO budgets (owner_kind, owner_id, period, unit, hard, soft)
	SELECT * FROM unnest($15::text[], $16::text[], $17::text[], $18::text[], $19::bigint[], $20::bigint[])
	ON CONFLICT (owner_kind, owner_id, period, unit) DO UPDATE SET hard = excluded.hard, soft = excluded.soft
)
INSERT INTO api_keys (id, prefix, name, project_id, profile, admin, requests_per_minute, tokens_per_minute, concurrent_requests,
	created_at, expires_at, revoked_at, former_until, hash)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)`

// CreateKey implements apikey.Store.
func (db *DB) CreateKey(ctx context.Context, k apikey.Key, hash apikey.Hash, budgets []budget.Limit) error {
	_, err := db.rest.Exec(ctx, createKey, k.ID, k.Prefix, k.Name, k.ProjectID, k.Profile, k.Admin,
		k.Limits.RequestsPerMinute, k.Limits.TokensPerMinute, k.Limits.ConcurrentRequests,
		k.CreatedAt, k.ExpiresAt, k.RevokedAt, k.FormerUntil, hash[:],
		column(budgets, func(b *budget.Limit) string { return string(b.Owner.Kind) }),
		column(budgets, func(b *budget.Limit) string { return b.Owner.ID }),
		column(budgets, func(b *budget.Limit) string { return string(b.Period) }),
		column(budgets, func(b *budget.Limit) string { return string(b.Unit) }),
		column(budgets, func(b *budget.Limit) int64 { return b.Hard }),
		column(budgets, func(b *budget.Limit) int64 { return b.Soft }))
	if err != nil {
		return db.failed(ctx, "insert key", orExists(err))
	}
	return nil
}

// orExists makes what a unique index refused an apikey.ErrExists.
func orExists(err error) error {
	if isUniqueViolation(err) {
		return errors.Join(apikey.ErrExists, err)
	}
	return err
}

func isUniqueViolation(err error) bool {
	const uniqueViolation = "23505" // PostgreSQL's documentation, appendix A
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == uniqueViolation
}

// UpdateKey implements apikey.Store.
func (db *DB) UpdateKey(ctx context.Context, k apikey.Key) error {
	tag, err := db.rest.Exec(ctx, `UPDATE api_keys SET name = $1, profile = $2, requests_per_minute = $3, tokens_per_minute = $4,
		concurrent_requests = $5, expires_at = $6 WHERE id = $7`,
		k.Name, k.Profile, k.Limits.RequestsPerMinute, k.Limits.TokensPerMinute, k.Limits.ConcurrentRequests, k.ExpiresAt, k.ID)
	if err != nil {
		return db.failed(ctx, "update key", err)
	}
	if tag.RowsAffected() == 0 {
		return apikey.ErrNotFound
	}
	return nil
}

// RotateKey implements apikey.Store.
func (db *DB) RotateKey(ctx context.Context, id, prefix string, hash apikey.Hash, formerUntil time.Time) error {
	tag, err := db.rest.Exec(ctx, `UPDATE api_keys SET former_hash = hash, former_until = $1, prefix = $2, hash = $3 WHERE id = $4`,
		formerUntil, prefix, hash[:], id)
	if err != nil {
		return db.failed(ctx, "rotate key", orExists(err))
	}
	if tag.RowsAffected() == 0 {
		return apikey.ErrNotFound
	}
	return nil
}

// RevokeKey implements apikey.Store.
func (db *DB) RevokeKey(ctx context.Context, id string, at time.Time) error {
	var exists bool
	err := db.rest.QueryRow(ctx, `WITH revoked AS (UPDATE api_keys SET revoked_at = $1 WHERE id = $2 AND revoked_at IS NULL)
		SELECT EXISTS (SELECT FROM api_keys WHERE id = $2)`, at, id).Scan(&exists)
	if err != nil {
		return db.failed(ctx, "revoke key", err)
	}
	if !exists {
		return apikey.ErrNotFound
	}
	return nil
}

// KeysByRef implements apikey.Store.
func (db *DB) KeysByRef(ctx context.Context, ref string) ([]apikey.Key, error) {
	if !storable(ref) {
		return nil, nil
	}
	return selectAll(ctx, db, "keys", scanKey, `SELECT `+keyColumns+` FROM api_keys k WHERE k.id = $1 OR k.prefix = $1 ORDER BY k.created_at, k.id`, ref)
}

// ListKeys implements apikey.Store.
func (db *DB) ListKeys(ctx context.Context) ([]apikey.Key, error) {
	return selectAll(ctx, db, "keys", scanKey, `SELECT `+keyColumns+` FROM api_keys k ORDER BY k.created_at, k.id`)
}

// KeysVersion implements apikey.Store.
func (db *DB) KeysVersion(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	var version int64
	if err := db.walk.QueryRow(ctx, `SELECT version FROM keys_version`).Scan(&version); err != nil {
		return 0, db.failed(ctx, "select keys version", err)
	}
	return version, nil
}

// keyFields are where the key columns go, in their order.
func keyFields(k *apikey.Key) []any {
	return []any{
		&k.ID, &k.Prefix, &k.Name, &k.ProjectID, &k.Profile, &k.Admin,
		&k.Limits.RequestsPerMinute, &k.Limits.TokensPerMinute, &k.Limits.ConcurrentRequests,
		&k.CreatedAt, &k.ExpiresAt, &k.RevokedAt, &k.FormerUntil,
	}
}

// inUTC puts a scanned key's times into UTC.
func inUTC(k *apikey.Key) {
	k.CreatedAt = k.CreatedAt.UTC()
	for _, t := range []*time.Time{k.ExpiresAt, k.RevokedAt, k.FormerUntil} {
		if t != nil {
			*t = t.UTC()
		}
	}
}

func scanKey(row pgx.CollectableRow) (apikey.Key, error) {
	var k apikey.Key
	err := row.Scan(keyFields(&k)...)
	inUTC(&k)
	return k, err
}

// selectAll reads all rows of a query. what names them in errors.
func selectAll[T any](ctx context.Context, db *DB, what string, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, _ := db.rest.Query(ctx, query, args...) // its error is that of the rows
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, db.failed(ctx, "select "+what, err)
	}
	return list, nil
}
