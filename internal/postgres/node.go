package postgres

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

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

// Nodes implements cluster.Store.
func (db *DB) Nodes(ctx context.Context, ttl time.Duration) ([]cluster.Node, error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	rows, err := db.walk.Query(ctx, `SELECT id, expires_at - $1::interval FROM nodes WHERE expires_at > clock_timestamp() ORDER BY id`, ttl)
	if err != nil {
		return nil, db.failed(ctx, "select nodes", err)
	}
	nodes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[cluster.Node])
	if err != nil {
		return nil, db.failed(ctx, "select nodes", err)
	}
	return nodes, nil
}

// takeClaim gives whether the claim is the node's, and the note of the one that is
// there.
const takeClaim = `
WITH made AS (
	INSERT INTO claims (kind, key_id, id, node_id, note) VALUES ($1, $2, $3, $4, $5)
	ON CONFLICT (kind, key_id, id) DO UPDATE SET note = excluded.note WHERE claims.node_id = excluded.node_id RETURNING 1
)
SELECT (SELECT count(*) FROM made) = 1, coalesce((SELECT note FROM claims WHERE kind = $1 AND key_id = $2 AND id = $3), '')`

// Claim implements cluster.Store.
func (db *DB) Claim(ctx context.Context, c cluster.Claim) (held bool, note string, err error) {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	if err := db.walk.QueryRow(ctx, takeClaim, c.Kind, c.KeyID, c.ID, c.Node, c.Note).Scan(&held, &note); err != nil {
		return false, "", db.failed(ctx, "insert claim", orGone(err))
	}
	return held, note, nil
}

// orGone makes what the foreign key refused a cluster.ErrGone.
func orGone(err error) error {
	const foreignKeyViolation = "23503" // PostgreSQL's documentation, appendix A
	var e *pgconn.PgError
	if errors.As(err, &e) && e.Code == foreignKeyViolation {
		return errors.Join(cluster.ErrGone, err)
	}
	return err
}

// Release implements cluster.Store.
func (db *DB) Release(ctx context.Context, c cluster.Claim) error {
	ctx, cancel := context.WithTimeout(ctx, walkTimeout)
	defer cancel()
	_, err := db.walk.Exec(ctx, `DELETE FROM claims WHERE kind = $1 AND key_id = $2 AND id = $3 AND node_id = $4`, c.Kind, c.KeyID, c.ID, c.Node)
	if err != nil {
		return db.failed(ctx, "delete claim", err)
	}
	return nil
}
