package sqlite

import (
	"context"
	"database/sql"
	"fmt"
	"math"

	"claude-code-api-service/internal/audit"
)

const auditColumns = `time, actor, address, action, target, project_id, detail, request_id`

type auditStatements struct {
	insert, list, newest *sql.Stmt
}

var _ audit.Store = (*DB)(nil)

func (s *auditStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`INSERT INTO audit (` + auditColumns + `) VALUES (?, ?, ?, ?, ?, ?, ?, ?)`: &s.insert,
	})
	if err != nil {
		return err
	}
	const chosen = ` AND time >= ?3 AND (?4 = '' OR action = ?4) AND (?5 = '' OR project_id = ?5)
				AND (?6 = '' OR actor = ?6) AND (?7 = '' OR actor = ?7 OR target = ?7) ORDER BY id`
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT id, ` + auditColumns + ` FROM audit WHERE id > ?1` + chosen + ` LIMIT ?2`:      &s.list,
		`SELECT id, ` + auditColumns + ` FROM audit WHERE id < ?1` + chosen + ` DESC LIMIT ?2`: &s.newest,
	})
}

// AppendAudit implements audit.Store.
func (db *DB) AppendAudit(ctx context.Context, events []audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	tx, err := db.write.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()           // does nothing after the commit
	insert := tx.StmtContext(ctx, db.audit.insert) //nolint:sqlclosecheck // the transaction closes it
	for _, e := range events {
		_, err := insert.ExecContext(ctx, e.Time.UnixMicro(), e.Actor, e.Address, e.Action, e.Target, e.Project, e.Detail, e.RequestID)
		if err != nil {
			return fmt.Errorf("insert audit event: %w", err)
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// ListAudit implements audit.Store.
func (db *DB) ListAudit(ctx context.Context, after int64, limit int, filter audit.Filter) ([]audit.Event, error) {
	return listAudit(ctx, db.audit.list, after, limit, filter)
}

// NewestAudit implements audit.Store.
func (db *DB) NewestAudit(ctx context.Context, before int64, limit int, filter audit.Filter) ([]audit.Event, error) {
	if before == 0 {
		before = math.MaxInt64
	}
	return listAudit(ctx, db.audit.newest, before, limit, filter)
}

func listAudit(ctx context.Context, statement *sql.Stmt, beyond int64, limit int, filter audit.Filter) ([]audit.Event, error) {
	since := int64(0)
	if !filter.Since.IsZero() {
		since = filter.Since.UnixMicro()
	}
	rows, err := statement.QueryContext(ctx, beyond, limit, since, filter.Action, filter.Project, filter.Actor, filter.Key)
	if err != nil {
		return nil, fmt.Errorf("select audit events: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []audit.Event
	for rows.Next() {
		var e audit.Event
		var at int64
		if err := rows.Scan(&e.ID, &at, &e.Actor, &e.Address, &e.Action, &e.Target, &e.Project, &e.Detail, &e.RequestID); err != nil {
			return nil, fmt.Errorf("scan audit event: %w", err)
		}
		e.Time = fromMicros(at)
		list = append(list, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select audit events: %w", err)
	}
	return list, nil
}
