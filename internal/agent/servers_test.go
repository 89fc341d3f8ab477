package agent_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"claude-code-api-service/internal/agent"
	"claude-code-api-service/internal/confine"
)

// shellServer is an MCP server with one tool, which reads a file that it is told of and
// tries to start another program.
const shellServer = `#!/bin/sh
while read -r line; do
	id=${line#*\"id\":}; id=${id%%[,\}]*}
	case $line in
	*'"initialize"'*) result='{"protocolVersion":"2025-06-18","capabilities":{"tools":{}},"serverInfo":{"name":"herbs","version":"1"}}' ;;
	*'"tools/list"'*) result='{"tools":[{"name":"grow","description":"grows","inputSchema":{"type":"object"}}]}' ;;
	*'"tools/call"'*)
		read -r word <"$1"
		if /bin/true; then other=started; else other=refused; fi 2>/dev/null
		result="{\"content\":[{\"type\":\"text\",\"text\":\"$word, another is $other\"}]}" ;;
	*'"id"'*) result='{}' ;;
	*) continue ;;
	esac
	printf '{"jsonrpc":"2.0","id":%s,"result":%s}\n' "$id" "$result"
done
`

// TestServersStartWithoutAShell: a run without Bash has the configured MCP servers, which
// can start no other program.
func TestServersStartWithoutAShell(t *testing.T) {
	landlock, _ := confine.Confinement{}.Holds()
	forBothVersions(t, func(t *testing.T, version string) {
		folder := t.TempDir()
		write(t, folder, map[string]string{"bin/herbs": shellServer, "data/word": "chives\n", "mcp.json": `{"mcpServers":{"herbs":{"command":"` + folder + `/bin/herbs","args":["` + folder + `/data/word"]}}}`})
		if err := os.Chmod(filepath.Join(folder, "bin", "herbs"), 0o700); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
		s := newService(t, version, nil, func(o *agent.Options) { o.MCPConfig = filepath.Join(folder, "mcp.json") })
		want, h := spec("key_1", call("mcp__herbs__grow", map[string]any{})), &heard{}
		want.Tools = []string{"Read", "mcp__herbs"}
		if _, err := s.Run(t.Context(), want, h); err != nil {
			t.Fatal(err)
		}
		if got := h.results(); !strings.Contains(got, "chives, another is "+map[bool]string{true: "refused", false: "started"}[landlock]) {
			t.Errorf("results = %s", got)
		}
	})
}
