package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/httpserver"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// Store keeps all that the service keeps. It is safe for concurrent use.
type Store interface {
	apikey.Store
	usage.Store
	archive.Store
	audit.Store
	// Close ends the use of the database.
	Close() error
}

// OpenStore opens the database that the settings choose, PostgreSQL or SQLite, and
// brings it to this program's schema. ctx ends the opening only.
func OpenStore(ctx context.Context, data *config.Data) (Store, error) {
	if err := data.Validate(); err != nil {
		return nil, err
	}
	if data.DatabaseURL == "" {
		db, err := sqlite.Open(ctx, sqlite.Options{Path: data.Database(), Synchronous: data.Synchronous})
		if err != nil {
			return nil, err
		}
		return db, nil
	}
	db, err := postgres.Open(ctx, postgres.Options{URL: data.DatabaseURL.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("--database-url: %w", err)
	}
	return db, nil
}

// The kinds of databases, as /health and the log call them.
const (
	kindSQLite   = "sqlite"
	kindPostgres = "postgresql"
)

// watched is the service's Store. It remembers whether the last look at the keys'
// version, which the authenticator takes several times a second, was answered: so
// /health and /ready know it without I/O of their own.
type watched struct {
	Store
	kind  string
	place string // for the log
	away  atomic.Bool
}

func watch(store Store, data *config.Data) *watched {
	if data.DatabaseURL != "" {
		return &watched{Store: store, kind: kindPostgres, place: kindPostgres}
	}
	return &watched{Store: store, kind: kindSQLite, place: data.Database()}
}

// KeysVersion implements apikey.Store.
func (w *watched) KeysVersion(ctx context.Context) (int64, error) {
	version, err := w.Store.KeysVersion(ctx)
	if !errors.Is(err, context.Canceled) { // that is the service's own end
		w.away.Store(err != nil)
	}
	return version, err
}

// databaseAway is what callers of /health and /ready are told.
const databaseAway = "the database doesn't answer"

func (w *watched) health() httpserver.Service {
	if w.away.Load() {
		return httpserver.Service{Status: httpserver.StatusDegraded, Detail: w.kind + ": " + databaseAway}
	}
	return httpserver.Service{Status: httpserver.StatusOK, Detail: w.kind}
}
