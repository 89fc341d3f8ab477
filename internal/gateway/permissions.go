package gateway

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// All stands for every name, in one of the lists of Permissions.
const All = "*"

// Permissions are what a key's profile allows where the CLI works with tools. A
// list that is empty allows nothing.
type Permissions struct {
	// AllowedTools and BlockedTools are names of the CLI's tools; what is in both is
	// blocked.
	AllowedTools, BlockedTools []string
	AllowedAgents              []string
	AllowedSkills              []string
	// MaxCostMicroUSD is the most that one task may cost, in millionths of a US
	// dollar; 0: no limit.
	MaxCostMicroUSD int64
	// MaxTimeout is the longest that one task may run; 0: no limit.
	MaxTimeout time.Duration
	// WorkingDirectories are the absolute paths of folders in which, and below
	// which, a task may work; All stands for every folder that the operator lets
	// tasks work in.
	WorkingDirectories []string
}

// Tool says whether the CLI's tool may be used. A tool may be named with a rule
// behind it, as the CLI writes it: Bash(git log:*).
func (p Permissions) Tool(name string) bool {
	bare, _, _ := strings.Cut(name, "(")
	bare = strings.TrimSpace(bare)
	listed := func(list []string) bool {
		return slices.ContainsFunc(list, func(entry string) bool { return entry == All || entry == bare || entry == name })
	}
	return bare != "" && listed(p.AllowedTools) && !listed(p.BlockedTools)
}

// Directory says whether a task may work in a folder. Links are followed by
// whoever starts the task, and asked about again.
func (p Permissions) Directory(path string) bool {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return false
	}
	return slices.ContainsFunc(p.WorkingDirectories, func(root string) bool {
		return root == All || path == root || strings.HasPrefix(path, strings.TrimSuffix(root, "/")+"/")
	})
}
