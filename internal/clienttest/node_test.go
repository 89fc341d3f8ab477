package clienttest_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// folder holds the clients for Node.js and their checks.
const folder = "../../clients"

// nodeTimeout bounds all checks of one client.
const nodeTimeout = 3 * time.Minute

// node finds Node.js and the installed clients. Where they aren't, the test is
// skipped, or fails where they are required.
func node(t *testing.T) (path string) {
	t.Helper()
	path, err := exec.LookPath("node")
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err == nil {
		_, err = os.Stat(filepath.Join(folder, "node_modules"))
	}
	switch {
	case err == nil:
		return path
	case required():
		t.Fatalf("the clients are required here: %v (run make test-clients)", err)
	}
	t.Skipf("SKIPPED: the clients aren't there: %v (run make test-clients)", err)
	return ""
}

// runNode runs the checks of one client for Node.js and gives what they say.
func (s *stand) runNode(t *testing.T, node string, c client) []result {
	t.Helper()
	given, err := json.Marshal(map[string]string{"url": s.app.URL(), "key": s.key, "control": s.control})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), node, c.script)
	cmd.Dir = folder
	// Built from nothing, so that no key, proxy or address of the machine is used;
	// what LangChain and others would send home is off.
	cmd.Env = []string{
		"PATH=" + filepath.Dir(node) + ":/usr/bin:/bin", "HOME=" + t.TempDir(), "TMPDIR=" + t.TempDir(), "STAND=" + string(given),
		"LANGCHAIN_TRACING=false", "LANGCHAIN_TRACING_V2=false", "LANGSMITH_TRACING=false", "LANGSMITH_TRACING_V2=false",
		"LANGCHAIN_CALLBACKS_BACKGROUND=false", "OTEL_SDK_DISABLED=true", "DO_NOT_TRACK=1", "NO_PROXY=*",
	}
	cmd.WaitDelay = time.Second
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	timer := time.AfterFunc(nodeTimeout, func() { _ = cmd.Cancel() })
	defer timer.Stop()
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			t.Fatal(err)
		}
		t.Errorf("%s: %v\n%s", c.script, err, errs.String())
	}
	var results []result
	lines := bufio.NewScanner(&out)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var r result
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil || r.Client == "" {
			t.Errorf("%s printed %q", c.script, lines.Text())
			continue
		}
		results = append(results, r)
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
	return results
}
