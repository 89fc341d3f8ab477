package app

import (
	"context"
	"fmt"
	"strings"
	"time"

	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/job"
	"claude-code-api-service/internal/task"
	"claude-code-api-service/internal/taskapi"
	"claude-code-api-service/internal/usage"
)

// makeTasks makes what does tasks. Without a CLI it refuses them, and this node leaves
// those that are queued to others.
func (a *App) makeTasks() {
	options := task.Options{
		Jobs: a.jobs, Callers: a.authenticator, Walk: func() gateway.Options { return a.now().walk },
		Spent: func(ctx context.Context, j job.Job) (int64, error) { return spentOn(ctx, a.store, j) }, ApprovalTimeout: a.config.ApprovalTimeout.Duration(), Decided: a.decided, Log: a.log,
	}
	switch {
	case a.agents != nil:
		options.Runner, options.Known = a.agents, a.known
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

// skew is how far the clocks of nodes, and that of their database, may differ here.
const skew = time.Minute

// ledgerPage is how many rows of the ledger are read at once.
const ledgerPage = 1_000

// spentOn adds up what a task's runs have cost by the ledger, in millionths of a US
// dollar: the meter's rows of them begin with the task's id.
func spentOn(ctx context.Context, store usage.Store, j job.Job) (spent int64, err error) {
	filter := usage.Filter{Since: j.Created.Add(-skew), ProjectID: j.ProjectID, KeyID: j.KeyID}
	for after := int64(0); ; {
		rows, err := store.ListUsage(ctx, after, ledgerPage, filter)
		if err != nil {
			return 0, fmt.Errorf("read the ledger: %w", err)
		}
		for _, r := range rows {
			if after = r.ID; r.CostMicroUSD != nil && strings.HasPrefix(r.RequestID, j.ID+"-") {
				spent += *r.CostMicroUSD
			}
		}
		if len(rows) < ledgerPage {
			return spent, nil
		}
	}
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
