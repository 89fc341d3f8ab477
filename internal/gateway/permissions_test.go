package gateway_test

import (
	"testing"

	"claude-code-api-service/internal/gateway"
)

func TestPermittedTools(t *testing.T) {
	some := gateway.Permissions{AllowedTools: []string{"Read", "Bash(git log:*)", "Write"}, BlockedTools: []string{"Write"}}
	all := gateway.Permissions{AllowedTools: []string{gateway.All}, BlockedTools: []string{"Bash"}}
	for _, test := range []struct {
		name string
		in   gateway.Permissions
		tool string
		want bool
	}{
		{"allowed", some, "Read", true},
		{"allowed, with a rule", some, "Read(./docs/**)", true},
		{"not listed", some, "Glob", false},
		{"allowed and blocked", some, "Write", false},
		{"blocked, with a rule", all, "Bash(git log:*)", false},
		{"only one rule", some, "Bash(git log:*)", true},
		{"another rule", some, "Bash(rm:*)", false},
		{"no rule where one is needed", some, "Bash", false},
		{"all but one", all, "WebFetch", true},
		{"in other letters", some, "read", false},
		{"no name", all, "(x)", false},
		{"nothing allowed", gateway.Permissions{}, "Read", false},
		{"a tool of an MCP server", all, "mcp__git-hub__list.all", true},
		{"a blocked one behind an allowed one", all, "Read Bash", false},
		{"a blocked one behind a comma", all, "Read,Bash", false},
		{"a blocked one before a comma", all, "Bash,", false},
		{"one that isn't allowed behind a rule", some, "Read(x) Bash(y)", false},
		{"one that isn't allowed behind nested parentheses", some, "Read((x) Bash(y))", false},
		{"a rule without an end", some, "Read(x", false},
		{"a rule without anything", some, "Read(", false},
		{"a rule that ends before the end", some, "Read(x),Bash", false},
		{"an empty rule", some, "Read()", true},
		{"all", all, "*", false},
		{"a flag", all, "--dangerously-skip-permissions", false},
		{"a blank", all, " Bash", false},
	} {
		if got := test.in.Tool(test.tool); got != test.want {
			t.Errorf("%s: %s is permitted: %t", test.name, test.tool, got)
		}
	}
}

func TestPermittedDirectories(t *testing.T) {
	some := gateway.Permissions{WorkingDirectories: []string{"/srv/a", "/"}}
	one := gateway.Permissions{WorkingDirectories: []string{"/srv/a"}}
	for _, test := range []struct {
		name string
		in   gateway.Permissions
		path string
		want bool
	}{
		{"the folder", one, "/srv/a", true},
		{"below it", one, "/srv/a/b/c", true},
		{"beside it", one, "/srv/ab", false},
		{"above it", one, "/srv", false},
		{"out of it", one, "/srv/a/../b", false},
		{"relative", one, "srv/a", false},
		{"none", one, "", false},
		{"below the root", some, "/etc", true},
		{"all", gateway.Permissions{WorkingDirectories: []string{gateway.All}}, "/etc", true},
		{"all, but not clean", gateway.Permissions{WorkingDirectories: []string{gateway.All}}, "/etc/", false},
		{"nothing allowed", gateway.Permissions{}, "/srv/a", false},
	} {
		if got := test.in.Directory(test.path); got != test.want {
			t.Errorf("%s: %s is permitted: %t", test.name, test.path, got)
		}
	}
}
