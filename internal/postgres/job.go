package postgres

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"

	"claude-code-api-service/internal/job"
)

// jobConnections are those of one node for jobs at most, one of which listens for River.
const jobConnections = 4

// riverSchema is where River's tables are, apart from those that another program's River
// may have in this database: unless only the first schema of the search path is ours to
// make tables in.
const riverSchema = "claude_api_river"

// Locks beside ledgerLock and auditLock.
const (
	riverLock = 3 // held while River's tables are brought forward
	claimLock = 4 // held while a job is claimed, so that each node sees what the others run
)

// Jobs keeps jobs in the database, over connections of their own. It is a job.Store, safe for
// concurrent use.
type Jobs struct {
	db      *DB
	pool    *pgxpool.Pool
	schema  string                // of River's tables
	tickets *river.Client[pgx.Tx] // inserts only
}

var _ job.Store = (*Jobs)(nil)

// OpenJobs makes the database's place for jobs, and brings River's tables to their newest
// schema. Nodes that do it at once wait for each other. log hears what River says of its
// migrations.
func (db *DB) OpenJobs(ctx context.Context, log *slog.Logger) (*Jobs, error) {
	config := db.rest.Config().Copy()
	config.MaxConns = jobConnections
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	s := &Jobs{db: db, pool: pool}
	driver := riverpgxv5.New(pool)
	if err := s.migrateRiver(ctx, driver, log); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open jobs: %w", err)
	}
	if s.tickets, err = river.NewClient(driver, &river.Config{Schema: s.schema, Logger: log, FetchCooldown: time.Millisecond}); err != nil {
		pool.Close()
		return nil, fmt.Errorf("open jobs: make River's client: %w", err)
	}
	return s, nil
}

// migrateRiver holds a lock while River brings its tables forward, each step in a transaction
// of its own and over another connection.
func (s *Jobs) migrateRiver(ctx context.Context, driver *riverpgxv5.Driver, log *slog.Logger) error {
	return s.change(ctx, "migrate River", func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, lockAlone, lockClass, riverLock); err != nil {
			return err
		}
		var err error
		if s.schema, err = s.placeOfRiver(ctx); err != nil {
			return err
		}
		migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Schema: s.schema, Logger: log})
		if err != nil {
			return err
		}
		_, err = migrator.Migrate(ctx, rivermigrate.DirectionUp, nil)
		return err
	})
}

// placeOfRiver finds or makes the schema of River's tables.
func (s *Jobs) placeOfRiver(ctx context.Context) (string, error) {
	var made bool
	var first string
	err := s.pool.QueryRow(ctx, "SELECT to_regnamespace($1) IS NOT NULL, coalesce(current_schema(), '')", riverSchema).Scan(&made, &first)
	if err != nil || made {
		return riverSchema, err
	}
	_, err = s.pool.Exec(ctx, "CREATE SCHEMA "+riverSchema)
	const insufficientPrivilege = "42501" // PostgreSQL's documentation, appendix A
	var told *pgconn.PgError
	if errors.As(err, &told) && told.Code == insufficientPrivilege {
		return first, nil
	}
	return riverSchema, err
}

// Close ends the connections; it waits for the statements that run.
func (s *Jobs) Close() error {
	s.pool.Close()
	return nil
}

// change makes several changes or none.
func (s *Jobs) change(ctx context.Context, what string, do func(tx pgx.Tx) error) error {
	tx, err := s.pool.Begin(ctx)
	if err != nil {
		return s.failed(ctx, what, err)
	}
	defer func() { _ = tx.Rollback(context.WithoutCancel(ctx)) }() // does nothing after the commit
	if err := do(tx); err != nil {
		return s.failed(ctx, what, err)
	}
	if err := tx.Commit(ctx); err != nil {
		return s.failed(ctx, what, err)
	}
	return nil
}

// failed is DB.failed for these connections, which a broken one makes anew too.
func (s *Jobs) failed(ctx context.Context, what string, err error) error {
	if ctx.Err() == nil && broken(err) {
		s.pool.Reset()
	}
	return s.db.failed(ctx, what, err)
}

// Client implements job.Store.
func (s *Jobs) Client(_ context.Context, config *river.Config) (job.Client, error) {
	own := *config
	own.Schema = s.schema
	client, err := river.NewClient(riverpgxv5.New(s.pool), &own)
	if err != nil {
		return nil, fmt.Errorf("make River's client: %w", err)
	}
	return client, nil
}

// ticket makes some for jobs that are due at a time, zero: now.
func (s *Jobs) ticket(ctx context.Context, tx pgx.Tx, kind job.Kind, at time.Time, count int) error {
	tickets := make([]river.InsertManyParams, count)
	for i := range tickets {
		tickets[i] = river.InsertManyParams{Args: job.Ticket{}, InsertOpts: job.Ticket{}.Options(kind, at)}
	}
	if _, err := s.tickets.InsertManyFastTx(ctx, tx, tickets); err != nil {
		return fmt.Errorf("insert tickets: %w", err)
	}
	return nil
}

const (
	jobHead = `id, kind, key_id, project_id, priority, state, category, message, attempt, max_attempts, node, cancelling,
		created_at, started_at, ended_at, expires_at`
	jobColumns = jobHead + `, request, progress, result`
)

func scanJobHead(row pgx.CollectableRow) (job.Job, error)  { return scanJob(row, false) }
func scanWholeJob(row pgx.CollectableRow) (job.Job, error) { return scanJob(row, true) }

// scanJob takes the columns of jobHead, and those of jobColumns where whole says so.
func scanJob(row pgx.Row, whole bool) (job.Job, error) {
	var j job.Job
	var started, ended, expires *time.Time
	fields := []any{
		&j.ID, &j.Kind, &j.KeyID, &j.ProjectID, &j.Priority, &j.State, &j.Category, &j.Message, &j.Attempt, &j.MaxAttempts, &j.Node, &j.Cancelling,
		&j.Created, &started, &ended, &expires,
	}
	var request, progress, result []byte
	if whole {
		fields = append(fields, &request, &progress, &result)
	}
	err := row.Scan(fields...)
	j.Request, j.Progress, j.Result = request, progress, result
	j.Created, j.Started, j.Ended, j.Expires = j.Created.UTC(), orZero(started), orZero(ended), orZero(expires)
	return j, err
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

// request is never NULL.
func request(v jsontext.Value) []byte {
	if v == nil {
		return []byte("null")
	}
	return v
}

// Submit implements job.Store.
func (s *Jobs) Submit(ctx context.Context, j job.Job) (kept job.Job, err error) {
	err = s.change(ctx, "submit a job", func(tx pgx.Tx) error {
		row := tx.QueryRow(ctx, `INSERT INTO jobs (id, kind, key_id, project_id, priority, state, request, progress, attempt, max_attempts, created_at, due_at)
			VALUES ($1, $2, $3, $4, $5, 'queued', $6, $7, 0, $8, now(), now()) RETURNING `+jobColumns,
			j.ID, j.Kind, j.KeyID, j.ProjectID, j.Priority, request(j.Request), []byte(j.Progress), j.MaxAttempts)
		if kept, err = scanJob(row, true); err != nil {
			return orJobExists(err)
		}
		return s.ticket(ctx, tx, j.Kind, time.Time{}, 1)
	})
	return kept, err
}

// orJobExists makes what a unique index refused a job.ErrExists.
func orJobExists(err error) error {
	if isUniqueViolation(err) {
		return errors.Join(job.ErrExists, err)
	}
	return err
}

// Begin implements job.Store.
func (s *Jobs) Begin(ctx context.Context, j job.Job, lease time.Duration) (job.Job, error) {
	kept, err := scanJob(s.pool.QueryRow(ctx, `INSERT INTO jobs (id, kind, key_id, project_id, priority, state, request, progress, attempt, max_attempts, node,
			created_at, due_at, started_at, lease_until)
		VALUES ($1, $2, $3, $4, $5, 'running', $6, $7, $8, $9, $10, now(), now(), now(), now() + $11::interval) RETURNING `+jobColumns,
		j.ID, j.Kind, j.KeyID, j.ProjectID, j.Priority, request(j.Request), []byte(j.Progress), j.Attempt, j.MaxAttempts, j.Node, lease), true)
	if err != nil {
		return job.Job{}, s.failed(ctx, "begin a job", orJobExists(err))
	}
	return kept, nil
}

// claim first finds the oldest job of each key and priority, in an index, and then the one
// among these whose turn it is. Who has the lock sees what all others have claimed; the
// row's own lock waits for whoever cancels the job.
const claim = `UPDATE jobs SET state = 'running', node = $2, attempt = attempt + 1, started_at = clock_timestamp(), lease_until = clock_timestamp() + $3::interval
	WHERE state = 'queued' AND seq = (
		SELECT j.seq FROM (SELECT min(seq) AS seq FROM jobs WHERE kind = $1 AND state = 'queued' AND due_at <= clock_timestamp() GROUP BY key_id, priority) w JOIN jobs j ON j.seq = w.seq
		ORDER BY (SELECT count(*) FROM jobs r WHERE r.kind = $1 AND r.key_id = j.key_id AND r.state = 'running'),
			coalesce((SELECT max(r.started_at) FROM jobs r WHERE r.kind = $1 AND r.key_id = j.key_id), '-infinity'),
			greatest(1, j.priority - floor(extract(epoch FROM clock_timestamp() - j.created_at) / extract(epoch FROM $4::interval))), j.seq LIMIT 1)
	RETURNING ` + jobColumns

// Claim implements job.Store. Both statements are one transaction and one round trip.
func (s *Jobs) Claim(ctx context.Context, kind job.Kind, node string, lease time.Duration) (j job.Job, err error) {
	found := false
	var batch pgx.Batch
	batch.Queue(lockAlone, lockClass, claimLock)
	batch.Queue(claim, kind, node, lease, job.AgeEvery).QueryRow(func(row pgx.Row) error {
		j, err = scanJob(row, true)
		found = err == nil
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	if err := s.pool.SendBatch(ctx, &batch).Close(); err != nil {
		return job.Job{}, s.failed(ctx, "claim a job", err)
	}
	if !found {
		return job.Job{}, job.ErrNotFound
	}
	return j, nil
}

// held is the condition of a run's writes.
const held = ` WHERE id = $1 AND node = $2 AND attempt = $3 AND state = 'running'`

// orLost makes what found no row of the run a job.ErrLost.
func orLost(err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return job.ErrLost
	}
	return err
}

// write changes the row of a run, or gives job.ErrLost.
func (s *Jobs) write(ctx context.Context, what string, h job.Hold, set string, args ...any) error {
	tag, err := s.pool.Exec(ctx, `UPDATE jobs SET `+set+held, append([]any{h.ID, h.Node, h.Attempt}, args...)...)
	if err != nil {
		return s.failed(ctx, what, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("%s: %w", what, job.ErrLost)
	}
	return nil
}

// Requeue implements job.Store.
func (s *Jobs) Requeue(ctx context.Context, h job.Hold, after time.Duration, free bool) error {
	return s.change(ctx, "requeue a job", func(tx pgx.Tx) error {
		var kind job.Kind
		var due time.Time
		var cancelling bool
		err := tx.QueryRow(ctx, `UPDATE jobs SET state = 'queued', lease_until = NULL, due_at = now() + $4::interval, max_attempts = max_attempts + $5::int`+held+` RETURNING kind, due_at, cancelling`,
			h.ID, h.Node, h.Attempt, after, btoi(free)).Scan(&kind, &due, &cancelling)
		if err != nil {
			return orLost(err)
		}
		if cancelling {
			return job.ErrCancelled
		}
		if after == 0 {
			due = time.Time{}
		}
		return s.ticket(ctx, tx, kind, due, 1)
	})
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// appendEvents is one statement, so one round trip.
const appendEvents = `WITH j AS (UPDATE jobs SET events = events + cardinality($4::timestamptz[])` + held + ` RETURNING seq, events - cardinality($4::timestamptz[]) AS before),
	kept AS (INSERT INTO job_events (job, seq, time, type, data)
		SELECT j.seq, j.before + e.place, e.time, e.type, e.data FROM j CROSS JOIN unnest($4::timestamptz[], $5::text[], $6::bytea[]) WITH ORDINALITY AS e (time, type, data, place))
	SELECT before + 1 FROM j`

// Append implements job.Store.
func (s *Jobs) Append(ctx context.Context, h job.Hold, events []job.Event) (first int64, err error) {
	err = s.pool.QueryRow(ctx, appendEvents, h.ID, h.Node, h.Attempt,
		column(events, func(e *job.Event) time.Time { return e.Time }),
		column(events, func(e *job.Event) string { return e.Type }),
		column(events, func(e *job.Event) []byte { return request(e.Data) })).Scan(&first)
	if err != nil {
		return 0, s.failed(ctx, "append events", orLost(err))
	}
	return first, nil
}

// Note implements job.Store.
func (s *Jobs) Note(ctx context.Context, h job.Hold, progress jsontext.Value) error {
	return s.write(ctx, "note progress", h, `progress = $4`, []byte(progress))
}

// Settle implements job.Store.
func (s *Jobs) Settle(ctx context.Context, h job.Hold, n int, value jsontext.Value) (kept jsontext.Value, err error) {
	err = s.change(ctx, "settle a question", func(tx pgx.Tx) error {
		var seq int64
		if err := tx.QueryRow(ctx, `SELECT seq FROM jobs`+held+` FOR UPDATE`, h.ID, h.Node, h.Attempt).Scan(&seq); err != nil {
			return orLost(err)
		}
		if _, err := tx.Exec(ctx, `INSERT INTO job_answers (job, n, value) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING`, seq, n, request(value)); err != nil {
			return err
		}
		var raw []byte
		err := tx.QueryRow(ctx, `SELECT value FROM job_answers WHERE job = $1 AND n = $2`, seq, n).Scan(&raw)
		kept = raw
		return err
	})
	return kept, err
}

// Finish implements job.Store.
func (s *Jobs) Finish(ctx context.Context, h job.Hold, end job.End) error {
	return s.write(ctx, "finish a job", h, `state = $4, result = $5, category = $6, message = $7, ended_at = now(), expires_at = now() + $8::interval, lease_until = NULL`,
		end.State, []byte(end.Result), end.Category, end.Message, end.TTL)
}
