package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivermigrate"

	"claude-code-api-service/internal/job"
)

// JobOptions say how the file of jobs is opened.
type JobOptions struct {
	Path        string // as in Options; a file of its own
	Synchronous string // as in Options
	// Log hears what River says of its migrations; nil is silent.
	Log *slog.Logger
	// MaxPages bounds the file, in pages of 4 KiB; 0: only the disk does.
	MaxPages int
}

// Jobs is an open file of jobs, over one connection. Several processes may submit, read
// and run jobs of their own requests at the same time; the queue is one process's. It is
// a job.Store, safe for concurrent use.
type Jobs struct {
	db      *sql.DB
	path    string
	driver  *driver
	tickets *river.Client[*sql.Tx] // inserts only

	closeOnce sync.Once
	closeErr  error
}

var _ job.Store = (*Jobs)(nil)

// OpenJobs opens the file, as Open does, and brings both River's tables and this program's to
// their newest schema.
func OpenJobs(ctx context.Context, options JobOptions) (*Jobs, error) {
	o := Options{Path: options.Path, Synchronous: options.Synchronous}
	if err := o.complete(); err != nil {
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	jobs, err := openJobs(ctx, o, options)
	if err != nil {
		return nil, fmt.Errorf("open jobs %s: %w", o.Path, err)
	}
	return jobs, nil
}

func openJobs(ctx context.Context, o Options, options JobOptions) (jobs *Jobs, err error) {
	lock, err := prepareFile(ctx, o.Path)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	settings := url.Values{"_journal_mode": {"WAL"}, "_synchronous": {o.Synchronous}, "_foreign_keys": {"1"}, "_txlock": {"immediate"}}
	if options.MaxPages > 0 {
		settings.Set("_pragma", fmt.Sprintf("max_page_count(%d)", options.MaxPages))
	}
	db, err := pool(o, 1, settings)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			jobs, err = nil, errors.Join(err, db.Close())
		}
	}()
	provider, err := migratorOf(db, jobMigrations, "jobmigrations")
	if err != nil {
		return nil, err
	}
	if err := bringForward(ctx, provider); err != nil {
		return nil, err
	}
	driver := newDriver(db)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: options.Log})
	if err != nil {
		return nil, fmt.Errorf("read River's migrations: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("migrate River: %w", err)
	}
	tickets, err := river.NewClient(driver, &river.Config{Logger: options.Log})
	if err != nil {
		return nil, fmt.Errorf("make River's client: %w", err)
	}
	return &Jobs{db: db, path: o.Path, driver: driver, tickets: tickets}, nil
}

// Close ends the use of the file. It may be called more than once.
func (s *Jobs) Close() error {
	s.closeOnce.Do(func() { s.closeErr = s.db.Close() })
	return s.closeErr
}

// change makes several changes or none.
func (s *Jobs) change(ctx context.Context, what string, do func(tx *sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("%s: begin: %w", what, err)
	}
	defer func() { _ = tx.Rollback() }() // does nothing after the commit
	if err := do(tx); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%s: commit: %w", what, err)
	}
	return nil
}

// ticket makes one for a job that is due at a time, zero: now.
func (s *Jobs) ticket(ctx context.Context, tx *sql.Tx, kind job.Kind, at time.Time) error {
	if _, err := s.tickets.InsertTx(ctx, tx, job.Ticket{}, job.Ticket{}.Options(kind, at)); err != nil {
		return fmt.Errorf("insert a ticket: %w", err)
	}
	return nil
}

const (
	jobHead = `id, kind, key_id, project_id, priority, state, category, message, attempt, max_attempts, node, cancelling,
		created_at, started_at, ended_at, expires_at`
	jobColumns = jobHead + `, request, progress, result`
)

// scanJob takes the columns of jobHead, and those of jobColumns where whole says so.
func scanJob(scan func(dest ...any) error, whole bool) (job.Job, error) {
	var j job.Job
	var created int64
	var started, ended, expires sql.Null[int64]
	fields := []any{
		&j.ID, &j.Kind, &j.KeyID, &j.ProjectID, &j.Priority, &j.State, &j.Category, &j.Message, &j.Attempt, &j.MaxAttempts, &j.Node, &j.Cancelling,
		&created, &started, &ended, &expires,
	}
	var request, progress, result []byte
	if whole {
		fields = append(fields, &request, &progress, &result)
	}
	err := scan(fields...)
	j.Request, j.Progress, j.Result = request, progress, result
	j.Created, j.Started, j.Ended, j.Expires = fromMicros(created), orZero(started), orZero(ended), orZero(expires)
	return j, err
}

func orZero(us sql.Null[int64]) time.Time {
	if !us.Valid {
		return time.Time{}
	}
	return fromMicros(us.V)
}

// now is the store's time.
func now() int64 { return time.Now().UnixMicro() }

// request is never NULL.
func request(v jsontext.Value) []byte {
	if v == nil {
		return []byte("null")
	}
	return v
}

// orNull keeps nil as NULL.
func orNull(v jsontext.Value) any {
	if v == nil {
		return nil
	}
	return []byte(v)
}

// Submit implements job.Store.
func (s *Jobs) Submit(ctx context.Context, j job.Job) (kept job.Job, err error) {
	err = s.change(ctx, "submit", func(tx *sql.Tx) error {
		t := now()
		row := tx.QueryRowContext(ctx, `INSERT INTO jobs (id, kind, key_id, project_id, priority, state, request, progress, attempt, max_attempts, from_queue, created_at, due_at)
			VALUES (?, ?, ?, ?, ?, 'queued', ?, ?, 0, ?, 1, ?, ?) RETURNING `+jobColumns,
			j.ID, j.Kind, j.KeyID, j.ProjectID, j.Priority, request(j.Request), orNull(j.Progress), j.MaxAttempts, t, t)
		if kept, err = scanJob(row.Scan, true); err != nil {
			return orExists(err)
		}
		return s.ticket(ctx, tx, j.Kind, time.Time{})
	})
	if err == nil {
		s.driver.bell.ring(j.Kind)
	}
	return kept, err
}

// orExists makes what a unique index refused a job.ErrExists.
func orExists(err error) error {
	if isUniqueViolation(err) {
		return job.ErrExists
	}
	return err
}

// Begin implements job.Store.
func (s *Jobs) Begin(ctx context.Context, j job.Job, lease time.Duration) (job.Job, error) {
	t := now()
	row := s.db.QueryRowContext(ctx, `INSERT INTO jobs (id, kind, key_id, project_id, priority, state, request, progress, attempt, max_attempts, node, from_queue,
		created_at, due_at, started_at, lease_until) VALUES (?, ?, ?, ?, ?, 'running', ?, ?, ?, ?, ?, 0, ?, ?, ?, ?) RETURNING `+jobColumns,
		j.ID, j.Kind, j.KeyID, j.ProjectID, j.Priority, request(j.Request), orNull(j.Progress), j.Attempt, j.MaxAttempts, j.Node, t, t, t, t+lease.Microseconds())
	kept, err := scanJob(row.Scan, true)
	if err != nil {
		return job.Job{}, fmt.Errorf("begin a job: %w", orExists(err))
	}
	return kept, nil
}

// claim first finds the oldest job of each key and priority, in an index, and then the one
// among these whose turn it is.
const claim = `UPDATE jobs SET state = 'running', node = ?2, attempt = attempt + 1, started_at = ?3, lease_until = ?4 WHERE seq = (
	SELECT j.seq FROM (SELECT min(seq) AS seq FROM jobs WHERE kind = ?1 AND state = 'queued' AND due_at <= ?3 GROUP BY key_id, priority) w JOIN jobs j ON j.seq = w.seq
	ORDER BY (SELECT count(*) FROM jobs r WHERE r.kind = ?1 AND r.key_id = j.key_id AND r.state = 'running'),
		coalesce((SELECT max(r.started_at) FROM jobs r WHERE r.kind = ?1 AND r.key_id = j.key_id), 0),
		max(1, j.priority - (?3 - j.created_at) / ?5), j.seq LIMIT 1)
	RETURNING ` + jobColumns

// Claim implements job.Store.
func (s *Jobs) Claim(ctx context.Context, kind job.Kind, node string, lease time.Duration) (job.Job, error) {
	t := now()
	return oneJob(s.db.QueryRowContext(ctx, claim, kind, node, t, t+lease.Microseconds(), job.AgeEvery.Microseconds()), "claim a job")
}

// oneJob reads a row of jobColumns, or gives job.ErrNotFound.
func oneJob(row *sql.Row, what string) (job.Job, error) {
	j, err := scanJob(row.Scan, true)
	if errors.Is(err, sql.ErrNoRows) {
		return job.Job{}, job.ErrNotFound
	}
	if err != nil {
		return job.Job{}, fmt.Errorf("%s: %w", what, err)
	}
	return j, nil
}

// held is the condition of a run's writes.
const held = ` WHERE id = ? AND node = ? AND attempt = ? AND state = 'running'`

// write changes the row of a run, or gives job.ErrLost.
func write(ctx context.Context, tx interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}, h job.Hold, set string, args ...any) error {
	result, err := tx.ExecContext(ctx, `UPDATE jobs SET `+set+held, append(args, h.ID, h.Node, h.Attempt)...)
	if err != nil {
		return err
	}
	n, err := result.RowsAffected()
	if err == nil && n == 0 {
		return job.ErrLost
	}
	return err
}

// Requeue implements job.Store.
func (s *Jobs) Requeue(ctx context.Context, h job.Hold, after time.Duration, free bool) error {
	var kind job.Kind
	err := s.change(ctx, "requeue", func(tx *sql.Tx) error {
		due := time.Now().Add(after)
		if err := write(ctx, tx, h, `state = 'queued', lease_until = NULL, due_at = ?, max_attempts = max_attempts + ?`, due.UnixMicro(), free); err != nil {
			return err
		}
		var cancelling bool
		if err := tx.QueryRowContext(ctx, `SELECT kind, cancelling FROM jobs WHERE id = ?`, h.ID).Scan(&kind, &cancelling); err != nil {
			return err
		}
		if cancelling {
			return job.ErrCancelled
		}
		if after == 0 {
			due = time.Time{}
		}
		return s.ticket(ctx, tx, kind, due)
	})
	if err == nil && after == 0 {
		s.driver.bell.ring(kind)
	}
	return err
}

// Append implements job.Store.
func (s *Jobs) Append(ctx context.Context, h job.Hold, events []job.Event) (first int64, err error) {
	err = s.change(ctx, "append events", func(tx *sql.Tx) error {
		var seq, last int64
		err := tx.QueryRowContext(ctx, `UPDATE jobs SET events = events + ?`+held+` RETURNING seq, events`, len(events), h.ID, h.Node, h.Attempt).Scan(&seq, &last)
		if errors.Is(err, sql.ErrNoRows) {
			return job.ErrLost
		}
		if err != nil {
			return err
		}
		first = last - int64(len(events)) + 1
		for i, e := range events {
			if _, err := tx.ExecContext(ctx, `INSERT INTO job_events (job, seq, time, type, data) VALUES (?, ?, ?, ?, ?)`,
				seq, first+int64(i), e.Time.UnixMicro(), e.Type, request(e.Data)); err != nil {
				return err
			}
		}
		return nil
	})
	return first, err
}

// Note implements job.Store.
func (s *Jobs) Note(ctx context.Context, h job.Hold, progress jsontext.Value) error {
	if err := write(ctx, s.db, h, `progress = ?`, orNull(progress)); err != nil {
		return fmt.Errorf("note progress: %w", err)
	}
	return nil
}

// Settle implements job.Store.
func (s *Jobs) Settle(ctx context.Context, h job.Hold, n int, value jsontext.Value) (kept jsontext.Value, err error) {
	err = s.change(ctx, "settle a question", func(tx *sql.Tx) error {
		var seq int64
		err := tx.QueryRowContext(ctx, `SELECT seq FROM jobs`+held, h.ID, h.Node, h.Attempt).Scan(&seq)
		if errors.Is(err, sql.ErrNoRows) {
			return job.ErrLost
		}
		if err == nil {
			_, err = tx.ExecContext(ctx, `INSERT INTO job_answers (job, n, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`, seq, n, request(value))
		}
		if err != nil {
			return err
		}
		var raw []byte
		err = tx.QueryRowContext(ctx, `SELECT value FROM job_answers WHERE job = ? AND n = ?`, seq, n).Scan(&raw)
		kept = raw
		return err
	})
	return kept, err
}

// Finish implements job.Store.
func (s *Jobs) Finish(ctx context.Context, h job.Hold, end job.End) error {
	t := now()
	if err := write(ctx, s.db, h, `state = ?, result = ?, category = ?, message = ?, ended_at = ?, expires_at = ?, lease_until = NULL`,
		end.State, orNull(end.Result), end.Category, end.Message, t, t+end.TTL.Microseconds()); err != nil {
		return fmt.Errorf("finish a job: %w", err)
	}
	return nil
}
