package app

import (
	"context"
	"fmt"

	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/taskapi"
)

// makeTasks makes what does tasks. Without a CLI it refuses them, and this node leaves
// those that are queued to others.
func (a *App) makeTasks() {
	options := task.Options{
		Jobs: a.jobs, Callers: a.authenticator, Walk: func() gateway.Options { return a.now().walk },
		ApprovalTimeout: a.config.ApprovalTimeout.Duration(), Decided: a.decided, Log: a.log,
	}
	switch {
	case a.agents != nil:
		options.Runner = a.agents
	case a.pool == nil:
		options.Off = "tasks need the Claude Code CLI, and there is none here"
	default:
		options.Off = "tasks are switched off here (--max-tasks)"
	}
	a.desk = task.New(options)
	if a.agents == nil {
		return
	}
	a.jobs.Handle(job.KindTask, a.desk.Work)
	a.jobs.Forgotten(job.KindTask, a.desk.Forgotten)
}

// tasksOptions are for the endpoints of tasks.
func (a *App) tasksOptions(n *generation, g *gateway.Gateway) taskapi.Options {
	return taskapi.Options{Gateway: g, Tasks: a.desk, Once: a.once, MaxBody: n.config.MaxBodyBytes, Log: a.log}
}

// decided writes into the audit log what a person has allowed a task, or denied it,
// before whoever answered hears that it is done.
func (a *App) decided(ctx context.Context, call *gateway.Call, id string, answer task.Approval) error {
	action := task.Denied
	if answer.Decision == task.Allow {
		action = task.Approved
	}
	return audit.Write(ctx, a.store, audit.Event{
		Actor: call.Caller.KeyID, Address: call.Address, Action: action, Target: id, Project: call.Caller.ProjectID,
		Detail: fmt.Sprintf("question %d", answer.N), RequestID: call.RequestID,
	})
}
