package main

import (
	"context"
	"fmt"
	"os"

	"claude-code-api-service/client"
)

type tasksCommand struct {
	List   tasksListCommand   `cmd:"" help:"List the key's tasks, the newest first."`
	Get    tasksGetCommand    `cmd:"" help:"Show what is known of a task."`
	Cancel tasksCancelCommand `cmd:"" help:"End a task; with --forget, remove one that has ended."`
	Logs   tasksLogsCommand   `cmd:"" help:"Print what happens in a task, from its beginning to its end."`
}

// listedTask are the columns of a list, and the first of one task.
func listedTask() []column[client.Task] {
	return []column[client.Task]{
		{name: "id", title: "ID", value: func(t client.Task) any { return t.ID }},
		{name: "status", title: "Status", value: func(t client.Task) any { return condition(t.Status) }},
		{name: "created_at", title: "Created", value: func(t client.Task) any { return t.CreatedAt }},
		{name: "ended_at", title: "Ended", value: func(t client.Task) any { return t.EndedAt }},
		{name: "attempt", title: "Attempt", value: func(t client.Task) any { return t.Attempt }},
	}
}

func wholeTask() []column[client.Task] {
	return append(
		listedTask(),
		column[client.Task]{name: "started_at", title: "Started", value: func(t client.Task) any { return t.StartedAt }},
		column[client.Task]{name: "description", title: "Description", value: func(t client.Task) any { return t.Description }},
		column[client.Task]{name: "model", title: "Model", value: func(t client.Task) any { return t.Model }},
		column[client.Task]{name: "turns", title: "Turns", value: func(t client.Task) any { return t.Turns }},
		column[client.Task]{name: "tokens", title: "Tokens", value: func(t client.Task) any { return t.Usage.TotalTokens }},
		column[client.Task]{name: "cost_usd", title: "USD", value: func(t client.Task) any { return dollars(t.CostUSD) }},
		column[client.Task]{name: "artifacts", title: "Artifacts", value: func(t client.Task) any {
			paths := []string{}
			for _, a := range t.Artifacts {
				paths = append(paths, a.Path)
			}
			return paths
		}},
		column[client.Task]{name: "result", title: "Result", value: func(t client.Task) any { return t.Result }},
		column[client.Task]{name: "detail", title: "Error", value: func(t client.Task) any { return t.Detail }},
	)
}

type tasksListCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	Status     string `help:"Only those in this state." enum:",queued,running,completed,failed,cancelled" default:""`
	Limit      int    `help:"The most that are listed, up to 1000." default:"100"`
}

func (c *tasksListCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		page, err := service.ListTasks(ctx, client.TaskFilter{Status: c.Status, Limit: c.Limit})
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, listedTask(), page.Tasks)
	})
}

type tasksGetCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	ID         string `arg:"" help:"The task."`
}

func (c *tasksGetCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		task, err := service.GetTask(ctx, c.ID)
		if err != nil {
			return err
		}
		return printOne(os.Stdout, c.Output, wholeTask(), *task)
	})
}

type tasksCancelCommand struct {
	remote `embed:""`
	ID     string `arg:"" help:"The task."`
	Forget bool   `help:"Remove a task that has ended, with its events and artifacts."`
}

func (c *tasksCancelCommand) Run() error {
	return c.call(func(ctx context.Context, service *client.Client) error {
		task, err := service.GetTask(ctx, c.ID)
		if err != nil {
			return err
		}
		if task.Ended() && !c.Forget {
			return fmt.Errorf("the task has ended already: it is %s", task.Status)
		}
		task, forgotten, err := service.CancelTask(ctx, c.ID)
		switch {
		case err != nil:
			return err
		case forgotten:
			printf("%s is forgotten\n", c.ID)
		case task.Status == client.StatusCancelled:
			printf("%s is cancelled\n", c.ID)
		default:
			printf("%s is ending\n", c.ID)
		}
		return nil
	})
}
