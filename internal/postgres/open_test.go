package postgres_test

import (
	"context"
	"errors"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

func TestOpenRefuses(t *testing.T) {
	good := pgtest.Database(t)
	changed := func(change func(u *url.URL)) string {
		u, err := url.Parse(good)
		if err != nil {
			t.Fatal(err)
		}
		change(u)
		return u.String()
	}
	conn := connect(t, good)
	execute(t, conn, "CREATE DATABASE narrow ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
	defer execute(t, conn, "DROP DATABASE narrow WITH (FORCE)")
	for name, tt := range map[string]struct{ url, want string }{
		"no URL at all":               {"postgres://claude:planted@127.0.0.1:port/x", "URL"},
		"a host that isn't there":     {changed(func(u *url.URL) { u.Host = "127.0.0.1:1" }), "refused"},
		"an unknown database":         {changed(func(u *url.URL) { u.Path = "absent" }), "absent"},
		"a wrong password":            {changed(func(u *url.URL) { u.User = url.UserPassword(pgtest.Stranger, pgtest.Password) }), "password authentication failed"},
		"a setting it hasn't":         {changed(func(u *url.URL) { u.RawQuery = "sslmode=perhaps" }), "sslmode"},
		"a password of a common word": {changed(func(u *url.URL) { u.User = url.UserPassword(pgtest.Stranger, "password") }), "password authentication failed"},
		"a narrow encoding":           {changed(func(u *url.URL) { u.Path = "narrow" }), "SQL_ASCII"},
		"a password as a port":        {"postgres://127.0.0.1:" + pgtest.Password + "/x", "URL"},
	} {
		t.Run(name, func(t *testing.T) {
			db, err := postgres.Open(t.Context(), postgres.Options{URL: tt.url})
			if err == nil {
				t.Fatal("opened", db.Close())
			}
			if db != nil {
				t.Error("a database beside an error")
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
			if strings.HasPrefix(tt.want, "password") && !strings.HasPrefix(err.Error(), "open database: connect: password authentication failed") {
				t.Errorf("%v: what is wrong must come first", err)
			}
			for _, secret := range []string{"postgres:", pgtest.Password, url.QueryEscape(pgtest.Password), url.PathEscape(pgtest.Password), "planted"} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("the password is in the error: %v", err)
				}
			}
		})
	}
}

func TestSettings(t *testing.T) {
	address := pgtest.Database(t)
	raw := connect(t, address)
	database := question[string](t, raw, "SELECT current_database()")
	// What an operator may have set for the database.
	execute(t, raw, "ALTER DATABASE "+database+" SET synchronous_commit = off")
	execute(t, raw, "ALTER DATABASE "+database+" SET default_transaction_isolation = 'serializable'")
	execute(t, raw, "ALTER DATABASE "+database+" SET search_path = private, public")
	execute(t, raw, "CREATE SCHEMA private")
	db := openURL(t, address)
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := question[int](t, raw, "SELECT count(*) FROM pg_stat_activity WHERE datname = $1 AND application_name = 'claude-api'", database); got == 0 {
		t.Error("no connection is called claude-api")
	}
	if got := question[string](t, raw, "SELECT string_agg(DISTINCT table_schema, ',') FROM information_schema.tables WHERE table_name IN ('usage', 'goose_db_version')"); got != "private" {
		t.Errorf("the tables are in %s, want the first schema of the search path", got)
	}
	for setting, want := range map[string]string{"synchronous_commit": "on", "default_transaction_isolation": "read committed"} {
		if got := postgres.Setting(t.Context(), db, setting); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
}

// TestOrderIsThatOfBytes opens a database whose own order is that of a dictionary.
func TestOrderIsThatOfBytes(t *testing.T) {
	address := pgtest.Database(t)
	raw := connect(t, address)
	if question[int](t, raw, "SELECT current_setting('server_version_num')::int") < 150_000 {
		t.Skip("this PostgreSQL makes no database in the order of ICU")
	}
	execute(t, raw, "CREATE DATABASE dictionary TEMPLATE template0 ENCODING 'UTF8' LOCALE_PROVIDER icu ICU_LOCALE 'en' LOCALE 'C'")
	t.Cleanup(func() {
		if _, err := raw.Exec(context.Background(), "DROP DATABASE dictionary WITH (FORCE)"); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	u.Path = "dictionary"
	db := openURL(t, u.String())
	var sums []usage.Sum
	for _, id := range []string{"b", "B", "a", "Z"} {
		if err := db.PutProject(t.Context(), apikey.Project{ID: id}); err != nil {
			t.Fatal(err)
		}
		sums = append(sums, usage.Sum{Day: time.Unix(0, 0), ProjectID: id})
	}
	if err := db.AppendUsage(t.Context(), nil, sums); err != nil {
		t.Fatal(err)
	}
	projects, err := db.ListProjects(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	added, err := db.SumUsage(t.Context(), usage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	var got [2]string
	for i := range projects {
		got[0] += projects[i].ID
		got[1] += added[i].ProjectID
	}
	if got != [2]string{"BZab", "BZab"} {
		t.Errorf("the order is %v", got)
	}
}

func TestNewerSchemaIsRefused(t *testing.T) {
	address := pgtest.Database(t)
	if err := openURL(t, address).Close(); err != nil {
		t.Fatal(err)
	}
	execute(t, connect(t, address), "INSERT INTO goose_db_version (version_id, is_applied) VALUES (999, true)")
	if _, err := postgres.Open(t.Context(), postgres.Options{URL: address}); !errors.Is(err, postgres.ErrNewerSchema) {
		t.Errorf("Open = %v, want ErrNewerSchema", err)
	}
}

func TestManyNodesOpenANewDatabaseAtOnce(t *testing.T) {
	address := pgtest.Database(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			db, err := postgres.Open(t.Context(), postgres.Options{URL: address})
			if err != nil {
				t.Error(err)
				return
			}
			if err := errors.Join(db.AppendUsage(t.Context(), []usage.Row{{RequestID: "one"}}, nil), db.Close()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if rows, err := openURL(t, address).ListUsage(t.Context(), 0, 100, usage.Filter{}); err != nil || len(rows) != 6 {
		t.Errorf("%d rows, %v; want one of each node", len(rows), err)
	}
}

func TestCloseTwiceAndUseAfter(t *testing.T) {
	db := open(t)
	if err := db.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := db.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if err := db.Ping(t.Context()); err == nil {
		t.Error("Ping works on a closed database")
	}
	if err := db.AppendUsage(t.Context(), []usage.Row{{}}, nil); err == nil {
		t.Error("AppendUsage works on a closed database")
	}
}
