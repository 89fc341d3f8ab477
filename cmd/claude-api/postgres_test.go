package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"claude-code-api-service/internal/postgres"
	"claude-code-api-service/internal/postgres/pgtest"
	"claude-code-api-service/internal/usage"
)

// serveOnPostgres starts a node of the service on a PostgreSQL database, whose URL
// it reads from a file.
func serveOnPostgres(t *testing.T, address, upstreamURL string) *service {
	t.Helper()
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(address+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	own := environment(t, "CLAUDE_API_DATABASE_URL_FILE="+file)
	env := append(own, "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+upstreamURL, "CLAUDE_API_CLAUDE_PATH=off")
	data := t.TempDir()
	s := connect(t, start(t, env, "serve", "--listen=127.0.0.1:0", "--data-dir="+data, "--log-level=debug"))
	s.data, s.env = data, own
	s.key = s.createKey(t)
	return s
}

// recorded counts the rows of each request in the ledger.
func recorded(t *testing.T, address string) map[string]int {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	list, err := db.ListUsage(t.Context(), 0, 1_000_000, usage.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	counts := map[string]int{}
	for _, r := range list {
		counts[r.RequestID]++
	}
	return counts
}

// TestPostgres takes two nodes on one database through a key's life.
func TestPostgres(t *testing.T) {
	address, up := pgtest.Database(t), newUpstream(t)
	one, two := serveOnPostgres(t, address, up.url), serveOnPostgres(t, address, up.url)
	if detail := one.get(t, "/health").body; !strings.Contains(detail, `"database":{"status":"ok","detail":"postgresql"}`) {
		t.Errorf("/health says %s", detail)
	}
	for _, s := range []*service{one, two} {
		s.key = one.key // made with a command, known to both
		for _, body := range []string{chat("hello"), chat("hello", `"stream":true`)} {
			if a := s.post(t, "/v1/chat/completions", body, "X-Request-ID", "hello"); a.status != http.StatusOK {
				t.Fatalf("%d %s", a.status, a.body)
			}
		}
	}
	if got := recorded(t, address)["hello"]; got != 4 {
		t.Errorf("%d rows in the ledger, want 4", got)
	}
	total := decode[struct {
		Tokens int64 `json:"total_tokens"`
	}](t, two.get(t, "/v1/usage?period=day").body).Tokens
	if shown := command(t, one.env, "usage", "summary", "--data-dir="+one.data, "--output=json"); total == 0 || !strings.Contains(shown, `"requests": 4,`) {
		t.Errorf("the API tells of %d tokens, the command of %s", total, shown)
	}

	command(t, one.env, "keys", "revoke", "--data-dir="+one.data, "--force", one.key)
	revoked := time.Now()
	for name, s := range map[string]*service{"one": one, "two": two} {
		eventually(t, 2*time.Second-time.Since(revoked), "node "+name+" refuses the key", func() bool {
			return s.get(t, "/v1/models").status == http.StatusUnauthorized
		})
	}
	t.Logf("refused by both %v after the command", time.Since(revoked).Round(time.Millisecond))
	if log := command(t, one.env, "audit", "export", "--data-dir="+one.data); !strings.Contains(log, `"key.revoked"`) {
		t.Errorf("the audit log is %s", log)
	}

	one.signal(t, syscall.SIGTERM)
	if code := one.exit(t); code != 0 {
		t.Errorf("exit code %d: %s", code, one.stderr.String())
	}
	again := serveOnPostgres(t, address, up.url)
	if a := again.post(t, "/v1/chat/completions", chat("again")); a.status != http.StatusOK {
		t.Errorf("after a restart: %d %s", a.status, a.body)
	}
	if got := recorded(t, address)["hello"]; got != 4 {
		t.Errorf("%d rows in the ledger after a restart, want 4", got)
	}

	places := map[string]string{"/health": two.get(t, "/health").body, "/metrics": two.get(t, "/metrics").body}
	for name, s := range map[string]*service{"one": one, "two": two, "again": again} {
		places[name+"'s log"] = s.stderr.String() + s.stdout.String()
	}
	for place, text := range places {
		for _, secret := range []string{pgtest.Password, url.QueryEscape(pgtest.Password), url.PathEscape(pgtest.Password)} {
			if strings.Contains(text, secret) {
				t.Errorf("the database's password is in %s", place)
			}
		}
	}
}

// TestPostgresRefused starts the service on databases that it can't use: it says
// why, without the URL.
func TestPostgresRefused(t *testing.T) {
	good, err := url.Parse(pgtest.Database(t))
	if err != nil {
		t.Fatal(err)
	}
	wrong := *good
	wrong.User = url.UserPassword(pgtest.Stranger, pgtest.Password)
	for name, tt := range map[string]struct{ url, want string }{
		"a wrong password":      {wrong.String(), "password authentication failed"},
		"a port of nobody":      {strings.Replace(good.String(), good.Host, "127.0.0.1:1", 1), "refused"},
		"another database":      {strings.Replace(good.String(), "postgres:", "mysql:", 1), "--database-url: must be"},
		"no port":               {strings.Replace(good.String(), good.Host, "h:"+url.PathEscape(pgtest.Password), 1), "--database-url: "},
		"an unknown ssl policy": {strings.Replace(good.String(), "=disable", "=perhaps", 1), "sslmode"},
	} {
		t.Run(name, func(t *testing.T) {
			for _, args := range [][]string{{"serve", "--listen=127.0.0.1:0"}, {"keys", "list"}} {
				p := start(t, environment(t, "CLAUDE_API_DATABASE_URL="+tt.url, "ANTHROPIC_API_KEY=x", "CLAUDE_API_CLAUDE_PATH=off"), args...)
				code, text := p.exit(t), p.stderr.String()+p.stdout.String()
				if code == 0 || !strings.Contains(text, tt.want) {
					t.Errorf("%v: exit code %d, %s; want %q", args, code, text, tt.want)
				}
				for _, secret := range []string{"planted", url.PathEscape(pgtest.Password)} {
					if strings.Contains(text, secret) {
						t.Errorf("%v prints the password: %s", args, text)
					}
				}
			}
		})
	}
}

// TestPostgresCrash takes the database away in the middle of load, twice, once by
// a crash: whatever ended well is in the ledger, what couldn't be recorded ended
// badly, and the service goes on by itself.
func TestPostgresCrash(t *testing.T) {
	const callers, enough = 8, 100
	server, up := pgtest.Start(t), newUpstream(t)
	address := server.Database(t)
	s := serveOnPostgres(t, address, up.url)

	var whole sync.Map // request id → true
	var count, failures atomic.Int64
	stop := make(chan struct{})
	var tasks sync.WaitGroup
	for i := range callers {
		tasks.Go(func() {
			for j := 0; ; j++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("load.%d.%d", i, j)
				if s.wholly(t, id, (i+j)%2 == 0) {
					whole.Store(id, true)
					count.Add(1)
				} else {
					failures.Add(1)
				}
			}
		})
	}
	answers := func(what string) {
		t.Helper()
		from := count.Load()
		eventually(t, patience, what, func() bool { return count.Load() >= from+enough })
	}
	answers("the service answers")
	for range 2 {
		s.ready(t) // what it says afterwards isn't of the time before
		if err := server.Crash(); err != nil {
			t.Fatal(err)
		}
		eventually(t, patience, "/ready tells of the database", func() bool {
			a := s.get(t, "/ready")
			return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "database")
		})
		if health := s.get(t, "/health"); health.status != http.StatusOK || !strings.Contains(health.body, `"degraded"`) {
			t.Errorf("/health says %d %s", health.status, health.body)
		}
		a := s.post(t, "/v1/chat/completions", chat("without"), "X-Request-ID", "without")
		if a.status != http.StatusServiceUnavailable || a.header.Get("Retry-After") == "" {
			t.Errorf("without a database: %d %s", a.status, a.body)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		answers("the service goes on by itself")
	}
	close(stop)
	tasks.Wait()
	if failures.Load() == 0 {
		t.Error("nothing failed while the database was away")
	}

	counts := recorded(t, address)
	for id := range whole.Range {
		if n := counts[id.(string)]; n != 1 {
			t.Errorf("%s ended well and is in the ledger %d times", id, n)
		}
	}
	if counts["without"] != 0 {
		t.Error("what was refused is in the ledger")
	}
	if off := outOfBalanceOnPostgres(t, address); off != "" {
		t.Errorf("the days' sums aren't what the ledger says: %s", off)
	}
	t.Logf("%d whole answers, %d that failed, %d rows", count.Load(), failures.Load(), len(counts))
	if text := s.stderr.String(); strings.Contains(text, "planted/") || strings.Contains(text, url.PathEscape(pgtest.Password)) {
		t.Error("the database's password is in the log")
	}
}

// TestPostgresKill kills a node in the middle of load: whatever a caller had read
// to its end is in the ledger once, and another node goes on at once.
func TestPostgresKill(t *testing.T) {
	const callers, enough = 8, 100
	address, up := pgtest.Database(t), newUpstream(t)
	s, other := serveOnPostgres(t, address, up.url), serveOnPostgres(t, address, up.url)
	var whole sync.Map
	var count atomic.Int64
	var tasks sync.WaitGroup
	for i := range callers {
		tasks.Go(func() {
			for j := 0; ; j++ {
				id := fmt.Sprintf("load.%d.%d", i, j)
				if !s.complete(t, id, (i+j)%2 == 0) {
					return // the service is gone
				}
				whole.Store(id, true)
				count.Add(1)
			}
		})
	}
	eventually(t, patience, "the service answers", func() bool { return count.Load() >= enough })
	s.signal(t, syscall.SIGKILL)
	tasks.Wait()
	if a := other.post(t, "/v1/chat/completions", chat("after")); a.status != http.StatusOK {
		t.Errorf("the other node answers %d %s", a.status, a.body)
	}
	counts := recorded(t, address)
	for id := range whole.Range {
		if n := counts[id.(string)]; n != 1 {
			t.Errorf("%s ended well and is in the ledger %d times", id, n)
		}
	}
	if off := outOfBalanceOnPostgres(t, address); off != "" {
		t.Errorf("the days' sums aren't what the ledger says: %s", off)
	}
}

// wholly makes one request and says whether it ended well. Its answer may also be
// an error, in its own form.
func (s *service) wholly(t *testing.T, id string, stream bool) bool {
	body := chat("load")
	if stream {
		body = chat("load [[tokens=5]]", `"stream":true`)
	}
	response, err := s.client.Do(s.request(t.Context(), t, http.MethodPost, "/v1/chat/completions", body, "X-Request-ID", id))
	if err != nil {
		t.Errorf("the service is gone: %v", err)
		return false
	}
	defer func() { _ = response.Body.Close() }()
	got, err := io.ReadAll(response.Body)
	done := bytes.Contains(got, []byte("Echo: load"))
	if stream {
		done = bytes.Contains(got, []byte("data: [DONE]"))
	}
	good := err == nil && response.StatusCode == http.StatusOK && done
	if !good && !bytes.Contains(got, []byte(`"error"`)) {
		t.Errorf("%s: answered %d %s, %v", id, response.StatusCode, got, err)
	}
	return good
}

// outOfBalanceOnPostgres compares the sums of days with those of the ledger's
// rows, "" when all are equal.
func outOfBalanceOnPostgres(t *testing.T, address string) (off string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(t.Context()) }()
	err = conn.QueryRow(t.Context(), `
		WITH requests AS (
			SELECT project_id, key_id, answered_model AS model, sum(input_tokens + output_tokens) AS tokens, sum(cost_micro_usd) AS cost
			FROM usage WHERE cost_micro_usd IS NOT NULL GROUP BY 1, 2, 3
		), days AS (
			SELECT project_id, key_id, model, sum(input_tokens + output_tokens) AS tokens, sum(cost_micro_usd) AS cost FROM usage_days GROUP BY 1, 2, 3
		)
		SELECT coalesce(string_agg(model || ': ' || coalesce(r.tokens, 0) || ' in the ledger, ' || coalesce(d.tokens, 0) || ' by days', '; '), '')
		FROM requests r FULL JOIN days d USING (project_id, key_id, model)
		WHERE d.tokens IS DISTINCT FROM r.tokens OR d.cost IS DISTINCT FROM r.cost`).Scan(&off)
	if err != nil {
		t.Fatal(err)
	}
	return off
}
