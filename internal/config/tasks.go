package config

import (
	"fmt"
	"path/filepath"
)

// Tasks says how agentic work is done: tasks and sessions.
type Tasks struct {
	MaxTasks        int     `help:"The most tasks, and answers of sessions, that run at once, each on a CLI process of its own beside --max-workers; 0: there are none." default:"2" env:"CLAUDE_API_MAX_TASKS"`
	TaskSpares      int     `help:"CLI processes that are kept started for tasks like those that came last; 0: none." default:"1" env:"CLAUDE_API_TASK_SPARES"`
	TaskTTL         Seconds `name:"task-ttl" help:"How long a task that has ended is kept, with its events and artifacts; a bare number is seconds." default:"720h" env:"CLAUDE_API_TASK_TTL"`
	ApprovalTimeout Seconds `help:"How long a task waits for a person's approval, which is then denied." default:"300" env:"CLAUDE_API_APPROVAL_TIMEOUT"`
	ArtifactBytes   int64   `help:"The most bytes that are kept of one task's artifacts together." default:"104857600" env:"CLAUDE_API_ARTIFACT_BYTES"`
	SessionIdle     Seconds `help:"How long a session's CLI process waits for its next message; later ones start another." default:"900" env:"CLAUDE_API_SESSION_IDLE"`
	SessionTTL      Seconds `name:"session-ttl" help:"How long a session is kept after its last message." default:"720h" env:"CLAUDE_API_SESSION_TTL"`
	MCPConfig       string  `name:"mcp-config" help:"File with the MCP servers that tasks and sessions may use, as the CLI reads it; without Bash they start no other programs, so npx fails there." env:"CLAUDE_API_MCP_CONFIG,MCP_CONFIG"`
}

func (t *Tasks) validateTasks() error {
	for name, value := range map[string]int64{
		"--max-tasks": int64(t.MaxTasks), "--task-spares": int64(t.TaskSpares), "--task-ttl": int64(t.TaskTTL),
		"--approval-timeout": int64(t.ApprovalTimeout), "--artifact-bytes": t.ArtifactBytes,
		"--session-idle": int64(t.SessionIdle), "--session-ttl": int64(t.SessionTTL),
	} {
		if value < 0 {
			return fmt.Errorf("%s: must not be negative", name)
		}
	}
	if t.MCPConfig != "" && !filepath.IsAbs(t.MCPConfig) {
		return fmt.Errorf("--mcp-config: %q isn't an absolute path", t.MCPConfig)
	}
	return nil
}
