package gateway

import (
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// All stands for every name, in one of the lists of Permissions.
const All = "*"

// The bounds of a list of tools, agents or skills in a request: how many it names, and how
// long each name may be, in bytes, with the rule behind it.
const (
	MaxNames = 128
	MaxName  = 1_024
)

// NamesFit says whether a list keeps the bounds. Each use of a tool is held against it.
func NamesFit(names []string) bool {
	return len(names) <= MaxNames && !slices.ContainsFunc(names, func(name string) bool { return len(name) > MaxName })
}

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
// behind it, as the CLI writes it: Bash(git log:*). What isn't exactly one tool may
// not: the CLI takes lists of them, in which a further one could hide.
func (p Permissions) Tool(name string) bool {
	bare, ok := bareTool(name)
	listed := func(list []string) bool {
		return slices.ContainsFunc(list, func(entry string) bool { return entry == All || entry == bare || entry == name })
	}
	return ok && listed(p.AllowedTools) && !listed(p.BlockedTools)
}

// bareTool gives a tool's name without the rule behind it. ok is false for what
// isn't a name, or a name and one pair of parentheses at its end: the CLI splits
// lists at blanks and commas outside of parentheses, which it doesn't nest.
func bareTool(name string) (bare string, ok bool) {
	bare, rule, ruled := strings.Cut(name, "(")
	if ruled && (rule == "" || strings.IndexAny(rule, "()") != len(rule)-1) {
		return "", false
	}
	foreign := func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '_' && c != '-' && c != '.' && c != ':'
	}
	return bare, bare != "" && bare[0] != '-' && !strings.ContainsFunc(bare, foreign)
}

// Directory says whether a task may work in a folder, by its name alone. Links are
// followed by Gateway.Directory.
func (p Permissions) Directory(path string) bool {
	if !filepath.IsAbs(path) || filepath.Clean(path) != path {
		return false
	}
	return slices.ContainsFunc(p.WorkingDirectories, func(root string) bool {
		return root == All || within(path, root)
	})
}
