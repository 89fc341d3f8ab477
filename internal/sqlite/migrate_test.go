package sqlite_test

import (
	"fmt"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/archive"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
	"claude-code-api-service/internal/sqlite"
	"claude-code-api-service/internal/usage"
)

// The moments in former's rows: a Wednesday noon in UTC, and an hour later.
var (
	noon  = time.Date(2026, 5, 6, 12, 0, 0, 0, time.UTC)
	later = noon.Add(time.Hour)
)

// former are rows as the programs with the schemas from one version to another
// (0: to the newest) wrote them.
var former = []struct {
	from, to int64
	sql      string
}{
	{1, 0, `INSERT INTO api_keys (id, hash, prefix, name, project_id, profile, requests_per_minute, created_at, expires_at, revoked_at) VALUES
		('key_1', x'` + fmt.Sprintf("%x", apikey.HashOf("one")) + `', 'cc_00000001', 'Größe', 'alpha', 'enterprise', 7, 1778068800000000, 1778072400000000, NULL),
		('key_2', x'` + fmt.Sprintf("%x", apikey.HashOf("two")) + `', 'cc_00000002', '', 'beta', 'free', 0, 1778072400000000, NULL, 1778072400000000)`},
	{2, 0, `INSERT INTO usage (request_id, time, endpoint, key_id, project_id, backend, requested_model, routed_model, answered_model,
		input_tokens, output_tokens, cache_read_input_tokens, cache_creation_input_tokens, cost_micro_usd, stop_reason, status, category, total_us) VALUES
		('req_1', 1778068800000000, '/v1/messages', 'key_1', 'alpha', 'direct', 'haiku', 'claude-haiku-5-5', 'claude-haiku-5-5', 10, 20, 30, 40, 50, 'end_turn', 200, '', 1000),
		('req_2', 1778072400000000, '/v1/messages', 'key_1', 'alpha', 'cli', 'opus', '', '', 1, 2, 3, 4, NULL, '', 502, 'cli_error', NULL)`},
	{3, 0, `INSERT INTO documents (kind, key_id, id, created_at, expires_at, body) VALUES ('response', 'key_1', 'resp_1', 1778068800000000, 1778072400000000, x'7b7d')`},
	// What a ledger's commit kept beside its rows.
	{4, 6, `INSERT INTO spent (owner_kind, owner_id, period, start, tokens, micro_usd)
		SELECT o.kind, o.id, p.period, p.start, 33, 50 FROM
		(SELECT 'key' AS kind, 'key_1' AS id UNION ALL SELECT 'project', 'alpha') o,
		(SELECT 'day' AS period, 1778025600000000 AS start UNION ALL SELECT 'week', 1777852800000000
			UNION ALL SELECT 'month', 1777593600000000 UNION ALL SELECT 'total', 0) p`},
	{5, 0, `INSERT INTO audit (time, actor, address, action, target, project_id, detail, request_id)
		VALUES (1778068800000000, 'cli', '', 'key.created', 'key_1', 'alpha', '', '')`},
	{6, 0, `UPDATE api_keys SET admin = 1, tokens_per_minute = 8, concurrent_requests = 9, former_until = 1778072400000000,
		former_hash = x'` + fmt.Sprintf("%x", apikey.HashOf("before")) + `' WHERE id = 'key_1'`},
	{6, 0, `INSERT INTO projects (id, time_zone, requests_per_minute, tokens_per_minute, concurrent_requests) VALUES ('beta', 'Asia/Tokyo', 1, 2, 3)`},
	{6, 0, `INSERT INTO profiles (name, permissions) VALUES ('builder', '{"allowed_tools":["Read"],"max_cost_per_task":0.5,"max_timeout":60}')`},
	{6, 0, `INSERT INTO budgets (owner_kind, owner_id, period, unit, hard, soft) VALUES ('key', 'key_1', 'month', 'usd', 5, 4)`},
	{7, 0, `INSERT INTO usage_days (project_id, day, key_id, model, requests, input_tokens, output_tokens,
		cache_read_input_tokens, cache_creation_input_tokens, cost_micro_usd, unpriced) VALUES
		('alpha', 1778025600000000, 'key_1', 'claude-haiku-5-5', 1, 10, 20, 30, 40, 50, 0), ('alpha', 1778025600000000, 'key_1', 'opus', 1, 1, 2, 3, 4, 0, 1)`},
}

// TestEveryFormerSchemaIsBroughtForward opens files that were left by the program
// of every version, and reads back all that was in them.
func TestEveryFormerSchemaIsBroughtForward(t *testing.T) {
	newest, err := sqlite.Versions()
	if err != nil {
		t.Fatal(err)
	}
	for version := int64(1); version <= newest; version++ {
		t.Run(fmt.Sprintf("version %d", version), func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "test.db")
			var statements []string
			for _, rows := range former {
				if rows.from <= version && (rows.to == 0 || version <= rows.to) {
					statements = append(statements, rows.sql)
				}
			}
			if err := sqlite.MigrateTo(t.Context(), path, version, statements); err != nil {
				t.Fatal(err)
			}
			db := open(t, sqlite.Options{Path: path})
			checkFormerKeys(t, db, version)
			if version >= 2 {
				checkFormerUsage(t, db)
			}
			if version >= 3 {
				want := archive.Document{Kind: "response", KeyID: "key_1", ID: "resp_1", Created: noon, Expires: later, Body: []byte("{}")}
				if got, err := db.Document(t.Context(), "response", "key_1", "resp_1"); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("document is %+v, %v; want %+v", got, err, want)
				}
			}
			if version >= 5 {
				want := []audit.Event{{ID: 1, Time: noon, Actor: "cli", Action: "key.created", Target: "key_1", Project: "alpha"}}
				if got, err := db.ListAudit(t.Context(), 0, 10, audit.Filter{}); err != nil || !reflect.DeepEqual(got, want) {
					t.Errorf("the audit log is %+v, %v; want %+v", got, err, want)
				}
			}
			// All that this program writes finds its place.
			key := apikey.Key{ID: "key_3", ProjectID: "alpha", CreatedAt: later}
			if err := db.CreateKey(t.Context(), key, apikey.HashOf("three"), []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "key_3"}, Period: budget.Day, Unit: budget.USD, Hard: 1}}); err != nil {
				t.Error(err)
			}
			if err := db.AppendUsage(t.Context(), []usage.Row{{RequestID: "req_3"}}, []usage.Sum{{Day: noon, ProjectID: "alpha", KeyID: "key_3"}}); err != nil {
				t.Error(err)
			}
			if err := db.AppendAudit(t.Context(), []audit.Event{{Time: later}}); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkFormerKeys(t *testing.T, db *sqlite.DB, version int64) {
	t.Helper()
	one := apikey.Account{
		Key: apikey.Key{
			ID: "key_1", Prefix: "cc_00000001", Name: "Größe", ProjectID: "alpha", Profile: "enterprise",
			Limits: gateway.RateLimits{RequestsPerMinute: 7}, CreatedAt: noon, ExpiresAt: &later,
		},
		Project: apikey.Project{ID: "alpha"}, Hash: apikey.HashOf("one"),
	}
	two := apikey.Account{
		Key:     apikey.Key{ID: "key_2", Prefix: "cc_00000002", ProjectID: "beta", Profile: "free", CreatedAt: later, RevokedAt: &later},
		Project: apikey.Project{ID: "beta"}, Hash: apikey.HashOf("two"),
	}
	var profiles []apikey.Profile
	if version >= 6 {
		one.Key.Admin, one.Key.Limits.TokensPerMinute, one.Key.Limits.ConcurrentRequests, one.Key.FormerUntil = true, 8, 9, &later
		one.Budgets = []budget.Limit{{Owner: budget.Owner{Kind: budget.Key, ID: "key_1"}, Period: budget.Month, Unit: budget.USD, Hard: 5, Soft: 4}}
		two.Project = apikey.Project{ID: "beta", TimeZone: "Asia/Tokyo", Limits: gateway.RateLimits{RequestsPerMinute: 1, TokensPerMinute: 2, ConcurrentRequests: 3}}
		profiles = []apikey.Profile{{Name: "builder", Permissions: gateway.Permissions{AllowedTools: []string{"Read"}, MaxCostMicroUSD: 500_000, MaxTimeout: time.Minute}}}
	}
	for _, want := range []apikey.Account{one, two} {
		if got, err := db.AccountByHash(t.Context(), want.Hash); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("account is %+v, %v\nwant %+v", got, err, want)
		}
	}
	if got, err := db.ListProfiles(t.Context()); err != nil || !reflect.DeepEqual(got, profiles) {
		t.Errorf("profiles are %+v, %v; want %+v", got, err, profiles)
	}
	if version >= 6 {
		if got, err := db.AccountByHash(t.Context(), apikey.HashOf("before")); err != nil || !got.Former || got.Key.ID != "key_1" {
			t.Errorf("by the former text: %+v, %v", got, err)
		}
	}
}

func checkFormerUsage(t *testing.T, db *sqlite.DB) {
	t.Helper()
	rows, err := db.ListUsage(t.Context(), 0, 10, usage.Filter{})
	if err != nil || len(rows) != 2 {
		t.Fatalf("the ledger is %+v, %v", rows, err)
	}
	cost := int64(50)
	want := usage.Row{
		ID: 1, RequestID: "req_1", Time: noon, Endpoint: "/v1/messages", KeyID: "key_1", ProjectID: "alpha", Backend: "direct",
		Requested: "haiku", Routed: "claude-haiku-5-5", Answered: "claude-haiku-5-5", StopReason: "end_turn", Status: 200, CostMicroUSD: &cost,
		Usage: message.Usage{InputTokens: 10, OutputTokens: 20, CacheReadInputTokens: 30, CacheCreationInputTokens: 40}, Micros: rows[0].Micros,
	}
	if !reflect.DeepEqual(rows[0], want) || rows[1].ID != 2 || rows[1].RequestID != "req_2" || rows[1].CostMicroUSD != nil {
		t.Errorf("the ledger is %+v\nwant %+v first", rows, want)
	}
	sums, err := db.SumUsage(t.Context(), usage.Filter{})
	if err != nil || len(sums) != 2 || sums[0].CostMicroUSD != 50 || sums[0].Usage != want.Usage || sums[1].Model != "opus" || sums[1].Unpriced != 1 {
		t.Errorf("the sums are %+v, %v", sums, err)
	}
	for _, owner := range []budget.Owner{{Kind: budget.Key, ID: "key_1"}, {Kind: budget.Project, ID: "alpha"}} {
		for _, period := range budget.Periods {
			got, err := db.Spent(t.Context(), owner, period, period.Start(noon))
			if want := (budget.Amount{Tokens: 33, MicroUSD: 50}); err != nil || got != want {
				t.Errorf("%v spent %+v in a %s, %v; want %+v", owner, got, period, err, want)
			}
		}
	}
}
