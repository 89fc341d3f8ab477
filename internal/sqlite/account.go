package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
)

type accountStatements struct{ byHash *sql.Stmt }

func (s *accountStatements) prepare(ctx context.Context, db *DB) error {
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		// One row for each budget, and one where there is none.
		`SELECT ` + keyColumns + `, k.hash IS NOT ?1, iif(k.hash IS ?1, k.hash, k.former_hash),
			coalesce(p.time_zone, ''), coalesce(p.requests_per_minute, 0), coalesce(p.tokens_per_minute, 0), coalesce(p.concurrent_requests, 0),
			r.name, r.permissions, b.owner_kind, b.owner_id, b.period, b.unit, b.hard, b.soft
			FROM api_keys k
			LEFT JOIN projects p ON p.id = k.project_id
			LEFT JOIN profiles r ON r.name = k.profile
			LEFT JOIN budgets b ON (b.owner_kind = 'key' AND b.owner_id = k.id) OR (b.owner_kind = 'project' AND b.owner_id = k.project_id)
			WHERE k.hash = ?1 OR k.former_hash = ?1`: &s.byHash,
	})
}

// AccountByHash implements apikey.Store.
func (db *DB) AccountByHash(ctx context.Context, hash apikey.Hash) (apikey.Account, error) {
	type row struct {
		account apikey.Account
		limit   *budget.Limit
	}
	list, err := selectAll(ctx, "account", db.accounts.byHash, func(rows *sql.Rows) (row, error) {
		account, limit, err := scanAccount(rows)
		return row{account, limit}, err
	}, hash[:])
	if err != nil {
		return apikey.Account{}, err
	}
	if len(list) == 0 {
		return apikey.Account{}, apikey.ErrNotFound
	}
	account := list[0].account
	for _, row := range list {
		if row.limit != nil {
			account.Budgets = append(account.Budgets, *row.limit)
		}
	}
	return account, nil
}

// scanAccount gives an account without its budgets, and one of them, if it has
// any.
func scanAccount(rows *sql.Rows) (apikey.Account, *budget.Limit, error) {
	var a apikey.Account
	var key keyRow
	var stored []byte
	var profile, permissions, kind, owner, period, unit sql.Null[string]
	var hard, soft sql.Null[int64]
	limits := &a.Project.Limits
	err := rows.Scan(append(key.fields(), &a.Former, &stored,
		&a.Project.TimeZone, &limits.RequestsPerMinute, &limits.TokensPerMinute, &limits.ConcurrentRequests,
		&profile, &permissions, &kind, &owner, &period, &unit, &hard, &soft)...)
	if err != nil {
		return apikey.Account{}, nil, err
	}
	a.Key, a.Hash = key.scanned(), apikey.Hash(stored)
	a.Project.ID = a.Key.ProjectID
	if profile.Valid {
		if a.Profile, err = profileOf(profile.V, permissions.V); err != nil {
			return apikey.Account{}, nil, err
		}
	}
	if !kind.Valid {
		return a, nil, nil
	}
	return a, &budget.Limit{
		Owner:  budget.Owner{Kind: budget.Kind(kind.V), ID: owner.V},
		Period: budget.Period(period.V), Unit: budget.Unit(unit.V), Hard: hard.V, Soft: soft.V,
	}, nil
}

// change makes several changes or none.
func (db *DB) change(ctx context.Context, do func(tx *sql.Tx) error) error {
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := do(tx); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// exec changes rows and says how many.
func exec(ctx context.Context, statement *sql.Stmt, args ...any) (int64, error) {
	result, err := statement.ExecContext(ctx, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// selectAll reads all rows of a query. what names them in errors.
func selectAll[T any](ctx context.Context, what string, statement *sql.Stmt, scan func(*sql.Rows) (T, error), args ...any) ([]T, error) {
	rows, err := statement.QueryContext(ctx, args...)
	if err != nil {
		return nil, fmt.Errorf("select %s: %w", what, err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []T
	for rows.Next() {
		one, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("scan %s: %w", what, err)
		}
		list = append(list, one)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select %s: %w", what, err)
	}
	return list, nil
}
