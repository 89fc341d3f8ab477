package sqlite

import (
	"context"
	"database/sql"
	"fmt"

	"claude-code-api-service/internal/budget"
)

const budgetColumns = `owner_kind, owner_id, period, unit, hard, soft`

type budgetStatements struct {
	put, remove, byOwner, list *sql.Stmt
}

func (s *budgetStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`INSERT INTO budgets (` + budgetColumns + `) VALUES (?, ?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET hard = excluded.hard, soft = excluded.soft`: &s.put,
		`DELETE FROM budgets WHERE owner_kind = ? AND owner_id = ? AND period = ? AND unit = ?`: &s.remove,
	})
	if err != nil {
		return err
	}
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT ` + budgetColumns + ` FROM budgets WHERE owner_kind = ? AND owner_id = ?`: &s.byOwner,
		`SELECT ` + budgetColumns + ` FROM budgets`:                                       &s.list,
	})
}

// set writes or removes one budget.
func (s *budgetStatements) set(ctx context.Context, tx *sql.Tx, l budget.Limit) error {
	place := []any{string(l.Owner.Kind), l.Owner.ID, string(l.Period), string(l.Unit)}
	if l.Hard == 0 && l.Soft == 0 {
		if _, err := exec(ctx, tx.StmtContext(ctx, s.remove), place...); err != nil {
			return fmt.Errorf("delete budget: %w", err)
		}
		return nil
	}
	if _, err := exec(ctx, tx.StmtContext(ctx, s.put), append(place, l.Hard, l.Soft)...); err != nil {
		return fmt.Errorf("put budget: %w", err)
	}
	return nil
}

// SetBudget implements apikey.Store.
func (db *DB) SetBudget(ctx context.Context, limit budget.Limit) error {
	return db.change(ctx, func(tx *sql.Tx) error { return db.budgets.set(ctx, tx, limit) })
}

// Budgets implements apikey.Store.
func (db *DB) Budgets(ctx context.Context, owner budget.Owner) ([]budget.Limit, error) {
	return selectAll(ctx, "budgets", db.budgets.byOwner, scanBudget, string(owner.Kind), owner.ID)
}

// ListBudgets implements apikey.Store.
func (db *DB) ListBudgets(ctx context.Context) ([]budget.Limit, error) {
	return selectAll(ctx, "budgets", db.budgets.list, scanBudget)
}

func scanBudget(rows *sql.Rows) (budget.Limit, error) {
	var l budget.Limit
	var kind, period, unit string
	err := rows.Scan(&kind, &l.Owner.ID, &period, &unit, &l.Hard, &l.Soft)
	l.Owner.Kind, l.Period, l.Unit = budget.Kind(kind), budget.Period(period), budget.Unit(unit)
	return l, err
}
