package postgres

import (
	"context"

	"claude-code-api-service/internal/usage"
)

// AppendUsage is the statement of DB.AppendUsage, for tests that hold its
// transaction open.
const AppendUsage = appendUsage

// AppendUsageArgs are the arguments of AppendUsage.
func AppendUsageArgs(rows []usage.Row, sums []usage.Sum) []any {
	return append(append(usageArgs(rows), sumArgs(sums)...), lockClass, ledgerLock)
}

// Setting gives a setting of PostgreSQL as a statement of the walk sees it.
func Setting(ctx context.Context, db *DB, name string) (value string) {
	_ = db.walk.QueryRow(ctx, "SELECT current_setting($1)", name).Scan(&value) // "" is no setting
	return value
}
