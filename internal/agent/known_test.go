package agent

import (
	"fmt"
	"strings"
	"testing"

	"claude-code-api-service/internal/gateway"
)

func TestUnknown(t *testing.T) {
	var many []string
	for i := range 2 * maxUnknown {
		many = append(many, fmt.Sprintf("T%d", i))
	}
	named := gateway.Permissions{AllowedTools: []string{"Monitor(ls:*)"}}
	for _, c := range []struct {
		name        string
		permissions gateway.Permissions
		tools       []string
		want        []string
	}{
		{"known", everything, []string{gateway.All, "Read", "Bash(git log:*)", "mcp__files", "mcp__files__list(a)"}, nil},
		{"none", everything, nil, nil},
		{"unknown", everything, []string{"Read", "Nonsense", "read", "Nonsense(a:*)"}, []string{`"Nonsense"`, `"read"`}},
		{"the profile's star doesn't stand for it", everything, []string{"Monitor"}, []string{`"Monitor"`}},
		{"the profile names it", named, []string{"Monitor"}, nil},
		{"long", everything, []string{strings.Repeat("x", 100)}, []string{`"` + strings.Repeat("x", maxNamed) + `"`}},
		{"many", everything, many, strings.Split(`"`+strings.Join(many[:maxUnknown], `" "`)+`"`, " ")},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := ""
			if c.want != nil {
				want = "allow_tools: there are no tools of these names that the key could use: " + strings.Join(c.want, ", ")
			}
			if got := Unknown("allow_tools", &c.permissions, c.tools); got != want {
				t.Errorf("%q, want %q", got, want)
			}
		})
	}
}
