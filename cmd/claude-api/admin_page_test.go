package main

import (
	"strings"
	"testing"

	"claude-code-api-service/internal/claudecli/clitest"
	"claude-code-api-service/internal/claudecli/install"
)

// TestAdminPage runs every command of docs/admin.md against a service with the real CLI,
// in the order of the page, and looks for what each must have printed.
func TestAdminPage(t *testing.T) {
	s := serve(t, newUpstream(t).url, clitest.Path(t, install.Version), "CLAUDE_API_DEFAULT_USE_CLI=false").ready(t)
	s.post(t, "/v1/chat/completions", chat("hello"))
	_, blocks := readDoc(t, "admin.md")
	blocks = shBlocks(blocks)
	printed := runBlocks(t, environment(t, "URL="+s.url, "CLAUDE_API_DATA_DIR="+s.data), blocks)
	for _, want := range []struct{ command, printed string }{
		{"%{http_code}", "401\n\"status\":\"ok\""},
		{"-c session.txt", `"name":"boss"`},
		{"-c session.txt", "401"},
		{"/overview", `"pool":{`},
		{"live=true", `"live":[]`},
		{"live=false", `"endpoint":"/v1/chat/completions"`},
		{"latency?window=5m", `"backend":"direct"`},
		{"timeline?minutes=1", `"step_seconds":1`},
		{"/workers/worker_NOSUCH", `"state":"idle"`},
		{"/workers/worker_NOSUCH", `there is no such worker`},
		{"/stream", "event: overview\nevent: requests"},
		{"/reload", `"changed":[]`},
		{"/keys", `"name":"the shop"`},
		{"-X PUT", `"soft_percent":80`},
		{"/spend?", `"name":"direct","requests":1,"errors":0`},
		{"/audit?", `"target":"shop"`},
		{"/tasks?", `{"tasks":[],"next":null}`},
		{"/playground/chat", "event: start\n"},
		{"/playground/chat", `"backend":"cli"`},
	} {
		found := false
		for i, b := range blocks {
			found = found || strings.Contains(b.text+"\n", want.command) && strings.Contains(printed[i], want.printed)
		}
		if !found {
			t.Errorf("nothing with %q has printed %q", want.command, want.printed)
		}
	}
}
