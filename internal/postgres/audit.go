package postgres

import (
	"context"
	"math"
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
	return db.listAudit(ctx, chooseAudit+`id > $7 AND id <= $8 ORDER BY id LIMIT $1`, limit, filter, after, last)
}

// NewestAudit implements audit.Store. An event that is under way comes with the next look.
func (db *DB) NewestAudit(ctx context.Context, before int64, limit int, filter audit.Filter) ([]audit.Event, error) {
	if !storable(filter.Action, filter.Actor, filter.Project, filter.Key) {
		return nil, nil
	}
	if before == 0 {
		before = math.MaxInt64
	}
	return db.listAudit(ctx, chooseAudit+`id < $7 ORDER BY id DESC LIMIT $1`, limit, filter, before)
}

const chooseAudit = `SELECT id, time, actor, address, action, target, project_id, detail, request_id FROM audit
	WHERE time >= $2 AND ($3 = '' OR action = $3) AND ($4 = '' OR project_id = $4)
		AND ($5 = '' OR actor = $5) AND ($6 = '' OR actor = $6 OR target = $6) AND `

func (db *DB) listAudit(ctx context.Context, query string, limit int, filter audit.Filter, ids ...any) ([]audit.Event, error) {
	args := append([]any{limit, orInfinity(filter.Since, pgtype.NegativeInfinity), filter.Action, filter.Project, filter.Actor, filter.Key}, ids...)
	rows, _ := db.rest.Query(ctx, query, args...) // its error is that of the rows
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
