// Package clitest gives tests the real Claude Code CLI and an upstream for it on
// loopback. Only tests import it.
package clitest

import (
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

// NewUpstream starts a simulator on loopback, for the length of the test, that
// keeps what it is sent.
func NewUpstream(t testing.TB) *simulator.Simulator {
	t.Helper()
	s := simulator.New(simulator.Options{KeepBodies: 10_000})
	if _, err := s.Start(""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}
