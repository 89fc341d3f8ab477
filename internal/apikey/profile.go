package apikey

import (
	"slices"

	"claude-code-api-service/internal/gateway"
)

// The built-in profiles. They are the service contract's.
const (
	ProfileFree       = "free"
	ProfilePro        = "pro"
	ProfileEnterprise = "enterprise"
)

// Profile is a named set of permissions: what a key may do on the agentic
// endpoints.
type Profile struct {
	Name        string
	Permissions gateway.Permissions
}

// BuiltIn gives the built-in profiles, the narrowest first. The caller may change
// what it gets.
//
// free reads and nothing else. pro has the tools that stay inside the files and
// the web: none that starts programs, and no agents or skills either, because
// those may bring such tools along. enterprise may do all that the operator has
// configured.
func BuiltIn() []Profile {
	read := []string{"Read", "Glob", "Grep"}
	all := []string{gateway.All}
	return []Profile{
		{ProfileFree, gateway.Permissions{AllowedTools: read, MaxCostMicroUSD: 100_000}},
		{ProfilePro, gateway.Permissions{
			AllowedTools:    slices.Concat(read, []string{"Edit", "Write", "NotebookEdit", "WebFetch", "WebSearch", "TodoWrite"}),
			MaxCostMicroUSD: 1_000_000,
		}},
		{ProfileEnterprise, gateway.Permissions{
			AllowedTools: all, AllowedAgents: all, AllowedSkills: all, WorkingDirectories: all, MaxCostMicroUSD: 10_000_000,
		}},
	}
}

// builtIn finds a built-in profile.
func builtIn(name string) (Profile, bool) {
	for _, p := range BuiltIn() {
		if p.Name == name {
			return p, true
		}
	}
	return Profile{}, false
}
