package main

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// descendants gives the processes below one, from /proc. Those that have ended
// and wait to be collected aren't among them.
func descendants(t testing.TB, root int) []int {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	parents := map[int]int{}
	for _, entry := range entries {
		if pid, parent, alive := stat(entry); alive {
			parents[pid] = parent
		}
	}
	var found []int
	for pid := range parents {
		for up, ok := parents[pid]; ok; up, ok = parents[up] {
			if up == root {
				found = append(found, pid)
				break
			}
		}
	}
	slices.Sort(found)
	return found
}

// stat reads /proc/PID/stat (proc(5)): pid (name) state parent.
func stat(path string) (pid, parent int, alive bool) {
	data, err := os.ReadFile(path)
	if err != nil {
		return 0, 0, false
	}
	text := string(data)
	fields := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	pid, err = strconv.Atoi(text[:strings.IndexByte(text, ' ')])
	if err != nil || len(fields) < 2 {
		return 0, 0, false
	}
	parent, err = strconv.Atoi(fields[1])
	return pid, parent, err == nil && fields[0] != "Z" && fields[0] != "X"
}

func proc(t testing.TB, pid int, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(string(data), "\x00", "\n")
}

// testSecrets sends a word of its own on every path, and looks for it, for the
// caller's key and for the service's credential wherever they must not be.
func testSecrets(t *testing.T, s *stand) {
	const word = "cryptocurrency-of-the-prompt"
	s.idle(t)
	var bodies []string
	for _, backend := range []string{"cli", "direct"} {
		for _, endpoint := range endpoints {
			for _, directive := range []string{"", " [[error=401]]", " [[error=400]]", " [[cut-after=1]]"} {
				a := s.post(t, endpoint.path, endpoint.body(word+directive), "X-Claude-Backend", backend)
				if a.status >= 400 {
					bodies = append(bodies, a.body)
				}
			}
			bodies = append(bodies,
				s.post(t, endpoint.path, endpoint.body(word)+"}", "X-Claude-Backend", backend).body,
				s.post(t, endpoint.path, strings.Replace(endpoint.body(word), `"role"`, `"r`+word+`"`, 1), "X-Claude-Backend", "cli").body)
		}
	}
	lines, leave := s.open(t, "/v1/chat/completions", chat(word+" [[tokens=1000 interval=20ms]]", `"stream":true`), "X-Claude-Backend", "cli")
	until(t, lines, "Echo")
	defer leave()

	children := descendants(t, s.cmd.Process.Pid)
	if len(children) < 2 {
		t.Fatalf("the service has the processes %v below it, want two workers", children)
	}
	places := map[string]string{
		"/health":  s.get(t, "/health").body,
		"/metrics": s.get(t, "/metrics").body,
		"errors":   strings.Join(bodies, "\n"),
		"the log":  s.stderr.String(),
		"stdout":   s.stdout.String(),
	}
	for _, pid := range append(children, s.cmd.Process.Pid) {
		places["the arguments of "+strconv.Itoa(pid)] = proc(t, pid, "cmdline")
	}
	for place, text := range places {
		for what, secret := range map[string]string{
			"the caller's key": s.key, "the service's credential": plantedKey, "a prompt": word, "a variable of the machine": plantedSecret,
		} {
			if at := strings.Index(text, secret); at >= 0 {
				t.Errorf("%s is in %s: %.300s", what, place, text[max(0, at-100):])
			}
		}
	}
	for _, pid := range children {
		env := proc(t, pid, "environ")
		if strings.Contains(env, "FOO_SECRET") || strings.Contains(env, plantedSecret) || strings.Contains(env, "\nCLAUDECODE=") || strings.HasPrefix(env, "CLAUDECODE=") {
			t.Errorf("the machine's variables reached process %d: %s", pid, env)
		}
		if strings.Contains(env, s.key) || !strings.Contains(env, "CLAUDE_API_WORKER=") {
			t.Errorf("process %d has the environment %s", pid, env)
		}
	}
}
