package main

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/postgres/pgtest"
)

// finding is one as doctor --output json prints it.
type finding struct{ Group, Check, Status, Detail, Mend string }

// examine runs the doctor on a service, as whoever runs it would.
func examine(t *testing.T, s *service, env []string, further ...string) map[string]finding {
	t.Helper()
	p := start(t, env, append([]string{
		"doctor", "--output=json", "--data-dir=" + s.data, "--", "--listen=" + strings.TrimPrefix(s.url, "http://"),
	}, further...)...)
	code := p.exit(t)
	var list []finding
	if err := json.Unmarshal([]byte(p.stdout.String()), &list); err != nil {
		t.Fatalf("%v\n%s%s", err, p.stdout.String(), p.stderr.String())
	}
	found, failed := map[string]finding{}, false
	for _, f := range list {
		failed = failed || f.Status == "fail"
		if had, twice := found[f.Check]; !twice || had.Status == "ok" {
			found[f.Check] = f
		}
	}
	if failed != (code == 1) {
		t.Errorf("exit code %d, and a failure: %t", code, failed)
	}
	if text := p.stdout.String() + p.stderr.String(); strings.Contains(text, plantedKey) || strings.Contains(text, pgtest.Password) || strings.Contains(text, s.key) {
		t.Error("it tells a secret")
	}
	return found
}

func expectFinding(t *testing.T, found map[string]finding, check, status, detail string) {
	t.Helper()
	if f := found[check]; f.Status != status || !strings.Contains(f.Detail, detail) {
		t.Errorf("%s: %+v, want %s with %q", check, f, status, detail)
	}
}

// TestDoctorOnARunningService looks at a service on the real CLI while it runs, then
// after it was killed.
func TestDoctorOnARunningService(t *testing.T) {
	cli := clitest.Path(t, install.Version)
	up := newUpstream(t)
	s := serve(t, up.url, cli)
	s.ready(t)
	if err := os.Chmod(s.data, 0o700); err != nil { // testing makes it for everybody
		t.Fatal(err)
	}
	before := len(up.Requests())
	env := append(s.env, "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+up.url, "CLAUDE_API_CLAUDE_PATH="+cli)
	found := examine(t, s, env)
	for check, f := range found {
		if f.Status == "fail" || f.Status == "warn" && check != "confinement" {
			t.Errorf("%+v", f)
		}
	}
	expectFinding(t, found, "address", "ok", "the service runs there")
	expectFinding(t, found, "cli-version", "ok", install.Version)
	expectFinding(t, found, "cli-probe", "ok", "emptied by rewind_conversation")
	expectFinding(t, found, "database", "ok", "sqlite")
	expectFinding(t, found, "keys", "ok", "1 for callers")
	expectFinding(t, found, "health", "ok", "all well")
	expectFinding(t, found, "alarms", "ok", "none in alarm")
	expectFinding(t, found, "upstream", "skip", "--online")
	if asked := len(up.Requests()); asked != before {
		t.Errorf("the upstream was asked %d times", asked-before)
	}

	s.signal(t, syscall.SIGKILL)
	s.exit(t)
	found = examine(t, s, append(env, "CLAUDE_API_CLAUDE_PATH="+filepath.Join(s.data, "absent")))
	expectFinding(t, found, "address", "ok", "free")
	expectFinding(t, found, "health", "skip", "isn't running")
	expectFinding(t, found, "cli", "fail", "absent")
	expectFinding(t, found, "cli-probe", "fail", "can't be driven")
}

// TestDoctorOnPostgreSQL looks at a real server: well, with a wrong password, and away.
func TestDoctorOnPostgreSQL(t *testing.T) {
	address := pgtest.Database(t)
	up := newUpstream(t)
	s := serveOnPostgres(t, address, up.url)
	s.ready(t)
	env := append(s.env, "ANTHROPIC_API_KEY="+plantedKey, "CLAUDE_API_CLAUDE_PATH=off")
	found := examine(t, s, env)
	expectFinding(t, found, "database", "ok", "postgresql ")
	expectFinding(t, found, "keys", "ok", "1 for callers")

	file := s.variable("CLAUDE_API_DATABASE_URL_FILE")
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	wrong, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	wrong.User = url.UserPassword(pgtest.Stranger, "wrong")
	if err := os.WriteFile(file, []byte(wrong.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	found = examine(t, s, env)
	expectFinding(t, found, "private-files", "fail", "can be read by others (0644)")
	expectFinding(t, found, "database", "fail", "password authentication failed")
}
