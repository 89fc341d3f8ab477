package postgres_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// With -update, TestEveryVersion writes the dump of a newest version that has none
// yet. A dump that is there never changes: it is what a released program has made.
var update = flag.Bool("update", false, "write testdata/versions of the newest migration")

var (
	then  = time.Date(2026, 3, 1, 12, 30, 15, 123456000, time.UTC)
	hash1 = apikey.Hash{1}
)

// fill stores something in every table.
func fill(t *testing.T, db *postgres.DB) {
	t.Helper()
	later, cost := then.Add(time.Hour), int64(1234)
	row := usage.Row{
		RequestID: "req", Time: then, Endpoint: "/v1/messages", KeyID: "key_1", ProjectID: "p", Backend: "direct", Requested: "haiku", Routed: "r",
		Answered: "a", Usage: message.Usage{InputTokens: 1, OutputTokens: 2, CacheReadInputTokens: 3, CacheCreationInputTokens: 4},
		CostMicroUSD: &cost, StopReason: "end_turn", Status: 200,
	}
	sum := usage.Sum{
		Day: budget.Day.Start(then), ProjectID: "p", KeyID: "key_1", Model: "a", Requests: 1, Usage: row.Usage, CostMicroUSD: cost, Unpriced: 5,
	}
	ctx := t.Context()
	if err := errors.Join(
		db.PutProfile(ctx, apikey.Profile{Name: "own", Permissions: gateway.Permissions{AllowedTools: []string{"Read"}, MaxTimeout: time.Minute}}),
		db.PutProject(ctx, apikey.Project{ID: "p", TimeZone: "Europe/Berlin", Limits: gateway.RateLimits{RequestsPerMinute: 1, TokensPerMinute: 2, ConcurrentRequests: 3}}),
		db.CreateKey(ctx, apikey.Key{
			ID: "key_1", Prefix: "cc_old", Name: "größer", ProjectID: "p", Profile: "own", Admin: true,
			Limits: gateway.RateLimits{RequestsPerMinute: 4, TokensPerMinute: 5, ConcurrentRequests: 6}, CreatedAt: then, ExpiresAt: &later,
		}, apikey.Hash{0}, []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "key_1"}, Period: budget.Day, Unit: budget.USD, Hard: 7, Soft: 8}}),
		db.RotateKey(ctx, "key_1", "cc_new", hash1, later),
		db.RevokeKey(ctx, "key_1", then),
		db.SetBudget(ctx, budget.Limit{Owner: budget.Owner{Kind: budget.Project, ID: "p"}, Period: budget.Month, Unit: budget.Tokens, Hard: 9}),
		db.AppendUsage(ctx, []usage.Row{row, {RequestID: "bare", Time: then}}, []usage.Sum{sum}),
		db.PutDocument(ctx, archive.Document{Kind: "response", KeyID: "key_1", ID: "resp", Created: then, Expires: later, Body: []byte{0, 0xff}}),
		db.AppendAudit(ctx, []audit.Event{{Time: then, Actor: audit.CLI, Address: "::1", Action: "key.created", Target: "key_1", Project: "p", Detail: "d", RequestID: "r"}}),
	); err != nil {
		t.Fatal(err)
	}
}

// content is all that a database holds, as the stores give it.
func content(t *testing.T, db *postgres.DB) map[string]any {
	t.Helper()
	found := map[string]any{}
	keep := func(name string, value any, err error) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		found[name] = value
	}
	ctx := context.Background()
	for _, hash := range []apikey.Hash{{0}, hash1} {
		account, err := db.AccountByHash(ctx, hash)
		keep(fmt.Sprint("the account of hash ", hash[0]), account, err)
	}
	version, err := db.KeysVersion(ctx)
	keep("the version", version, err)
	projects, err := db.ListProjects(ctx)
	keep("projects", projects, err)
	profiles, err := db.ListProfiles(ctx)
	keep("profiles", profiles, err)
	rows, err := db.ListUsage(ctx, 0, 10, usage.Filter{})
	keep("usage", rows, err)
	sums, err := db.SumUsage(ctx, usage.Filter{})
	keep("sums", sums, err)
	documents, err := db.Documents(ctx, "response", "key_1")
	keep("documents", documents, err)
	events, err := db.ListAudit(ctx, 0, 10, audit.Filter{})
	keep("audit", events, err)
	return found
}

// dump writes a database as SQL, without what differs between two runs.
func dump(t *testing.T, address string, args ...string) string {
	t.Helper()
	bin, _ := pgtest.Bin() // the server runs, so it is there
	cmd := exec.CommandContext(t.Context(), filepath.Join(bin, "pg_dump"), append(args, "--no-owner", "--no-privileges", "--dbname="+address)...)
	cmd.Stderr = os.Stderr
	text, err := cmd.Output()
	if err != nil {
		t.Fatalf("pg_dump: %v", err)
	}
	var kept strings.Builder
	for line := range strings.Lines(string(text)) {
		if line != "\n" && !strings.HasPrefix(line, "--") && !strings.HasPrefix(line, `\`) {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

// TestEveryVersion opens databases as each released version of the program left
// them: they hold afterwards what they held, and are like new ones.
func TestEveryVersion(t *testing.T) {
	fresh := pgtest.Database(t)
	db := openURL(t, fresh)
	fill(t, db)
	want, schema := content(t, db), dump(t, fresh, "--schema-only")

	steps, err := filepath.Glob("migrations/*.sql")
	if err != nil || len(steps) == 0 {
		t.Fatalf("%d migrations, %v", len(steps), err)
	}
	for i, step := range steps {
		number, _, _ := strings.Cut(filepath.Base(step), "_")
		t.Run(number, func(t *testing.T) {
			path := filepath.Join("testdata", "versions", number+".sql")
			text, err := os.ReadFile(path)
			if errors.Is(err, fs.ErrNotExist) && *update && i == len(steps)-1 {
				text = []byte(dump(t, fresh, "--inserts"))
				err = errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, text, 0o644))
			}
			if err != nil {
				t.Fatalf("%v\nwrite it with: go test ./internal/postgres -run '^TestEveryVersion$' -update", err)
			}
			old := pgtest.Database(t)
			conn := connect(t, old)
			if _, err := conn.PgConn().Exec(t.Context(), string(text)).ReadAll(); err != nil {
				t.Fatalf("load %s: %v", path, err)
			}
			db := openURL(t, old)
			for name, value := range content(t, db) {
				if !reflect.DeepEqual(value, want[name]) {
					t.Errorf("%s became\n%+v, want\n%+v", name, value, want[name])
				}
			}
			if got := dump(t, old, "--schema-only"); got != schema {
				t.Errorf("the schema is\n%s\nthat of a new database\n%s", got, schema)
			}
		})
	}
}
