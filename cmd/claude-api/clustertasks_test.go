package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
	"claude-code-api-service/internal/postgres/pgtest"
)

// TestClusterTasks gives tasks for the real CLI to three nodes on one database. One of those that
// run some is killed, another is stopped: all are done, each with one result.
func TestClusterTasks(t *testing.T) {
	if testing.Short() {
		t.Skip("takes its time")
	}
	cli, address, up := clitest.Path(t, install.Version), pgtest.Database(t), newUpstream(t)
	file := filepath.Join(t.TempDir(), "url")
	if err := os.WriteFile(file, []byte(address), 0o600); err != nil {
		t.Fatal(err)
	}
	own := environment(t, "CLAUDE_API_DATABASE_URL_FILE="+file)
	env := append(own, "ANTHROPIC_API_KEY="+plantedKey, "ANTHROPIC_BASE_URL="+up.url, "CLAUDE_API_CLAUDE_PATH="+cli)
	var nodes []*service
	for range clusterNodes {
		s := connect(t, start(t, env, "serve", "--listen=127.0.0.1:0", "--data-dir="+t.TempDir(),
			"--max-workers=1", "--min-workers=1", "--max-tasks=1", "--task-spares=0", "--shutdown-timeout=20"))
		s.env, s.data = own, t.TempDir()
		nodes = append(nodes, s.ready(t))
	}
	key := nodes[0].createKey(t)
	for _, s := range nodes {
		s.key = key
	}
	const tasks = 9
	var ids []string
	for n := range tasks {
		a := nodes[n%len(nodes)].post(t, "/v1/task", `{"description":`+quote(fmt.Sprintf("task-%d [[delay=700ms]]", n))+`,"model":"haiku","allow_tools":["Read"],"async":true}`)
		if a.status != http.StatusAccepted {
			t.Fatalf("%d %s", a.status, a.body)
		}
		ids = append(ids, decode[struct{ ID string }](t, a.body).ID)
	}
	last := nodes[2]
	running := func() (n int) {
		return strings.Count(last.get(t, "/v1/tasks?status=running").body, `"status":"running"`)
	}
	eventually(t, patience, "every node runs one", func() bool { return running() == len(nodes) })
	nodes[0].signal(t, syscall.SIGKILL)
	nodes[1].signal(t, syscall.SIGTERM)
	if code := nodes[1].exit(t); code != 0 {
		t.Errorf("exit code %d: %s", code, nodes[1].stderr.String())
	}
	for n, id := range ids {
		var a *answer
		eventually(t, 2*patience, "task "+id+" is done", func() bool {
			a = last.get(t, "/v1/tasks/"+id)
			return strings.Contains(a.body, `"status":"completed"`) || strings.Contains(a.body, `"status":"failed"`)
		})
		if !strings.Contains(a.body, `"status":"completed"`) || !strings.Contains(a.body, fmt.Sprintf("Echo: task-%d", n)) {
			t.Errorf("%d %s", a.status, a.body)
		}
		events := last.get(t, "/v1/tasks/"+id+"/events").body
		if results := strings.Count(events, "event: result"); results != 1 {
			t.Errorf("%s has %d results: %s", id, results, events)
		}
	}
}
