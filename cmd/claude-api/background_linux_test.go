package main

import (
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// backgroundEnvironment is that of commands for a service on an upstream, whose data
// folder is at its default place.
func backgroundEnvironment(t *testing.T, up *upstream) (env []string, data string) {
	t.Helper()
	home := t.TempDir()
	env = append(environment(t), "HOME="+home, "CLAUDE_API_LISTEN=127.0.0.1:0", "CLAUDE_API_CLAUDE_PATH=off", "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+up.url)
	return env, filepath.Join(home, ".claude-api")
}

// known is what service status tells.
type known struct {
	State, URL, Detail, Manager, Log string
	PID                              int
}

func statusOf(t *testing.T, text string) known {
	t.Helper()
	var k known
	if err := json.Unmarshal([]byte(text), &k); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return k
}

// startBackground starts the service, and has the test end it by its number.
func startBackground(t *testing.T, env []string) known {
	t.Helper()
	k := statusOf(t, command(t, env, "service", "start", "-o", "json"))
	t.Cleanup(func() { _ = syscall.Kill(k.PID, syscall.SIGKILL) }) // it has ended where all went well
	return k
}

func TestServiceInTheBackground(t *testing.T) {
	up := newUpstream(t)
	env, data := backgroundEnvironment(t, up)
	stopped := start(t, env, "service", "status", "-o", "json")
	if code := stopped.exit(t); code != 3 || statusOf(t, stopped.stdout.String()).State != "stopped" {
		t.Errorf("before the start: exit code %d, %s", code, stopped.stdout.String())
	}
	k := startBackground(t, env)
	if k.State != "running" || k.Detail != "ready" || k.Log != filepath.Join(data, "service.log") {
		t.Errorf("started: %+v", k)
	}
	if now := statusOf(t, command(t, env, "service", "status", "-o", "json")); now != k {
		t.Errorf("status %+v, want %+v", now, k)
	}
	for _, name := range []string{"service.pid", "service.log", "service.lock"} {
		if info, err := os.Stat(filepath.Join(data, name)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	again := start(t, env, "service", "start")
	if code := again.exit(t); code != 1 || !strings.Contains(again.stderr.String(), "the service runs already: process "+strconv.Itoa(k.PID)) {
		t.Errorf("a second start: exit code %d, %s", code, again.stderr.String())
	}

	// It belongs to no terminal, and its log is followed from the last line on.
	if group, err := syscall.Getpgid(k.PID); err != nil || group != k.PID {
		t.Errorf("its group is %d, %v", group, err)
	}
	follow := start(t, env, "service", "logs", "-n", "1", "-f")
	follow.expect(t, &follow.stdout, `^time=\S+ level=INFO msg=serving`)
	s := &service{process: follow, url: k.URL, client: &http.Client{Transport: &http.Transport{}}}
	t.Cleanup(s.client.CloseIdleConnections)
	s.get(t, "/v1/nothing")
	follow.expect(t, &follow.stdout, `msg=request method=GET`)
	follow.signal(t, syscall.SIGINT)
	if code := follow.exit(t); code != 0 {
		t.Errorf("logs -f: exit code %d, %s", code, follow.stderr.String())
	}

	command(t, env, "service", "stop")
	if conn, err := net.Dial("tcp", strings.TrimPrefix(k.URL, "http://")); err == nil {
		_ = conn.Close()
		t.Error("something listens after the stop")
	}
	if _, err := os.Stat(filepath.Join(data, "service.pid")); !os.IsNotExist(err) {
		t.Errorf("its number is left: %v", err)
	}
	if log := command(t, env, "service", "logs"); !strings.Contains(log, "msg=stopping signal=terminated") || strings.Contains(log, plantedKey) {
		t.Errorf("the log: %s", log)
	}
	twice := start(t, env, "service", "stop")
	if code := twice.exit(t); code != 1 || !strings.Contains(twice.stderr.String(), "the service isn't running") {
		t.Errorf("a second stop: exit code %d, %s", code, twice.stderr.String())
	}
}

// A service that is killed is found out, and started again over what it has left.
func TestServiceInTheBackgroundDies(t *testing.T) {
	up := newUpstream(t)
	env, _ := backgroundEnvironment(t, up)
	k := startBackground(t, env)
	if err := syscall.Kill(k.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, patience, "the service is seen to have ended", func() bool {
		p := start(t, env, "service", "status")
		return p.exit(t) == 3 && strings.Contains(p.stdout.String(), "has ended without being stopped")
	})
	startBackground(t, env)
	command(t, env, "service", "stop")
}

// A number that is another process's by now isn't touched.
func TestServiceStopHitsNobodyElse(t *testing.T) {
	up := newUpstream(t)
	env, data := backgroundEnvironment(t, up)
	k := startBackground(t, env)
	file := filepath.Join(data, "service.pid")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	command(t, env, "service", "stop")
	sleeper := exec.Command("sleep", "600")
	if err := sleeper.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _, _ = sleeper.Process.Kill(), sleeper.Wait() }()
	// The file of a service whose number the sleeper has now.
	write(t, file, strings.Replace(string(text), `"pid":`+strconv.Itoa(k.PID), `"pid":`+strconv.Itoa(sleeper.Process.Pid), 1))
	if p := start(t, env, "service", "status"); p.exit(t) != 3 {
		t.Errorf("another's process counts as the service: %s", p.stdout.String())
	}
	p := start(t, env, "service", "stop")
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.String(), "isn't running") {
		t.Errorf("exit code %d, %s", code, p.stderr.String())
	}
	if _, _, alive := stat("/proc/" + strconv.Itoa(sleeper.Process.Pid) + "/stat"); !alive {
		t.Error("another's process was ended")
	}
}

// What keeps the service from serving is told by the command that starts it.
func TestServiceStartThatFails(t *testing.T) {
	up := newUpstream(t)
	env, data := backgroundEnvironment(t, up)
	p := start(t, append(env, "ANTHROPIC_API_KEY="), "service", "start")
	if code := p.exit(t); code != 1 || !strings.Contains(p.stderr.String(), "there is nothing to serve requests with") {
		t.Errorf("exit code %d, %s", code, p.stderr.String())
	}
	if _, err := os.Stat(filepath.Join(data, "service.pid")); !os.IsNotExist(err) {
		t.Errorf("a number is left: %v", err)
	}
}

// A dry run shows a unit with this machine's paths, and writes nothing.
func TestServiceInstallDryRun(t *testing.T) {
	up := newUpstream(t)
	env, _ := backgroundEnvironment(t, up)
	home := t.TempDir()
	key := filepath.Join(home, "key")
	out := command(t, append(env, "HOME="+home), "service", "install", "--dry-run", "--api-key-file="+key)
	for _, want := range []string{
		"write " + home + "/.config/systemd/user/claude-api.service:", "ExecStart=" + own(t) + " serve --data-dir=" + home + "/.claude-api",
		"LoadCredential=anthropic-api-key:" + key, "run systemctl --user enable claude-api.service",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
	// Nothing is done that nobody has agreed to.
	p := start(t, append(env, "HOME="+home), "service", "install")
	if code := p.exit(t); code != 1 {
		t.Errorf("exit code %d\n%s", code, p.stdout.String())
	}
	if left, err := os.ReadDir(home); err != nil || len(left) > 0 {
		t.Errorf("it left %v, %v", left, err)
	}
}
