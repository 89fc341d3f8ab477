package gateway

import "time"

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
