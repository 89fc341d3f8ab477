package sqlite_test

import (
	"database/sql"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/sqlite"
)

// TestLookAt looks at files in every state, and leaves them as they are.
func TestLookAt(t *testing.T) {
	t.Run("no file", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		look, err := sqlite.LookAt(t.Context(), path)
		if err != nil || look.Exists {
			t.Errorf("%+v, %v", look, err)
		}
		if _, err := os.Stat(path); err == nil {
			t.Error("it made the file")
		}
	})
	t.Run("in use", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := sqlite.Open(t.Context(), sqlite.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		keys := apikey.NewKeys(apikey.Options{Store: db})
		soon := time.Now().Add(time.Minute)
		for _, create := range []apikey.Create{
			{ProjectID: "p", Name: "a"}, {ProjectID: "p", Name: "b", Admin: true}, {ProjectID: "p", Name: "c", ExpiresAt: &soon},
		} {
			if _, _, err := keys.Create(t.Context(), create); err != nil {
				t.Fatal(err)
			}
		}
		look, err := sqlite.LookAt(t.Context(), path)
		if err != nil || !look.Exists || look.Schema != look.Target || look.Target < 8 || look.Keys != 3 || look.Admins != 1 ||
			look.Version == "" || look.Latency <= 0 {
			t.Errorf("%+v, %v", look, err)
		}
	})
	raw := func(t *testing.T, statements ...string) string {
		t.Helper()
		path := filepath.Join(t.TempDir(), "x.db")
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range statements {
			if _, err := db.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		return path
	}
	t.Run("an older and a newer schema", func(t *testing.T) {
		for _, schema := range []string{"1", "999"} {
			path := raw(t, "CREATE TABLE goose_db_version (version_id INTEGER)", "INSERT INTO goose_db_version VALUES (0), ("+schema+")",
				"CREATE TABLE api_keys_version (version INTEGER)", "INSERT INTO api_keys_version VALUES (1)")
			look, err := sqlite.LookAt(t.Context(), path)
			if err != nil || look.Schema == look.Target || look.Schema == 0 || look.Keys != 0 {
				t.Errorf("schema %s: %+v, %v", schema, look, err)
			}
		}
	})
	t.Run("another program's", func(t *testing.T) {
		path := raw(t, "CREATE TABLE x (y)")
		if _, err := sqlite.LookAt(t.Context(), path); err == nil || !strings.Contains(err.Error(), "isn't this service's") {
			t.Error(err)
		}
	})
	t.Run("damaged", func(t *testing.T) {
		path := raw(t, "CREATE TABLE goose_db_version (version_id INTEGER)", "INSERT INTO goose_db_version VALUES (1)",
			"CREATE TABLE api_keys_version (version INTEGER)", "INSERT INTO api_keys_version VALUES (1)", "CREATE TABLE x (y)",
			"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000) INSERT INTO x SELECT hex(randomblob(50)) FROM n")
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := 4096 * 10; i < 4096*30; i++ { // pages of x, which nobody asks for anything
			data[i] = 0xa5
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.LookAt(t.Context(), path); err == nil || strings.Contains(err.Error(), "isn't this service's") {
			t.Errorf("it looks well: %v", err)
		}
	})
	t.Run("no database", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "x.db")
		if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 100)), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := sqlite.LookAt(t.Context(), path); err == nil || !strings.Contains(err.Error(), path) {
			t.Error(err)
		}
	})
}
