// Package clitest gives tests the real Claude Code CLI and an upstream for it on
// loopback. Only tests import it.
package clitest

import (
	"bytes"
	"context"
	"os"
	"testing"

	"go.uber.org/goleak"

	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/simulator"
)

// IgnoreSpawner is for goleak: the thread that starts processes lives as long as
// the program.
func IgnoreSpawner() goleak.Option {
	return goleak.IgnoreAnyFunction("claude-code-api-service/internal/claudecli.runOnOneThread")
}

// RequireVariable makes a missing CLI a failure instead of a skip, when it is
// set to 1.
const RequireVariable = "CLAUDE_API_TEST_REQUIRE_CLI"

// Versions are the pinned CLI versions that the tests run.
var Versions = []string{install.Version, install.OlderVersion}

// Path gives the binary of a pinned version, installed from npm into the cache
// folder if it isn't there. Where that can't be done the test is skipped with a
// line that says so.
func Path(t testing.TB, version string) string {
	t.Helper()
	folder, err := install.CacheFolder()
	if err == nil {
		var path string
		path, err = install.Ensure(t.Context(), folder, version, func(text string) { t.Log(text) })
		if err == nil {
			return path
		}
	}
	if os.Getenv(RequireVariable) == "1" {
		t.Fatalf("the real CLI %s is required here (%s=1): %v", version, RequireVariable, err)
	}
	t.Skipf("SKIPPED: the real CLI %s can't be had: %v", version, err)
	return ""
}

// Upstream is a simulator on loopback that keeps the bodies of what it is sent.
type Upstream struct {
	*simulator.Simulator
	url string
}

// NewUpstream starts one for the length of the test.
func NewUpstream(t testing.TB) *Upstream {
	t.Helper()
	s := simulator.New(simulator.Options{KeepBodies: 10_000})
	url, err := s.Start("127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return &Upstream{Simulator: s, url: url}
}

// URL is where the upstream listens.
func (u *Upstream) URL() string { return u.url }

// Bodies gives the bodies of the requests for a message, oldest first.
func (u *Upstream) Bodies() [][]byte {
	var bodies [][]byte
	for _, r := range u.Requests() {
		if r.Path == "/v1/messages" {
			bodies = append(bodies, r.Body)
		}
	}
	return bodies
}

// Seen waits until a body that holds the text has come.
func (u *Upstream) Seen(ctx context.Context, text string) error {
	return u.Wait(ctx, func(simulator.Stats) bool {
		for _, b := range u.Bodies() {
			if bytes.Contains(b, []byte(text)) {
				return true
			}
		}
		return false
	})
}
