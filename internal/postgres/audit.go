package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"claude-code-api-service/internal/audit"
)

// appendAudit is one statement for the same reasons as appendUsage.
const appendAudit = `
WITH turn AS MATERIALIZED (SELECT pg_advisory_xact_lock_shared($9, $10))
INSERT INTO audit (time, actor, address, action, target, project_id, detail, request_id)
SELECT time, actor, address, action, target, project_id, detail, request_id
FROM turn CROSS JOIN unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[])
	WITH ORDINALITY AS new (time, actor, address, action, target, project_id, detail, request_id, place)
ORDER BY place`

// AppendAudit implements audit.Store.
func (db *DB) AppendAudit(ctx context.Context, events []audit.Event) error {
	if len(events) == 0 {
		return nil
	}
	_, err := db.rest.Exec(ctx, appendAudit,
		column(events, func(e *audit.Event) time.Time { return e.Time }),
		column(events, func(e *audit.Event) string { return e.Actor }),
		column(events, func(e *audit.Event) string { return e.Address }),
		column(events, func(e *audit.Event) string { return e.Action }),
		column(events, func(e *audit.Event) string { return e.Target }),
		column(events, func(e *audit.Event) string { return e.Project }),
		column(events, func(e *audit.Event) string { return e.Detail }),
		column(events, func(e *audit.Event) string { return e.RequestID }),
		lockClass, auditLock)
	if err != nil {
		return db.failed(ctx, "insert audit events", err)
	}
	return nil
}

// ListAudit implements audit.Store.
func (db *DB) ListAudit(ctx context.Context, after int64, limit int, filter audit.Filter) ([]audit.Event, error) {
	if !storable(filter.Action, filter.Actor, filter.Project, filter.Key) {
		return nil, nil
	}
	last, err := lastID(ctx, db.rest, auditLock, "SELECT coalesce(max(id), 0) FROM audit")
	if err != nil {
		return nil, db.failed(ctx, "find the last audit event", err)
	}
	rows, _ := db.rest.Query(ctx, `SELECT id, time, actor, address, action, target, project_id, detail, request_id FROM audit
		WHERE id > $1 AND id <= $2 AND time >= $4 AND ($5 = '' OR action = $5) AND ($6 = '' OR project_id = $6)
			AND ($7 = '' OR actor = $7) AND ($8 = '' OR actor = $8 OR target = $8) ORDER BY id LIMIT $3`,
		after, last, limit, orInfinity(filter.Since, pgtype.NegativeInfinity), filter.Action, filter.Project, filter.Actor, filter.Key) // its error is that of the rows
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (audit.Event, error) {
		var e audit.Event
		err := row.Scan(&e.ID, &e.Time, &e.Actor, &e.Address, &e.Action, &e.Target, &e.Project, &e.Detail, &e.RequestID)
		e.Time = e.Time.UTC()
		return e, err
	})
	if err != nil {
		return nil, db.failed(ctx, "select audit events", err)
	}
	return events, nil
}
