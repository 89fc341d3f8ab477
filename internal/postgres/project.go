package postgres

import (
	"context"

	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/apikey"
)

// Project implements apikey.Store.
func (db *DB) Project(ctx context.Context, id string) (apikey.Project, error) {
	if !storable(id) {
		return apikey.Project{ID: id}, nil
	}
	list, err := selectAll(ctx, db, "project", scanProject,
		`SELECT id, time_zone, requests_per_minute, tokens_per_minute, concurrent_requests FROM projects WHERE id = $1`, id)
	if err != nil || len(list) == 0 {
		return apikey.Project{ID: id}, err
	}
	return list[0], nil
}

// putProject changes nothing where the time zone of a project would change in
// which something was spent.
const putProject = `
INSERT INTO projects (id, time_zone, requests_per_minute, tokens_per_minute, concurrent_requests)
SELECT $1, $2, $3, $4, $5
WHERE coalesce((SELECT time_zone FROM projects WHERE id = $1), '') = $2 OR NOT EXISTS (SELECT FROM usage_days WHERE project_id = $1)
ON CONFLICT (id) DO UPDATE SET time_zone = excluded.time_zone, requests_per_minute = excluded.requests_per_minute,
	tokens_per_minute = excluded.tokens_per_minute, concurrent_requests = excluded.concurrent_requests`

// PutProject implements apikey.Store. It waits until no ledger is being written,
// so that what it finds spent is all; both statements are one transaction.
func (db *DB) PutProject(ctx context.Context, p apikey.Project) error {
	var batch pgx.Batch
	batch.Queue(lockAlone, lockClass, ledgerLock)
	batch.Queue(putProject, p.ID, p.TimeZone, p.Limits.RequestsPerMinute, p.Limits.TokensPerMinute, p.Limits.ConcurrentRequests)
	results := db.rest.SendBatch(ctx, &batch)
	_, err := results.Exec()
	tag, putErr := results.Exec()
	if err == nil {
		err = putErr
	}
	if closeErr := results.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return db.failed(ctx, "put project", err)
	}
	if tag.RowsAffected() == 0 {
		return apikey.ErrSpent
	}
	return nil
}

// ListProjects implements apikey.Store.
func (db *DB) ListProjects(ctx context.Context) ([]apikey.Project, error) {
	return selectAll(ctx, db, "projects", scanProject, `
		SELECT a.id, coalesce(p.time_zone, ''), coalesce(p.requests_per_minute, 0), coalesce(p.tokens_per_minute, 0), coalesce(p.concurrent_requests, 0)
		FROM (SELECT id FROM projects UNION SELECT project_id FROM api_keys) a LEFT JOIN projects p ON p.id = a.id ORDER BY a.id`)
}

func scanProject(row pgx.CollectableRow) (apikey.Project, error) {
	var p apikey.Project
	err := row.Scan(&p.ID, &p.TimeZone, &p.Limits.RequestsPerMinute, &p.Limits.TokensPerMinute, &p.Limits.ConcurrentRequests)
	return p, err
}

// PutProfile implements apikey.Store.
func (db *DB) PutProfile(ctx context.Context, p apikey.Profile) error {
	_, err := db.rest.Exec(ctx, `INSERT INTO profiles (name, permissions) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET permissions = excluded.permissions`, p.Name, string(apikey.FormatPermissions(p.Permissions)))
	if err != nil {
		return db.failed(ctx, "put profile", err)
	}
	return nil
}

// DeleteProfile implements apikey.Store.
func (db *DB) DeleteProfile(ctx context.Context, name string) error {
	if !storable(name) {
		return apikey.ErrNotFound
	}
	var used, deleted bool
	err := db.rest.QueryRow(ctx, `
		WITH keys AS (SELECT EXISTS (SELECT FROM api_keys WHERE profile = $1 AND revoked_at IS NULL) AS used),
		gone AS (DELETE FROM profiles USING keys WHERE name = $1 AND NOT used RETURNING name)
		SELECT used, EXISTS (SELECT FROM gone) FROM keys`, name).Scan(&used, &deleted)
	switch {
	case err != nil:
		return db.failed(ctx, "delete profile", err)
	case used:
		return apikey.ErrInUse
	case !deleted:
		return apikey.ErrNotFound
	}
	return nil
}

// ListProfiles implements apikey.Store.
func (db *DB) ListProfiles(ctx context.Context) ([]apikey.Profile, error) {
	return selectAll(ctx, db, "profiles", func(row pgx.CollectableRow) (apikey.Profile, error) {
		var name, permissions string
		if err := row.Scan(&name, &permissions); err != nil {
			return apikey.Profile{}, err
		}
		return profileOf(name, permissions)
	}, `SELECT name, permissions FROM profiles ORDER BY name`)
}
