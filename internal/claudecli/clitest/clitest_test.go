package clitest_test

import (
	"os/exec"
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
)

// TestPinnedVersions installs each pinned version where it isn't there yet, and
// asks the binary itself which it is.
func TestPinnedVersions(t *testing.T) {
	for _, version := range clitest.Versions {
		t.Run(version, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), clitest.Path(t, version), "--version")
			cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + t.TempDir(), "DISABLE_AUTOUPDATER=1"}
			output, err := cmd.Output()
			if err != nil {
				t.Fatal(err)
			}
			if got, _, _ := strings.Cut(string(output), " "); got != version {
				t.Errorf("the binary says %q, want %s", strings.TrimSpace(string(output)), version)
			}
		})
	}
}
