package main

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// booted has TestUnderSystemd run: make test-systemd.
var booted = flag.Bool("booted", false, "boot systemd in a container and install the service there (root, systemd-nspawn)")

// steps are what happens in the container, each behind a line "== NAME". What runs them
// is a unit of its own.
const steps = `
ready() { for i in $(seq 240); do curl -s "$@" | grep -q '"ready":true' && return; sleep 0.25; done; echo "never ready"; }
until_() { for i in $(seq 240); do "${@:2}" | grep -q "$1" && return; sleep 0.25; done; echo "never $1"; }
ask() { curl -s -H "x-api-key: $KEY" -H "X-Claude-Backend: $1" -d '{"model":"haiku","max_tokens":9,"messages":[{"role":"user","content":"hello"}]}' http://127.0.0.1:8006/v1/messages; echo; }
systemctl start upstream
echo '== install'; claude-api service install --system --yes
(umask 077; echo sk-ant-planted > /etc/claude-api/anthropic-api-key)
echo '== start'; claude-api service start; echo "exit $?"
ready http://127.0.0.1:8006/ready
KEY=$(setpriv --reuid claude-api --regid claude-api --clear-groups claude-api --config /etc/claude-api/config.yaml keys create --project-id p --profile enterprise -q)
echo '== status'; claude-api service status -o json; echo "exit $?"
echo '== health'; curl -s http://127.0.0.1:8006/health
echo '== cli'; ask cli
echo '== direct'; ask direct
echo '== task'; curl -s -H "Authorization: Bearer $KEY" -d '{"description":"Use it. [[tool=Bash input={\"command\":\"id -un; cat /etc/claude-api/config.yaml /etc/shadow\"}]]","allow_tools":["Bash"]}' http://127.0.0.1:8006/v1/task; echo
echo '== again'; claude-api service start; echo "exit $?"
echo '== reload'; systemctl reload claude-api; echo "exit $?"; until_ 'configuration is read again' claude-api service logs -n 50
echo '== logs'; claude-api service logs -n 1000
echo '== stop'; claude-api service stop; echo "exit $?"; claude-api service status; echo "exit $?"
echo '== socket'; systemctl start claude-api.socket; curl -s --unix-socket /run/claude-api.sock http://service/health; until_ '; ready$' systemctl show claude-api -p StatusText; systemctl show claude-api -p StatusText
# Calls go on while the service is started anew: none is refused.
echo '== restart'; (for i in $(seq 60); do curl -s -o /dev/null -w '%{http_code} ' http://127.0.0.1:8006/health; sleep 0.02; done) & systemctl restart claude-api; wait $!; echo
# Without the file it has no credential, and starts all the same.
echo '== keyless'; rm /etc/claude-api/anthropic-api-key; systemctl restart claude-api; curl -s http://127.0.0.1:8006/health
echo '== killed'; PID=$(systemctl show claude-api -p MainPID --value); kill -STOP "$PID"; for i in $(seq 100); do [ "$(systemctl show claude-api -p MainPID --value)" != "$PID" ] && break; sleep 0.5; done; ready http://127.0.0.1:8006/livez & sleep 3; curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8006/health; kill %1; systemctl show claude-api -p NRestarts
echo '== uninstall'; claude-api service uninstall --system --yes; echo "exit $?"; systemctl status claude-api 2>&1 | head -1
echo '== end'
`

// TestUnderSystemd installs the service on a machine that systemd runs: a container with
// this machine's files, whose changes are forgotten. The unit's limits hold there, with
// the real CLI inside of them.
func TestUnderSystemd(t *testing.T) {
	if !*booted {
		t.Skip("it boots a container: make test-systemd")
	}
	nspawn, cli := tool(t, "systemd-nspawn"), clitest.Path(t, install.Version)
	space := t.TempDir()
	mount(t, "tmpfs", space, "tmpfs", "")
	for _, name := range []string{"upper", "work", "root"} {
		if err := os.Mkdir(filepath.Join(space, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	root := filepath.Join(space, "root")
	mount(t, "overlay", root, "overlay", "lowerdir=/,upperdir="+filepath.Join(space, "upper")+",workdir="+filepath.Join(space, "work"))

	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", filepath.Join(root, "usr/local/bin/claude-api"), ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	binary, err := os.ReadFile(cli)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"usr/local/bin/claude": string(binary),
		"etc/machine-id":       "0123456789abcdef0123456789abcdef\n", // journals are told apart by it
		"steps":                steps,
		"etc/systemd/system/claude-api.service.d/test.conf": "[Service]\nEnvironment=ANTHROPIC_BASE_URL=http://127.0.0.1:8007 CLAUDE_API_MAX_WORKERS=1 CLAUDE_API_CONFINE=require\nWatchdogSec=5\n",
		"etc/systemd/system/upstream.service":               "[Service]\nExecStart=/usr/local/bin/claude-api simulator\n",
		"etc/systemd/system/steps.target":                   "[Unit]\nRequires=basic.target\nWants=steps.service\nAllowIsolate=yes\n",
		"etc/systemd/system/steps.service":                  "[Unit]\nAfter=basic.target\n[Service]\nType=oneshot\nEnvironment=HOME=/root PATH=/usr/local/bin:/usr/bin:/bin\nExecStart=/usr/bin/bash /steps\nStandardOutput=file:/result\nStandardError=inherit\nExecStopPost=/usr/bin/systemctl --no-block poweroff\nTimeoutStartSec=300\n",
	} {
		path := filepath.Join(root, name)
		if err := os.RemoveAll(path); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// nspawn's own filter of system calls doesn't know Landlock.
	boot := exec.CommandContext(t.Context(), nspawn, "--quiet", "--directory="+root, "--boot", "--private-network", "--register=no", "--keep-unit", "--console=pipe",
		"--system-call-filter=landlock_create_ruleset landlock_add_rule landlock_restrict_self", "systemd.unit=steps.target")
	out, err := boot.CombinedOutput()
	result, readErr := os.ReadFile(filepath.Join(root, "result"))
	if readErr != nil {
		t.Fatalf("%v, %v\n%s", err, readErr, out)
	}
	t.Logf("%s", result)
	got := map[string]string{}
	for _, part := range strings.Split("\n"+string(result), "\n== ") {
		name, text, _ := strings.Cut(part, "\n")
		got[name] = text
	}
	for _, want := range []struct{ step, pattern string }{
		{"install", `The credential for the upstream belongs into`},
		{"start", `(?s)State: +running.*Run by: +systemd\n.*exit 0`},
		{"status", `(?s)"state": "running".*"url": "http://127.0.0.1:8006",\s+"detail": "serving at http://127.0.0.1:8006; ready".*exit 0`},
		{"health", `"cli":\{"status":"ok".*"confinement":\{"status":"ok","detail":"Landlock`},
		{"cli", `"text":"Echo: hello"`},
		{"direct", `"text":"Echo: hello"`},
		{"task", `"status":"completed"`},
		{"again", `(?s)the service runs already: process \d+.*exit 1`},
		{"reload", `exit 0`},
		{"logs", `(?s)msg=serving.*the configuration is read again`},
		{"stop", `(?s)^exit 0.*State: +stopped.*exit 3`},
		{"socket", `(?s)"status":.*StatusText=serving at http://127.0.0.1:8006,unix:/run/claude-api.sock; ready`},
		{"restart", `^(200 ){60}$`},
		{"keyless", `no ANTHROPIC_API_KEY`},
		{"killed", `(?s)200\n.*NRestarts=1`},
		{"uninstall", `(?s)exit 0.*Unit claude-api.service could not be found`},
		{"end", ``},
	} {
		text, ran := got[want.step]
		if !ran || !regexp.MustCompile(want.pattern).MatchString(text) {
			t.Errorf("%s (it ran: %v) doesn't show %s:\n%s", want.step, ran, want.pattern, text)
		}
	}
	if strings.Contains(got["task"], "root:") {
		t.Errorf("a task read /etc/shadow: %s", got["task"])
	}
}

// mount mounts something until the test ends.
func mount(t *testing.T, source, target, kind, options string) {
	t.Helper()
	if err := unix.Mount(source, target, kind, 0, options); err != nil {
		t.Skipf("SKIPPED: %s can't be mounted here: %v", kind, err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(target, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
}
