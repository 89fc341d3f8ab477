package app

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/httpserver"
)

// moody is a store whose answer to the question for the keys' version is set.
type moody struct {
	Store
	err error
}

func (m *moody) KeysVersion(context.Context) (int64, error) { return 1, m.err }

func TestHealthAndReadyKnowTheDatabase(t *testing.T) {
	for kind, url := range map[string]config.Secret{"sqlite": "", "postgresql": "postgres://h/d"} {
		store := &moody{}
		a := &App{config: &config.Config{}, store: watch(store, &config.Data{DatabaseURL: url})}
		away := httpserver.Service{Status: httpserver.StatusDegraded, Detail: kind + ": " + databaseAway}
		there := httpserver.Service{Status: httpserver.StatusOK, Detail: kind}
		for _, step := range []struct {
			err  error
			want httpserver.Service
		}{
			{nil, there},
			{fmt.Errorf("ask: %w", context.DeadlineExceeded), away},
			{errors.New("gone"), away},
			{nil, there},
			{fmt.Errorf("ask: %w", context.Canceled), there}, // the service's own end
		} {
			store.err = step.err
			if _, err := a.store.KeysVersion(t.Context()); !errors.Is(err, step.err) {
				t.Fatalf("KeysVersion = %v", err)
			}
			if got := a.services()["database"]; got != step.want {
				t.Errorf("%s after %v: /health says %+v, want %+v", kind, step.err, got, step.want)
			}
			if ready, reason := a.ready(); ready != (step.want == there) || ready != (reason == "") {
				t.Errorf("%s after %v: ready is %v, %q", kind, step.err, ready, reason)
			}
		}
	}
}

func TestOpenStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "own.db")
	store, err := OpenStore(t.Context(), &config.Data{DBPath: path})
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Error(err)
	}
	for name, data := range map[string]config.Data{
		"an invalid URL":     {DBPath: path, DatabaseURL: "planted"},
		"a server of nobody": {DBPath: path, DatabaseURL: "postgres://u:planted@127.0.0.1:1/d?connect_timeout=5"},
	} {
		store, err := OpenStore(t.Context(), &data)
		if err == nil || store != nil || !strings.HasPrefix(err.Error(), "--database-url: ") || strings.Contains(err.Error(), "planted") {
			t.Errorf("%s: %v, %v", name, store, err)
		}
	}
}
