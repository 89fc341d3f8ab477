package main

import (
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"time"
)

type tasksCommand struct {
	List   tasksListCommand   `cmd:"" help:"List the key's tasks, the newest first."`
	Get    tasksGetCommand    `cmd:"" help:"Show what is known of a task."`
	Cancel tasksCancelCommand `cmd:"" help:"End a task; with --forget, remove one that has ended."`
	Logs   tasksLogsCommand   `cmd:"" help:"Print what happens in a task, from its beginning to its end."`
}

// remoteTask is a task as the service tells of it.
type remoteTask struct {
	ID          string    `json:"id"`
	Status      string    `json:"status"`
	Description string    `json:"description"`
	Created     time.Time `json:"created_at"`
	Started     time.Time `json:"started_at"`
	Ended       time.Time `json:"ended_at"`
	Attempt     int       `json:"attempt"`
	Result      string    `json:"result"`
	Model       string    `json:"model"`
	Turns       int       `json:"turns"`
	Cost        *float64  `json:"cost_usd"`
	Detail      string    `json:"detail"`
	Artifacts   []struct {
		Path string `json:"path"`
	} `json:"artifacts"`
	Usage struct {
		Total int64 `json:"total_tokens"`
	} `json:"usage"`
}

// listedTask are the columns of a list, and the first of one task.
func listedTask() []column[remoteTask] {
	return []column[remoteTask]{
		{name: "id", title: "ID", value: func(t remoteTask) any { return t.ID }},
		{name: "status", title: "Status", value: func(t remoteTask) any { return t.Status }},
		{name: "created_at", title: "Created", value: func(t remoteTask) any { return t.Created }},
		{name: "ended_at", title: "Ended", value: func(t remoteTask) any { return t.Ended }},
		{name: "attempt", title: "Attempt", value: func(t remoteTask) any { return t.Attempt }},
	}
}

func wholeTask() []column[remoteTask] {
	return append(
		listedTask(),
		column[remoteTask]{name: "started_at", title: "Started", value: func(t remoteTask) any { return t.Started }},
		column[remoteTask]{name: "description", title: "Description", value: func(t remoteTask) any { return t.Description }},
		column[remoteTask]{name: "model", title: "Model", value: func(t remoteTask) any { return t.Model }},
		column[remoteTask]{name: "turns", title: "Turns", value: func(t remoteTask) any { return t.Turns }},
		column[remoteTask]{name: "tokens", title: "Tokens", value: func(t remoteTask) any { return t.Usage.Total }},
		column[remoteTask]{name: "cost_usd", title: "USD", value: func(t remoteTask) any {
			if t.Cost == nil {
				return nil
			}
			return usd(*t.Cost*1e6 + 0.5)
		}},
		column[remoteTask]{name: "artifacts", title: "Artifacts", value: func(t remoteTask) any {
			paths := []string{}
			for _, a := range t.Artifacts {
				paths = append(paths, a.Path)
			}
			return paths
		}},
		column[remoteTask]{name: "result", title: "Result", value: func(t remoteTask) any { return t.Result }},
		column[remoteTask]{name: "detail", title: "Error", value: func(t remoteTask) any { return t.Detail }},
	)
}

type tasksListCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	Status     string `help:"Only those in this state." enum:",queued,running,completed,failed,cancelled" default:""`
	Limit      int    `help:"The most that are listed, up to 1000." default:"100"`
}

func (c *tasksListCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	query := url.Values{"limit": {strconv.Itoa(c.Limit)}}
	if c.Status != "" {
		query.Set("status", c.Status)
	}
	var page struct {
		Tasks []remoteTask `json:"tasks"`
	}
	if err := c.read(ctx, http.MethodGet, "/v1/tasks?"+query.Encode(), &page); err != nil {
		return err
	}
	return printList(os.Stdout, c.Output, listedTask(), page.Tasks)
}

type tasksGetCommand struct {
	remote     `embed:""`
	listOutput `embed:""`
	ID         string `arg:"" help:"The task."`
}

func (c *tasksGetCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	var task remoteTask
	if err := c.read(ctx, http.MethodGet, pathOfTask(c.ID), &task); err != nil {
		return err
	}
	return printOne(os.Stdout, c.Output, wholeTask(), task)
}

func pathOfTask(id string) string { return "/v1/tasks/" + url.PathEscape(id) }

type tasksCancelCommand struct {
	remote `embed:""`
	ID     string `arg:"" help:"The task."`
	Forget bool   `help:"Remove a task that has ended, with its events and artifacts."`
}

func (c *tasksCancelCommand) Run() error {
	ctx, stop := untilInterrupted()
	defer stop()
	var task remoteTask
	if err := c.read(ctx, http.MethodGet, pathOfTask(c.ID), &task); err != nil {
		return err
	}
	if ended := task.Status != "queued" && task.Status != "running"; ended && !c.Forget {
		return fmt.Errorf("the task has ended already: it is %s", task.Status)
	}
	var answer struct {
		Status  string `json:"status"`
		Deleted bool   `json:"deleted"`
	}
	if err := c.read(ctx, http.MethodDelete, pathOfTask(c.ID), &answer); err != nil {
		return err
	}
	switch {
	case answer.Deleted:
		printf("%s is forgotten\n", c.ID)
	case answer.Status == "cancelled":
		printf("%s is cancelled\n", c.ID)
	default:
		printf("%s is ending\n", c.ID)
	}
	return nil
}
