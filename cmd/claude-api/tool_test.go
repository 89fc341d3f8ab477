package main

import (
	"os"
	"os/exec"
	"testing"
)

// requireTools makes a missing program of the machine a failure instead of a skipped
// test.
const requireTools = "CLAUDE_API_TEST_REQUIRE_TOOLS"

// tool finds a program of the machine that a test works with: a shell, a checker of
// systemd's. Where it is missing the test is skipped with a line that says so.
func tool(t testing.TB, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv(requireTools) == "1" {
		t.Fatalf("%s is required here (%s=1): %v", name, requireTools, err)
	}
	t.Skipf("SKIPPED: %s isn't installed", name)
	return ""
}
