package main

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestUnusableCLI runs services whose CLI is missing or dead beside a key: the
// direct path works, and the CLI path says at once what is wrong.
func TestUnusableCLI(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "claude")
	if err := os.WriteFile(dead, []byte("#!/bin/sh\necho some diagnosis >&2\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	garbage := filepath.Join(t.TempDir(), "claude")
	if err := os.WriteFile(garbage, []byte("this is no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	up := newUpstream(t)
	for _, tt := range []struct{ name, path string }{
		{"missing", filepath.Join(t.TempDir(), "claude")}, {"dead", dead}, {"no program", garbage}, {"a folder", t.TempDir()},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, up.url, tt.path)
			for round := range 2 { // while it is being probed, and after that
				for _, endpoint := range endpoints {
					began := time.Now()
					a := s.post(t, endpoint.path, endpoint.body("x"), "X-Claude-Backend", "cli")
					if took := time.Since(began); took > time.Second {
						t.Errorf("%s: refused after %v", endpoint.path, took)
					}
					if a.status != http.StatusBadGateway && a.status != http.StatusServiceUnavailable {
						t.Fatalf("%s: status %d: %s", endpoint.path, a.status, a.body)
					}
					if e := checkEnvelope(t, endpoint.path, a, ""); !strings.Contains(e.Error.Message, "CLI") || len(e.Error.Message) < 40 {
						t.Errorf("%s: the reason is %q", endpoint.path, e.Error.Message)
					} else if round == 0 {
						t.Logf("%s: %d %s", endpoint.path, a.status, e.Error.Message)
					}
					if strings.Contains(a.body, tt.path) {
						t.Errorf("%s: the answer shows a path of the machine: %s", endpoint.path, a.body)
					}
				}
			}
			for _, endpoint := range endpoints {
				if a := s.post(t, endpoint.path, endpoint.body("x"), "X-Claude-Backend", "direct"); a.status != http.StatusOK {
					t.Errorf("%s on the direct path: %d %s", endpoint.path, a.status, a.body)
				}
			}
			health := decode[struct {
				Status   string
				Services map[string]struct{ Status, Detail string }
			}](t, s.get(t, "/health").body)
			if health.Status != "degraded" || health.Services["cli"].Status != "degraded" || health.Services["direct"].Status != "ok" {
				t.Errorf("health: %+v", health)
			}
			// There is a direct path, so the service is ready.
			if a := s.get(t, "/ready"); a.status != http.StatusOK || !strings.Contains(a.body, `"ready":true`) {
				t.Errorf("ready: %d %s", a.status, a.body)
			}
			if !strings.Contains(s.stderr.String(), "level=ERROR") {
				t.Errorf("the log has no error:\n%s", s.stderr.String())
			}
		})
	}
}

// TestDeadCLIAlone is a service with nothing but a CLI that can't be used: it
// isn't ready, and says why.
func TestDeadCLIAlone(t *testing.T) {
	dead := filepath.Join(t.TempDir(), "claude")
	if err := os.WriteFile(dead, []byte("#!/bin/sh\nexit 3\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	p := start(t, environment(t), "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir(), "--claude-path="+dead)
	s := connect(t, p)
	p.expect(t, &p.stderr, `level=ERROR`)
	eventually(t, patience, "/ready tells of the CLI", func() bool {
		a := s.get(t, "/ready")
		return a.status == http.StatusServiceUnavailable && strings.Contains(a.body, "CLI")
	})
	if a := s.get(t, "/health"); a.status != http.StatusOK || !strings.Contains(a.body, `"status":"degraded"`) {
		t.Errorf("health: %d %s", a.status, a.body)
	}
	if !strings.Contains(p.stderr.String(), "the CLI has no credential") {
		t.Error("the log doesn't say that the CLI has no credential")
	}
}

// TestDeadUpstream has a credential for an upstream that isn't there.
func TestDeadUpstream(t *testing.T) {
	s := serve(t, "http://127.0.0.1:1", "off", "--sdk-max-retries=1")
	db := s.ledger(t)
	for _, endpoint := range endpoints {
		a := s.post(t, endpoint.path, endpoint.body("x"), "X-Request-ID", "dead"+endpoint.path[4:8])
		if a.status != http.StatusBadGateway || a.header.Get("X-Error-Category") != "connection_error" {
			t.Errorf("%s: %d %v %s", endpoint.path, a.status, a.header, a.body)
		}
		checkEnvelope(t, endpoint.path, a, "")
		if strings.Contains(a.body, "127.0.0.1") {
			t.Errorf("%s: the answer shows an internal address: %s", endpoint.path, a.body)
		}
		if r := row(t, db, "dead"+endpoint.path[4:8]); r.Status != http.StatusBadGateway || r.Category != "connection_error" {
			t.Errorf("%s: the ledger has %+v", endpoint.path, r)
		}
	}
}
