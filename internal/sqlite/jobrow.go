package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/job"
)

// Job implements job.Store.
func (s *Jobs) Job(ctx context.Context, keyID, id string) (job.Job, error) {
	return oneJob(s.db.QueryRowContext(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = ? AND key_id = ?`, id, keyID), "select a job")
}

// Find implements job.Store.
func (s *Jobs) Find(ctx context.Context, id string) (job.Job, error) {
	return oneJob(s.db.QueryRowContext(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = ?`, id), "select a job")
}

// All implements job.Store.
func (s *Jobs) All(ctx context.Context, filter job.Filter) ([]job.Job, error) {
	ofState := `?2 = ''`
	if filter.State != "" {
		ofState = `state = ?2` // alone, so that an index serves it
	}
	return s.list(ctx, true, `SELECT `+jobHead+`, request, NULL, NULL FROM jobs WHERE (?1 = '' OR kind = ?1) AND `+ofState+`
		AND (?3 = '' OR seq < (SELECT seq FROM jobs WHERE id = ?3)) ORDER BY seq DESC LIMIT ?4`,
		string(filter.Kind), string(filter.State), filter.Before, filter.Limit)
}

// Count implements job.Store.
func (s *Jobs) Count(ctx context.Context) (queued, running int64, err error) {
	err = s.db.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM jobs WHERE state = 'queued'), (SELECT count(*) FROM jobs WHERE state = 'running')`).Scan(&queued, &running)
	if err != nil {
		return 0, 0, fmt.Errorf("count jobs: %w", err)
	}
	return queued, running, nil
}

// List implements job.Store.
func (s *Jobs) List(ctx context.Context, keyID string, filter job.Filter) ([]job.Job, error) {
	where := `key_id = ?1 AND (?3 = '' OR state = ?3)`
	if filter.State == job.Queued || filter.State == job.Running {
		where = `+key_id = ?1 AND state = ?3` // few jobs are in these, and an index finds them
	}
	return s.list(ctx, false, `SELECT `+jobHead+` FROM jobs WHERE `+where+` AND (?2 = '' OR kind = ?2)
		AND (?4 = '' OR seq < (SELECT seq FROM jobs WHERE id = ?4 AND key_id = ?1)) ORDER BY seq DESC LIMIT ?5`,
		keyID, string(filter.Kind), string(filter.State), filter.Before, filter.Limit)
}

func (s *Jobs) list(ctx context.Context, whole bool, query string, args ...any) ([]job.Job, error) {
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("select jobs: %w", err)
	}
	return allJobs(rows, whole)
}

func allJobs(rows *sql.Rows, whole bool) ([]job.Job, error) {
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var list []job.Job
	for rows.Next() {
		j, err := scanJob(rows.Scan, whole)
		if err != nil {
			return nil, fmt.Errorf("scan job: %w", err)
		}
		list = append(list, j)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select jobs: %w", err)
	}
	return list, nil
}

// Cancel implements job.Store.
func (s *Jobs) Cancel(ctx context.Context, keyID, id string, ttl time.Duration) (j job.Job, err error) {
	err = s.change(ctx, "cancel a job", func(tx *sql.Tx) error {
		t := now()
		result, err := tx.ExecContext(ctx, `UPDATE jobs SET cancelling = 1,
			category = iif(state = 'queued', ?, category), message = iif(state = 'queued', ?, message), ended_at = iif(state = 'queued', ?, NULL),
			expires_at = iif(state = 'queued', ?, NULL), state = iif(state = 'queued', 'cancelled', state)
			WHERE id = ? AND key_id = ? AND state IN ('queued', 'running')`,
			job.CategoryCancelled, job.ErrCancelled.Error(), t, t+ttl.Microseconds(), id, keyID)
		if err != nil {
			return err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return err
		}
		j, err = oneJob(tx.QueryRowContext(ctx, `SELECT `+jobColumns+` FROM jobs WHERE id = ? AND key_id = ?`, id, keyID), "select a job")
		if err == nil && changed == 0 {
			err = job.ErrEnded
		}
		return err
	})
	return j, err
}

// PutAnswer implements job.Store.
func (s *Jobs) PutAnswer(ctx context.Context, keyID, id string, n int, value jsontext.Value) error {
	return s.change(ctx, "answer a question", func(tx *sql.Tx) error {
		var seq int64
		var state job.State
		err := tx.QueryRowContext(ctx, `SELECT seq, state FROM jobs WHERE id = ? AND key_id = ?`, id, keyID).Scan(&seq, &state)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return job.ErrNotFound
		case err != nil:
			return err
		case state.Ended():
			return job.ErrEnded
		}
		result, err := tx.ExecContext(ctx, `INSERT INTO job_answers (job, n, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, seq, n, request(value))
		if err != nil {
			return err
		}
		kept, err := result.RowsAffected()
		if err == nil && kept == 0 {
			err = job.ErrAnswered
		}
		return err
	})
}

// Answer implements job.Store.
func (s *Jobs) Answer(ctx context.Context, id string, n int) (jsontext.Value, error) {
	var value []byte
	err := s.db.QueryRowContext(ctx, `SELECT value FROM job_answers WHERE job = (SELECT seq FROM jobs WHERE id = ?) AND n = ?`, id, n).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("select an answer: %w", err)
	}
	return value, nil
}

// Events implements job.Store. The job is looked at first: one that has ended gets no
// more events.
func (s *Jobs) Events(ctx context.Context, id string, after int64, limit int) ([]job.Event, bool, error) {
	var seq, total int64
	var state job.State
	err := s.db.QueryRowContext(ctx, `SELECT seq, events, state FROM jobs WHERE id = ?`, id).Scan(&seq, &total, &state)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, true, job.ErrNotFound
	}
	if err != nil {
		return nil, false, fmt.Errorf("select a job: %w", err)
	}
	if total <= after {
		return nil, state.Ended(), nil
	}
	rows, err := s.db.QueryContext(ctx, `SELECT seq, time, type, data FROM job_events WHERE job = ? AND seq > ? ORDER BY seq LIMIT ?`, seq, after, limit)
	if err != nil {
		return nil, false, fmt.Errorf("select events: %w", err)
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	var events []job.Event
	for rows.Next() {
		var e job.Event
		var at int64
		var data []byte
		if err := rows.Scan(&e.Seq, &at, &e.Type, &data); err != nil {
			return nil, false, fmt.Errorf("scan event: %w", err)
		}
		e.Time, e.Data = fromMicros(at), data
		events = append(events, e)
	}
	if err := rows.Err(); err != nil {
		return nil, false, fmt.Errorf("select events: %w", err)
	}
	return events, state.Ended() && after+int64(len(events)) >= total, nil
}

// Remove implements job.Store.
func (s *Jobs) Remove(ctx context.Context, keyID, id string) error {
	return s.change(ctx, "remove a job", func(tx *sql.Tx) error {
		var state job.State
		err := tx.QueryRowContext(ctx, `SELECT state FROM jobs WHERE id = ? AND key_id = ?`, id, keyID).Scan(&state)
		switch {
		case errors.Is(err, sql.ErrNoRows):
			return job.ErrNotFound
		case err != nil:
			return err
		case !state.Ended():
			return job.ErrRunning
		}
		_, err = tx.ExecContext(ctx, `DELETE FROM jobs WHERE id = ?`, id)
		return err
	})
}

// Renew implements job.Store.
func (s *Jobs) Renew(ctx context.Context, holds []job.Hold, lease time.Duration) (still []job.Hold, err error) {
	err = s.change(ctx, "renew leases", func(tx *sql.Tx) error {
		until := time.Now().Add(lease).UnixMicro()
		for _, h := range holds {
			err := tx.QueryRowContext(ctx, `UPDATE jobs SET lease_until = ?`+held+` RETURNING cancelling`, until, h.ID, h.Node, h.Attempt).Scan(&h.Cancelling)
			if errors.Is(err, sql.ErrNoRows) {
				continue
			}
			if err != nil {
				return err
			}
			still = append(still, h)
		}
		return nil
	})
	return still, err
}

// Recover implements job.Store.
func (s *Jobs) Recover(ctx context.Context, ttl time.Duration) (jobs []job.Job, err error) {
	var kinds []job.Kind
	err = s.change(ctx, "recover jobs", func(tx *sql.Tx) error {
		t := now()
		rows, err := tx.QueryContext(ctx, `UPDATE jobs SET lease_until = NULL, state = CASE WHEN cancelling THEN 'cancelled' WHEN attempt < max_attempts THEN 'queued' ELSE 'failed' END,
			due_at = ?1, category = CASE WHEN cancelling THEN ?2 WHEN attempt < max_attempts THEN '' ELSE ?3 END,
			message = CASE WHEN cancelling THEN ?4 WHEN attempt < max_attempts THEN '' ELSE ?5 END,
			ended_at = iif(cancelling OR attempt >= max_attempts, ?1, NULL), expires_at = iif(cancelling OR attempt >= max_attempts, ?1 + ?6, NULL)
			WHERE state = 'running' AND lease_until < ?1 RETURNING `+jobHead,
			t, job.CategoryCancelled, job.CategoryInterrupted, job.ErrCancelled.Error(), job.Interrupted, ttl.Microseconds())
		if err != nil {
			return err
		}
		if jobs, err = allJobs(rows, false); err != nil {
			return err
		}
		kinds, err = s.missing(ctx, tx, t)
		return err
	})
	for _, kind := range kinds {
		s.driver.bell.ring(kind)
	}
	return jobs, err
}

// missing makes the tickets that are missing for jobs that wait, and gives their kinds.
func (s *Jobs) missing(ctx context.Context, tx *sql.Tx, at int64) ([]job.Kind, error) {
	rows, err := tx.QueryContext(ctx, `SELECT kind, count(*) - (SELECT count(*) FROM river_job r WHERE r.queue = j.kind AND r.state = 'available') FROM jobs j
		WHERE state = 'queued' AND due_at <= ? GROUP BY kind`, at)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells what matters
	counts := map[job.Kind]int{}
	for rows.Next() {
		var kind job.Kind
		var count int
		if err := rows.Scan(&kind, &count); err != nil {
			return nil, err
		}
		counts[kind] = count
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	var kinds []job.Kind
	for kind, count := range counts {
		for range count {
			if err := s.ticket(ctx, tx, kind, time.Time{}); err != nil {
				return nil, err
			}
		}
		if count > 0 {
			kinds = append(kinds, kind)
		}
	}
	return kinds, nil
}

// Expired implements job.Store.
func (s *Jobs) Expired(ctx context.Context, limit int) ([]job.Job, error) {
	return s.list(ctx, true, `SELECT `+jobColumns+` FROM jobs WHERE expires_at <= ? ORDER BY expires_at LIMIT ?`, now(), limit)
}
