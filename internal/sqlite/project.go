package sqlite

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"claude-code-api-service/internal/apikey"
)

type projectStatements struct {
	put, moves, get, list                          *sql.Stmt
	putProfile, deleteProfile, inUse, listProfiles *sql.Stmt
}

func (s *projectStatements) prepare(ctx context.Context, db *DB) error {
	err := prepareAll(ctx, db.write, map[string]**sql.Stmt{
		`SELECT coalesce((SELECT time_zone FROM projects WHERE id = ?1), '') <> ?2
			AND EXISTS (SELECT 1 FROM usage_days WHERE project_id = ?1)`: &s.moves,
		`INSERT INTO projects (id, time_zone, requests_per_minute, tokens_per_minute, concurrent_requests) VALUES (?, ?, ?, ?, ?)
			ON CONFLICT DO UPDATE SET time_zone = excluded.time_zone, requests_per_minute = excluded.requests_per_minute,
			tokens_per_minute = excluded.tokens_per_minute, concurrent_requests = excluded.concurrent_requests`: &s.put,
		`INSERT INTO profiles (name, permissions) VALUES (?, ?) ON CONFLICT DO UPDATE SET permissions = excluded.permissions`: &s.putProfile,
		`SELECT EXISTS (SELECT 1 FROM api_keys WHERE profile = ? AND revoked_at IS NULL)`:                                     &s.inUse,
		`DELETE FROM profiles WHERE name = ?`: &s.deleteProfile,
	})
	if err != nil {
		return err
	}
	return prepareAll(ctx, db.read, map[string]**sql.Stmt{
		`SELECT id, time_zone, requests_per_minute, tokens_per_minute, concurrent_requests FROM projects WHERE id = ?`: &s.get,
		`SELECT a.id, coalesce(p.time_zone, ''), coalesce(p.requests_per_minute, 0), coalesce(p.tokens_per_minute, 0), coalesce(p.concurrent_requests, 0)
			FROM (SELECT id FROM projects UNION SELECT project_id FROM api_keys) a LEFT JOIN projects p ON p.id = a.id ORDER BY a.id`: &s.list,
		`SELECT name, permissions FROM profiles ORDER BY name`: &s.listProfiles,
	})
}

// Project implements apikey.Store.
func (db *DB) Project(ctx context.Context, id string) (apikey.Project, error) {
	list, err := selectAll(ctx, "project", db.projects.get, scanProject, id)
	if err != nil || len(list) == 0 {
		return apikey.Project{ID: id}, err
	}
	return list[0], nil
}

// PutProject implements apikey.Store.
func (db *DB) PutProject(ctx context.Context, p apikey.Project) error {
	return db.change(ctx, func(tx *sql.Tx) error {
		var moves bool
		statement := tx.StmtContext(ctx, db.projects.moves) //nolint:sqlclosecheck // the transaction closes it
		if err := statement.QueryRowContext(ctx, p.ID, p.TimeZone).Scan(&moves); err != nil {
			return fmt.Errorf("select what the project spent: %w", err)
		}
		if moves {
			return apikey.ErrSpent
		}
		_, err := exec(ctx, tx.StmtContext(ctx, db.projects.put), p.ID, p.TimeZone,
			p.Limits.RequestsPerMinute, p.Limits.TokensPerMinute, p.Limits.ConcurrentRequests)
		if err != nil {
			return fmt.Errorf("put project: %w", err)
		}
		return nil
	})
}

// ListProjects implements apikey.Store.
func (db *DB) ListProjects(ctx context.Context) ([]apikey.Project, error) {
	return selectAll(ctx, "projects", db.projects.list, scanProject)
}

func scanProject(rows *sql.Rows) (apikey.Project, error) {
	var p apikey.Project
	err := rows.Scan(&p.ID, &p.TimeZone, &p.Limits.RequestsPerMinute, &p.Limits.TokensPerMinute, &p.Limits.ConcurrentRequests)
	return p, err
}

// PutProfile implements apikey.Store.
func (db *DB) PutProfile(ctx context.Context, p apikey.Profile) error {
	if _, err := exec(ctx, db.projects.putProfile, p.Name, string(apikey.FormatPermissions(p.Permissions))); err != nil {
		return fmt.Errorf("put profile: %w", err)
	}
	return nil
}

// DeleteProfile implements apikey.Store.
func (db *DB) DeleteProfile(ctx context.Context, name string) error {
	return db.change(ctx, func(tx *sql.Tx) error {
		var inUse bool
		statement := tx.StmtContext(ctx, db.projects.inUse) //nolint:sqlclosecheck // the transaction closes it
		if err := statement.QueryRowContext(ctx, name).Scan(&inUse); err != nil {
			return fmt.Errorf("select keys of the profile: %w", err)
		}
		if inUse {
			return apikey.ErrInUse
		}
		deleted, err := exec(ctx, tx.StmtContext(ctx, db.projects.deleteProfile), name)
		if err != nil {
			return fmt.Errorf("delete profile: %w", err)
		}
		if deleted == 0 {
			return apikey.ErrNotFound
		}
		return nil
	})
}

// ListProfiles implements apikey.Store.
func (db *DB) ListProfiles(ctx context.Context) ([]apikey.Profile, error) {
	return selectAll(ctx, "profiles", db.projects.listProfiles, func(rows *sql.Rows) (apikey.Profile, error) {
		var name, permissions string
		if err := rows.Scan(&name, &permissions); err != nil {
			return apikey.Profile{}, err
		}
		return profileOf(name, permissions)
	})
}

// profileOf reads a stored profile. What can't be read is the database's fault,
// not the caller's.
func profileOf(name, permissions string) (apikey.Profile, error) {
	parsed, err := apikey.ParsePermissions([]byte(permissions))
	if err != nil {
		return apikey.Profile{}, errors.New("profile " + name + ": " + err.Error())
	}
	return apikey.Profile{Name: name, Permissions: parsed}, nil
}
