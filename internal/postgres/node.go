package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/cluster"
)

var _ cluster.Store = (*DB)(nil)

// JoinNode implements cluster.Store.
func (db *DB) JoinNode(ctx context.Context, id string, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	_, err := db.walk.Exec(ctx, `INSERT INTO nodes (id, joined_at, expires_at) VALUES ($1, clock_timestamp(), clock_timestamp() + $2)`, id, ttl)
	if err != nil {
		return db.failed(ctx, "insert node", err)
	}
	return nil
}

// renewNode finds a node's row only while its time isn't over.
const renewNode = `UPDATE nodes SET expires_at = clock_timestamp() + $2 WHERE id = $1 AND expires_at > clock_timestamp()`

// deleteDeadNodes leaves those to another node that another node is at. A row that is
// being renewed isn't touched: whoever lives keeps it.
const deleteDeadNodes = `DELETE FROM nodes WHERE id IN (
	SELECT id FROM nodes WHERE expires_at <= clock_timestamp() ORDER BY id LIMIT 100 FOR UPDATE SKIP LOCKED)`

// RenewNode implements cluster.Store. It removes the rows of nodes whose time is
// over, in the same round trip.
func (db *DB) RenewNode(ctx context.Context, id string, ttl time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	var renewed int64
	var batch pgx.Batch
	batch.Queue(renewNode, id, ttl)
	batch.Queue(deleteDeadNodes)
	results := db.walk.SendBatch(ctx, &batch)
	tag, err := results.Exec()
	if err == nil {
		renewed = tag.RowsAffected()
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	switch {
	case err != nil:
		return db.failed(ctx, "renew node", err)
	case renewed == 0:
		return cluster.ErrGone
	}
	return nil
}

// LeaveNode implements cluster.Store.
func (db *DB) LeaveNode(ctx context.Context, id string) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	if _, err := db.walk.Exec(ctx, `DELETE FROM nodes WHERE id = $1`, id); err != nil {
		return db.failed(ctx, "delete node", err)
	}
	return nil
}
