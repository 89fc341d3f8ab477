package agent

import (
	"fmt"
	"slices"
	"strings"

	"claude-code-api-service/internal/gateway"
)

// The bounds of what a warning names: of how many tools, and how many bytes of each.
const (
	maxUnknown = 16
	maxNamed   = 64
)

// known says whether there can be a tool, for callers with these permissions: one of
// every, one of a server's, or one that their profile names.
func known(p *gateway.Permissions, name string) bool {
	return slices.Contains(every, name) || strings.HasPrefix(name, mcpPrefix) ||
		slices.ContainsFunc(p.AllowedTools, func(allowed string) bool { return bare(allowed) == name })
}

// Unknown warns, in words for callers, of entries of a list of tools, the request's member
// param, that no run can be given: nothing is called so. "": there are none.
func Unknown(param string, p *gateway.Permissions, tools []string) string {
	var names []string
	for _, entry := range tools {
		name := bare(entry)
		named := fmt.Sprintf("%q", name[:min(len(name), maxNamed)])
		if entry != gateway.All && !known(p, name) && !slices.Contains(names, named) && len(names) < maxUnknown {
			names = append(names, named)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return param + ": there are no tools of these names that the key could use: " + strings.Join(names, ", ")
}
