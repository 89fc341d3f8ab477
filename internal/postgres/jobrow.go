package postgres

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/job"
)

// Job implements job.Store.
func (s *Jobs) Job(ctx context.Context, keyID, id string) (job.Job, error) {
	if !storable(keyID, id) {
		return job.Job{}, job.ErrNotFound
	}
	j, err := scanJob(s.pool.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = $1 AND key_id = $2`, id, keyID), true)
	return j, s.found(ctx, "select a job", err)
}

// found is failed where there is an error, and job.ErrNotFound where there is no row.
func (s *Jobs) found(ctx context.Context, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pgx.ErrNoRows):
		return job.ErrNotFound
	}
	return s.failed(ctx, what, err)
}

// Find implements job.Store.
func (s *Jobs) Find(ctx context.Context, id string) (job.Job, error) {
	if !storable(id) {
		return job.Job{}, job.ErrNotFound
	}
	j, err := scanJob(s.pool.QueryRow(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = $1`, id), true)
	return j, s.found(ctx, "select a job", err)
}

// All implements job.Store.
func (s *Jobs) All(ctx context.Context, filter job.Filter) ([]job.Job, error) {
	if !storable(string(filter.Kind), string(filter.State), filter.Before) {
		return nil, nil
	}
	ofState := `$2 = ''`
	if filter.State != "" {
		ofState = `state = $2` // alone, so that an index serves it
	}
	return s.list(ctx, scanWholeJob, `SELECT `+jobHead+`, request, NULL::bytea, NULL::bytea FROM jobs WHERE ($1 = '' OR kind = $1) AND `+ofState+`
		AND ($3 = '' OR seq < (SELECT seq FROM jobs WHERE id = $3)) ORDER BY seq DESC LIMIT $4`,
		filter.Kind, filter.State, filter.Before, filter.Limit)
}

// Count implements job.Store.
func (s *Jobs) Count(ctx context.Context) (queued, running int64, err error) {
	err = s.pool.QueryRow(ctx, `SELECT (SELECT count(*) FROM jobs WHERE state = 'queued'), (SELECT count(*) FROM jobs WHERE state = 'running')`).Scan(&queued, &running)
	if err != nil {
		return 0, 0, s.failed(ctx, "count jobs", err)
	}
	return queued, running, nil
}

// List implements job.Store.
func (s *Jobs) List(ctx context.Context, keyID string, filter job.Filter) ([]job.Job, error) {
	if !storable(keyID, string(filter.Kind), string(filter.State), filter.Before) {
		return nil, nil
	}
	return s.list(ctx, scanJobHead, `SELECT `+jobHead+` FROM jobs WHERE key_id = $1 AND ($2 = '' OR kind = $2) AND ($3 = '' OR state = $3)
		AND ($4 = '' OR seq < (SELECT seq FROM jobs WHERE id = $4 AND key_id = $1)) ORDER BY seq DESC LIMIT $5`,
		keyID, filter.Kind, filter.State, filter.Before, filter.Limit)
}

func (s *Jobs) list(ctx context.Context, scan pgx.RowToFunc[job.Job], query string, args ...any) ([]job.Job, error) {
	rows, _ := s.pool.Query(ctx, query, args...) // its error is that of the rows
	list, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, s.failed(ctx, "select jobs", err)
	}
	return list, nil
}

// Cancel implements job.Store.
func (s *Jobs) Cancel(ctx context.Context, keyID, id string, ttl time.Duration) (job.Job, error) {
	if !storable(keyID, id) {
		return job.Job{}, job.ErrNotFound
	}
	j, err := scanJob(s.pool.QueryRow(ctx, `UPDATE jobs SET cancelling = true, state = CASE state WHEN 'queued' THEN 'cancelled' ELSE state END,
			category = CASE state WHEN 'queued' THEN $3 ELSE category END, message = CASE state WHEN 'queued' THEN $4 ELSE message END,
			ended_at = CASE state WHEN 'queued' THEN now() END, expires_at = CASE state WHEN 'queued' THEN now() + $5::interval END
		WHERE id = $1 AND key_id = $2 AND state IN ('queued', 'running') RETURNING `+jobColumns,
		id, keyID, job.CategoryCancelled, job.ErrCancelled.Error(), ttl), true)
	if errors.Is(err, pgx.ErrNoRows) {
		if j, err = s.Job(ctx, keyID, id); err == nil {
			err = job.ErrEnded
		}
		return j, err
	}
	return j, s.found(ctx, "cancel a job", err)
}

// PutAnswer implements job.Store.
func (s *Jobs) PutAnswer(ctx context.Context, keyID, id string, n int, value jsontext.Value) error {
	if !storable(keyID, id) {
		return job.ErrNotFound
	}
	return s.change(ctx, "answer a question", func(tx pgx.Tx) error {
		var seq int64
		var state job.State
		var answered bool
		err := tx.QueryRow(ctx, `SELECT seq, state, EXISTS (SELECT FROM job_answers a WHERE a.job = seq AND a.n = $3) FROM jobs WHERE id = $1 AND key_id = $2 FOR SHARE`,
			id, keyID, n).Scan(&seq, &state, &answered)
		switch {
		case errors.Is(err, pgx.ErrNoRows):
			return job.ErrNotFound
		case err != nil:
			return err
		case state.Ended():
			return job.ErrEnded
		case answered:
			return job.ErrAnswered
		}
		tag, err := tx.Exec(ctx, `INSERT INTO job_answers (job, n, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, seq, n, request(value))
		if err == nil && tag.RowsAffected() == 0 {
			return job.ErrAnswered
		}
		return err
	})
}

// Answer implements job.Store.
func (s *Jobs) Answer(ctx context.Context, id string, n int) (jsontext.Value, error) {
	var value []byte
	err := s.pool.QueryRow(ctx, `SELECT value FROM job_answers WHERE job = (SELECT seq FROM jobs WHERE id = $1) AND n = $2`, id, n).Scan(&value)
	if err != nil && !errors.Is(err, pgx.ErrNoRows) {
		return nil, s.failed(ctx, "select an answer", err)
	}
	return value, nil
}

// Events implements job.Store. The job is looked at first: one that has ended gets no
// more events.
func (s *Jobs) Events(ctx context.Context, id string, after int64, limit int) ([]job.Event, bool, error) {
	if !storable(id) {
		return nil, true, job.ErrNotFound
	}
	var seq, total int64
	var state job.State
	err := s.pool.QueryRow(ctx, `SELECT seq, events, state FROM jobs WHERE id = $1`, id).Scan(&seq, &total, &state)
	if err != nil {
		return nil, errors.Is(err, pgx.ErrNoRows), s.found(ctx, "select a job", err)
	}
	if total <= after {
		return nil, state.Ended(), nil
	}
	rows, _ := s.pool.Query(ctx, `SELECT seq, time, type, data FROM job_events WHERE job = $1 AND seq > $2 ORDER BY seq LIMIT $3`, seq, after, limit) // its error is that of the rows
	events, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (job.Event, error) {
		var e job.Event
		var data []byte
		err := row.Scan(&e.Seq, &e.Time, &e.Type, &data)
		e.Time, e.Data = e.Time.UTC(), data
		return e, err
	})
	if err != nil {
		return nil, false, s.failed(ctx, "select events", err)
	}
	return events, state.Ended() && after+int64(len(events)) >= total, nil
}

// Remove implements job.Store.
func (s *Jobs) Remove(ctx context.Context, keyID, id string) error {
	tag, err := s.pool.Exec(ctx, `DELETE FROM jobs WHERE id = $1 AND key_id = $2 AND state IN ('completed', 'failed', 'cancelled')`, id, keyID)
	if err != nil {
		return s.failed(ctx, "remove a job", err)
	}
	if tag.RowsAffected() > 0 {
		return nil
	}
	if _, err := s.Job(ctx, keyID, id); err != nil {
		return err
	}
	return job.ErrRunning
}

// Renew implements job.Store. Rows are locked in one order, whoever renews.
func (s *Jobs) Renew(ctx context.Context, holds []job.Hold, lease time.Duration) ([]job.Hold, error) {
	rows, _ := s.pool.Query(ctx, `WITH mine AS (SELECT j.seq FROM jobs j JOIN unnest($1::text[], $2::text[], $3::bigint[]) AS h (id, node, attempt)
			ON j.id = h.id AND j.node = h.node AND j.attempt = h.attempt AND j.state = 'running' ORDER BY j.seq FOR UPDATE OF j)
		UPDATE jobs SET lease_until = now() + $4::interval FROM mine WHERE jobs.seq = mine.seq RETURNING id, node, attempt, cancelling`,
		column(holds, func(h *job.Hold) string { return h.ID }),
		column(holds, func(h *job.Hold) string { return h.Node }),
		column(holds, func(h *job.Hold) int64 { return int64(h.Attempt) }), lease) // its error is that of the rows
	still, err := pgx.CollectRows(rows, pgx.RowToStructByPos[job.Hold])
	if err != nil {
		return nil, s.failed(ctx, "renew leases", err)
	}
	return still, nil
}

// recoverJobs leaves alone what another node is just looking at.
const recoverJobs = `WITH lost AS (SELECT seq FROM jobs WHERE state = 'running' AND lease_until < now() ORDER BY seq FOR UPDATE SKIP LOCKED)
	UPDATE jobs SET lease_until = NULL, due_at = now(),
		state = CASE WHEN cancelling THEN 'cancelled' WHEN attempt < max_attempts THEN 'queued' ELSE 'failed' END,
		category = CASE WHEN cancelling THEN $1 WHEN attempt < max_attempts THEN '' ELSE $2 END,
		message = CASE WHEN cancelling THEN $3 WHEN attempt < max_attempts THEN '' ELSE $4 END,
		ended_at = CASE WHEN cancelling OR attempt >= max_attempts THEN now() END,
		expires_at = CASE WHEN cancelling OR attempt >= max_attempts THEN now() + $5::interval END
	FROM lost WHERE jobs.seq = lost.seq RETURNING ` + jobHead

// missing counts the tickets that are missing for the jobs that wait. River's tables are in
// the schema %s.
const missing = `SELECT kind, count(*) - (SELECT count(*) FROM %s.river_job r WHERE r.queue = j.kind AND r.state = 'available') FROM jobs j
	WHERE state = 'queued' AND due_at <= now() GROUP BY kind`

// Recover implements job.Store.
func (s *Jobs) Recover(ctx context.Context, ttl time.Duration) (jobs []job.Job, err error) {
	err = s.change(ctx, "recover jobs", func(tx pgx.Tx) error {
		rows, _ := tx.Query(ctx, recoverJobs, job.CategoryCancelled, job.CategoryInterrupted, job.ErrCancelled.Error(), job.Interrupted, ttl) // its error is that of the rows
		if jobs, err = pgx.CollectRows(rows, scanJobHead); err != nil {
			return err
		}
		counts := map[job.Kind]int{}
		var kind job.Kind
		var count int
		rows, _ = tx.Query(ctx, fmt.Sprintf(missing, pgx.Identifier{s.schema}.Sanitize())) // its error is that of the rows
		if _, err := pgx.ForEachRow(rows, []any{&kind, &count}, func() error { counts[kind] = count; return nil }); err != nil {
			return err
		}
		for kind, count := range counts {
			if count > 0 {
				if err := s.ticket(ctx, tx, kind, time.Time{}, count); err != nil {
					return err
				}
			}
		}
		return nil
	})
	return jobs, err
}

// Expired implements job.Store.
func (s *Jobs) Expired(ctx context.Context, limit int) ([]job.Job, error) {
	return s.list(ctx, scanWholeJob, `SELECT `+jobColumns+` FROM jobs WHERE expires_at <= now() ORDER BY expires_at LIMIT $1`, limit)
}
