package postgres_test

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
)

// TestLookAt looks at databases in every state, and leaves them as they are.
func TestLookAt(t *testing.T) {
	address := pgtest.Database(t)
	look, err := postgres.LookAt(t.Context(), postgres.Options{URL: address})
	if err != nil || !look.Empty || look.Version == "" || look.Latency <= 0 || look.Target < 5 {
		t.Errorf("an empty one: %+v, %v", look, err)
	}
	if look, err = postgres.LookAt(t.Context(), postgres.Options{URL: address}); err != nil || !look.Empty {
		t.Errorf("the first look has made something: %+v, %v", look, err)
	}

	db, err := postgres.Open(t.Context(), postgres.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keys := apikey.NewKeys(apikey.Options{Store: db})
	for _, admin := range []bool{true, false, false} {
		if _, _, err := keys.Create(t.Context(), apikey.Create{ProjectID: "p", Admin: admin}); err != nil {
			t.Fatal(err)
		}
	}
	look, err = postgres.LookAt(t.Context(), postgres.Options{URL: address})
	if err != nil || look.Empty || look.Schema != look.Target || look.Keys != 3 || look.Admins != 1 {
		t.Errorf("one in use: %+v, %v", look, err)
	}

	execute(t, connect(t, address), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
	if look, err = postgres.LookAt(t.Context(), postgres.Options{URL: address}); err != nil || look.Schema != 999 || look.Keys != 0 {
		t.Errorf("a newer one: %+v, %v", look, err)
	}

	_, err = postgres.LookAt(t.Context(), postgres.Options{URL: "postgres://u:planted@127.0.0.1:1/x"})
	if err == nil || strings.Contains(err.Error(), "planted") || !strings.Contains(err.Error(), "refused") {
		t.Errorf("no server: %v", err)
	}
}
