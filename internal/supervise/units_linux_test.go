package supervise

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"claude-code-api-service/deploy"
)

// analyze runs systemd's own checker. Where it isn't installed the test is skipped with
// a line that says so.
func analyze(t *testing.T, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("systemd-analyze")
	if err != nil {
		if os.Getenv("CLAUDE_API_TEST_REQUIRE_TOOLS") == "1" {
			t.Fatalf("systemd-analyze is required here: %v", err)
		}
		t.Skip("SKIPPED: systemd-analyze isn't installed")
	}
	out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out)
}

// units writes units into a folder of their own, with a program that exists.
func units(t *testing.T, texts map[string]string) (paths []string) {
	t.Helper()
	folder := t.TempDir()
	for name, text := range texts {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, deploy.Program, "/bin/true")), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

// TestUnits has systemd read all units: as they are in packages, and as service install
// writes them for paths with everything in them.
func TestUnits(t *testing.T) {
	odd := Options{Program: filepath.Join(t.TempDir(), "a program; 100%h $HOME"), Home: "/home/me", DataDir: "/home/me/da ta$", Config: `/home/me/"my" \settings.yaml`}
	if err := os.Symlink("/bin/true", odd.Program); err != nil {
		t.Fatal(err)
	}
	user, err := newSystemd(odd, true).adapt(deploy.UserUnit, "/home/me/the key 100%")
	if err != nil {
		t.Fatal(err)
	}
	for name, texts := range map[string]map[string]string{
		"system":  {"claude-api.service": deploy.SystemUnit, "claude-api.socket": deploy.SystemSocket},
		"user":    {"claude-api.service": deploy.UserUnit},
		"adapted": {"claude-api.service": user},
	} {
		if out := analyze(t, append([]string{"verify", "--man=no", "--recursive-errors=no"}, units(t, texts)...)...); strings.Contains(out, "claude-api") {
			t.Errorf("%s: %s", name, out)
		}
	}
}

// mostExposed is systemd's own measure of what a service could do to the machine, times
// ten: 100 is a unit without any limit. What is left is the network, which is what the
// service is for, and what its CLI needs.
const mostExposed = 18

func TestSystemUnitIsConfined(t *testing.T) {
	path := units(t, map[string]string{"claude-api.service": deploy.SystemUnit})[0]
	analyze(t, "security", "--offline=yes", "--threshold="+strconv.Itoa(mostExposed), "--json=short", path)
	var rows []struct {
		Set      bool   `json:"set"`
		Field    string `json:"json_field"`
		Exposure string `json:"exposure"`
	}
	if err := json.Unmarshal([]byte(analyze(t, "security", "--offline=yes", "--json=short", path)), &rows); err != nil {
		t.Fatal(err)
	}
	// What the unit says it leaves open, and nothing else.
	open := map[string]bool{
		"RootDirectoryOrRootImage": true, "PrivateMounts": true, "PrivateNetwork": true, "PrivateUsers": true, "ProcSubset": true, "DeviceAllow": true,
		"IPAddressDeny": true, "MemoryDenyWriteExecute": true,
		"SystemCallFilter_privileged":           true, // for capset, with which a process can only give up what it has
		"RestrictAddressFamilies_AF_INET_INET6": true, "RestrictAddressFamilies_AF_UNIX": true, "RestrictAddressFamilies_AF_NETLINK": true,
	}
	for _, row := range rows {
		if row.Exposure != "" && row.Exposure != "0" && !row.Set && !open[row.Field] {
			t.Errorf("%s is open", row.Field)
		}
	}
	if len(rows) < 50 {
		t.Errorf("systemd looked at %d things only", len(rows))
	}
}

// What the service confines the CLI with must not be what the unit forbids it.
func TestSystemUnitLeavesTheConfinementItsCalls(t *testing.T) {
	last := ""
	for line := range strings.Lines(deploy.SystemUnit) {
		if rest, ok := strings.CutPrefix(strings.TrimSpace(line), "SystemCallFilter="); ok {
			last = rest
		}
	}
	for _, call := range []string{"capset", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self"} {
		if !strings.Contains(" "+last+" ", " "+call+" ") {
			t.Errorf("%s isn't in the last SystemCallFilter=, which wins over those before it: %s", call, last)
		}
	}
	for _, forbidden := range []string{"MemoryDenyWriteExecute=yes", "ProcSubset=pid", "PrivateNetwork=yes"} {
		if strings.Contains(deploy.SystemUnit, "\n"+forbidden) {
			t.Errorf("the CLI can't run with %s", forbidden)
		}
	}
}

// The stop of each manager takes longer than the service's own.
func TestStopsAreLongEnough(t *testing.T) {
	for name, text := range map[string]string{"system": deploy.SystemUnit, "user": deploy.UserUnit} {
		if !strings.Contains(text, "\nTimeoutStopSec=45\n") || !strings.Contains(text, "\nKillMode=mixed\n") || !strings.Contains(text, "\nType=notify\n") {
			t.Errorf("%s: %s", name, text)
		}
	}
}
