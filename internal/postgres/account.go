package postgres

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
)

var _ apikey.Store = (*DB)(nil)

// accountByHash gives one row for each budget, and one where there is none.
const accountByHash = `SELECT ` + keyColumns + `, k.hash <> $1, CASE WHEN k.hash = $1 THEN k.hash ELSE k.former_hash END,
	coalesce(p.time_zone, ''), coalesce(p.requests_per_minute, 0), coalesce(p.tokens_per_minute, 0), coalesce(p.concurrent_requests, 0),
	r.name, r.permissions, coalesce(b.owner_kind, ''), coalesce(b.owner_id, ''), coalesce(b.period, ''), coalesce(b.unit, ''),
	coalesce(b.hard, 0), coalesce(b.soft, 0)
	FROM api_keys k
	LEFT JOIN projects p ON p.id = k.project_id
	LEFT JOIN profiles r ON r.name = k.profile
	LEFT JOIN budgets b ON (b.owner_kind = 'key' AND b.owner_id = k.id) OR (b.owner_kind = 'project' AND b.owner_id = k.project_id)
	WHERE k.hash = $1 OR k.former_hash = $1`

// AccountByHash implements apikey.Store.
func (db *DB) AccountByHash(ctx context.Context, hash apikey.Hash) (apikey.Account, error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	rows, _ := db.walk.Query(ctx, accountByHash, hash[:]) // its error is that of the rows
	list, err := pgx.CollectRows(rows, scanAccount)
	if err != nil {
		return apikey.Account{}, db.failed(ctx, "select account", err)
	}
	if len(list) == 0 {
		return apikey.Account{}, apikey.ErrNotFound
	}
	account := list[0]
	for _, other := range list[1:] {
		account.Budgets = append(account.Budgets, other.Budgets...)
	}
	return account, nil
}

// scanAccount gives an account with one of its budgets, if it has any.
func scanAccount(row pgx.CollectableRow) (apikey.Account, error) {
	var a apikey.Account
	var stored []byte
	var profile, permissions *string
	var limit budget.Limit
	limits := &a.Project.Limits
	err := row.Scan(append(keyFields(&a.Key), &a.Former, &stored,
		&a.Project.TimeZone, &limits.RequestsPerMinute, &limits.TokensPerMinute, &limits.ConcurrentRequests, &profile, &permissions,
		&limit.Owner.Kind, &limit.Owner.ID, &limit.Period, &limit.Unit, &limit.Hard, &limit.Soft)...)
	if err != nil {
		return apikey.Account{}, err
	}
	inUTC(&a.Key)
	a.Hash, a.Project.ID = apikey.Hash(stored), a.Key.ProjectID
	if limit.Owner.Kind != "" {
		a.Budgets = []budget.Limit{limit}
	}
	if profile != nil {
		a.Profile, err = profileOf(*profile, *permissions)
	}
	return a, err
}

// profileOf reads a stored profile. What can't be read is the database's fault,
// not the caller's.
func profileOf(name, permissions string) (apikey.Profile, error) {
	parsed, err := apikey.ParsePermissions([]byte(permissions))
	if err != nil {
		return apikey.Profile{}, errors.New("profile " + name + ": " + err.Error())
	}
	return apikey.Profile{Name: name, Permissions: parsed}, nil
}

const budgetColumns = `owner_kind, owner_id, period, unit, hard, soft`

// SetBudget implements apikey.Store.
func (db *DB) SetBudget(ctx context.Context, limit budget.Limit) error {
	args := []any{string(limit.Owner.Kind), limit.Owner.ID, string(limit.Period), string(limit.Unit)}
	query := `DELETE FROM budgets WHERE owner_kind = $1 AND owner_id = $2 AND period = $3 AND unit = $4`
	if limit.Hard != 0 || limit.Soft != 0 {
		query = `INSERT INTO budgets (` + budgetColumns + `) VALUES ($1, $2, $3, $4, $5, $6)
			ON CONFLICT (owner_kind, owner_id, period, unit) DO UPDATE SET hard = excluded.hard, soft = excluded.soft`
		args = append(args, limit.Hard, limit.Soft)
	}
	if _, err := db.rest.Exec(ctx, query, args...); err != nil {
		return db.failed(ctx, "set budget", err)
	}
	return nil
}

// Budgets implements apikey.Store.
func (db *DB) Budgets(ctx context.Context, owner budget.Owner) ([]budget.Limit, error) {
	if !storable(owner.ID) {
		return nil, nil
	}
	return selectAll(ctx, db, "budgets", scanBudget, `SELECT `+budgetColumns+` FROM budgets WHERE owner_kind = $1 AND owner_id = $2`,
		string(owner.Kind), owner.ID)
}

// ListBudgets implements apikey.Store.
func (db *DB) ListBudgets(ctx context.Context) ([]budget.Limit, error) {
	return selectAll(ctx, db, "budgets", scanBudget, `SELECT `+budgetColumns+` FROM budgets`)
}

func scanBudget(row pgx.CollectableRow) (budget.Limit, error) {
	var b budget.Limit
	err := row.Scan(&b.Owner.Kind, &b.Owner.ID, &b.Period, &b.Unit, &b.Hard, &b.Soft)
	return b, err
}
