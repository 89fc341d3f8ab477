package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Whoever pages through the ledger or the audit log by id must not miss a row:
// ids rise as rows are written, but a transaction with a smaller id may be
// committed after one with a larger id. So writers hold a lock, which they share,
// from before their first id to their commit, and a reader takes it alone for a
// moment to read the last id: below it nothing is under way any more.
//
// The locks are advisory: PostgreSQL keeps them by number for each database.
// lockClass is an arbitrary number that tells them from those of other programs.
const (
	lockClass  = 0x636c6175 // "clau"
	ledgerLock = 1
	auditLock  = 2
)

// lockAlone takes a lock alone, up to the transaction's end.
const lockAlone = "SELECT pg_advisory_xact_lock($1, $2)"

// lastID takes the lock and gives the last id, in one transaction and one round
// trip. query reads the largest id of a table.
func lastID(ctx context.Context, pool *pgxpool.Pool, lock int, query string) (id int64, err error) {
	var batch pgx.Batch
	batch.Queue(lockAlone, lockClass, lock)
	batch.Queue(query).QueryRow(func(row pgx.Row) error { return row.Scan(&id) })
	err = pool.SendBatch(ctx, &batch).Close()
	return id, err
}
