package adminapi

import (
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/usage"
)

// Rooms are what the endpoints of keys, money, audit log, tasks and the playground need.
// All of them are required.
type Rooms struct {
	// Accounts is the store that Options.Keys look at: here it is changed.
	Accounts apikey.Store
	// Ledger says what was used.
	Ledger usage.Store
	// Held gives what requests that run hold of a budget of a project or of one of its keys;
	// now is in the project's time zone.
	Held func(projectID string, limit budget.Limit, now time.Time) int64
	// Actions are all of the audit log's.
	Actions []string
	// Tasks are those of all keys.
	Tasks *task.Tasks
	// Gateway is what the playground's calls walk through, each as the caller of a key.
	Gateway *gateway.Gateway
}

// roomEndpoints are those that need Rooms.
func (h *Handler) roomEndpoints() [][]endpoint {
	return [][]endpoint{
		h.keyEndpoints(), h.accountEndpoints(), h.budgetEndpoints(), h.spendEndpoints(), h.auditEndpoints(), h.taskEndpoints(), h.playgroundEndpoints(),
	}
}

// Actions gives every action of the audit log that this package writes, beside those of
// the rooms that it changes.
func Actions() []string {
	return []string{SignedIn, SignedOut, WorkerKilled, Reloaded, TaskCancelled, TaskForgotten, PlaygroundChat, PlaygroundTask}
}
