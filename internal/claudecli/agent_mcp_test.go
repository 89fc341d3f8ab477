package claudecli_test

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/confine"
)

// herbServer makes of this program an MCP server on standard input and output.
const herbServer = "CLAUDE_API_TEST_HERBS"

// serveHerbsIfAsked serves two tools until its input ends.
func serveHerbsIfAsked() {
	if os.Getenv(herbServer) == "" {
		return
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		var request struct {
			ID     jsontext.Value `json:"id"`
			Method string         `json:"method"`
			Params struct {
				Version string `json:"protocolVersion"`
				Name    string `json:"name"`
			} `json:"params"`
		}
		if json.Unmarshal(lines.Bytes(), &request) != nil || request.ID == nil {
			continue
		}
		result := `{}`
		switch request.Method {
		case "initialize":
			result = `{"protocolVersion":"` + request.Params.Version + `","capabilities":{"tools":{}},"serverInfo":{"name":"herbs","version":"1"}}`
		case "tools/list":
			result = `{"tools":[{"name":"grow","description":"grows","inputSchema":{"type":"object"}},{"name":"eat","description":"eats","inputSchema":{"type":"object"}}]}`
		case "tools/call":
			result = `{"content":[{"type":"text","text":"` + request.Params.Name + `: chives"}]}`
		}
		fmt.Printf(`{"jsonrpc":"2.0","id":%s,"result":%s}`+"\n", request.ID, result)
	}
	os.Exit(0)
}

// TestMCPServersOfAnAgent are started confined as it is, and only those of its file.
func TestMCPServersOfAnAgent(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	forBothVersions(t, func(t *testing.T, a *agentTest) {
		server := func(name string) string {
			return `{"mcpServers":{"` + name + `":{"command":"` + self + `","args":[],"env":{"` + herbServer + `":"1"}}}}`
		}
		a.agentic.MCPConfig = filepath.Join(a.agentic.Home, "mcp.json")
		a.write(t, a.agentic.MCPConfig, server("herbs"))
		a.write(t, filepath.Join(a.agentic.Directory, ".mcp.json"), server("project"))
		rules, err := confine.Program(self)
		if err != nil {
			t.Fatal(err)
		}
		a.agentic.Run = rules.Run
		a.agentic.Tools, a.agentic.Deny = []string{"Read"}, []string{"mcp__herbs__eat"}
		h, _ := a.turn(t, `[[tool=mcp__herbs__grow input={}]]`)
		if !strings.Contains(h.results(), "grow: chives") {
			t.Errorf("results = %s", h.results())
		}
		if got := a.offered(t); !slices.Equal(got, []string{"Read", "mcp__herbs__grow"}) {
			t.Errorf("offered %q", got)
		}
		if init := h.events[0]; !slices.Equal(init.Servers, []claudecli.MCPServer{{Name: "herbs", Status: "connected"}}) {
			t.Errorf("servers = %+v", init.Servers)
		}
		if len(h.judged) != 1 || h.judged[0].Name != "mcp__herbs__grow" {
			t.Errorf("judged = %+v", h.judged)
		}
	})
}
