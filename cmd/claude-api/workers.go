package main

import (
	"context"
	"os"
	"time"

	"claude-code-api-service/client"
)

type workersCommand struct {
	Status workersStatusCommand `cmd:"" help:"Count the workers by what they do."`
	List   workersListCommand   `cmd:"" help:"List the workers."`
	Kill   workersKillCommand   `cmd:"" help:"End a worker; another is started where one is needed."`
}

type workersStatusCommand struct {
	adminRemote `embed:""`
	listOutput  `embed:""`
}

func poolColumns() []column[client.Pool] {
	return []column[client.Pool]{
		{name: "mode", title: "Mode", value: func(p client.Pool) any { return orNil(p.Mode) }},
		{name: "idle", title: "Idle", value: func(p client.Pool) any { return p.Idle }},
		{name: "held", title: "Held", value: func(p client.Pool) any { return p.Held }},
		{name: "parked", title: "Parked", value: func(p client.Pool) any { return p.Parked }},
		{name: "busy", title: "Busy", value: func(p client.Pool) any { return p.Busy }},
		{name: "starting", title: "Starting", value: func(p client.Pool) any { return p.Starting }},
		{name: "queued", title: "Requests that wait", value: func(p client.Pool) any { return p.Queued }},
		{name: "min", title: "At least", value: func(p client.Pool) any { return p.Min }},
		{name: "max", title: "At most", value: func(p client.Pool) any { return p.Max }},
		{name: "reason", title: "Reason", value: func(p client.Pool) any { return orNil(p.Reason) }},
	}
}

func (c *workersStatusCommand) Run() error {
	return c.call(func(ctx context.Context, admin *client.Admin) error {
		overview, err := admin.Overview(ctx)
		switch {
		case err != nil:
			return err
		case overview.Pool == nil:
			return notFound("the service has no workers: it runs without the CLI")
		}
		return printOne(os.Stdout, c.Output, poolColumns(), *overview.Pool)
	})
}

type workersListCommand struct {
	adminRemote `embed:""`
	listOutput  `embed:""`
}

func workerColumns() []column[client.Worker] {
	return []column[client.Worker]{
		{name: "id", title: "ID", value: func(w client.Worker) any { return w.ID }},
		{name: "pid", title: "Process", value: func(w client.Worker) any { return positive(int64(w.PID)) }},
		{name: "state", title: "State", value: func(w client.Worker) any { return condition(w.State) }},
		{name: "age_seconds", title: "Age", value: func(w client.Worker) any { return upFor(w.AgeSeconds) }},
		{name: "idle_seconds", title: "At rest", value: func(w client.Worker) any {
			if w.IdleSeconds <= 0 {
				return nil
			}
			return upFor(w.IdleSeconds)
		}},
		{name: "turns", title: "Turns", value: func(w client.Worker) any { return w.Turns }},
		{name: "rss_bytes", value: func(w client.Worker) any { return positive(w.RSSBytes) }},
		{title: "MiB", value: func(w client.Worker) any { return positive(w.RSSBytes >> 20) }},
		{name: "model", title: "Model", value: func(w client.Worker) any { return orNil(w.Model) }},
		{name: "project_id", title: "Project", value: func(w client.Worker) any { return orNil(w.ProjectID) }},
		{name: "request_id", title: "Request", value: func(w client.Worker) any { return orNil(w.RequestID) }},
	}
}

// positive makes 0 what isn't known.
func positive(n int64) any {
	if n <= 0 {
		return nil
	}
	return n
}

func (c *workersListCommand) Run() error {
	return c.call(func(ctx context.Context, admin *client.Admin) error {
		workers, err := admin.Workers(ctx)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, workerColumns(), workers.Workers)
	})
}

type workersKillCommand struct {
	adminRemote `embed:""`
	ID          string `arg:"" help:"The worker, as workers list names it."`
	Yes         bool   `short:"y" help:"Ask nothing, also where it serves a request."`
}

// killTimeout bounds the wait for a worker's end.
const killTimeout = 30 * time.Second

func (c *workersKillCommand) Run() error {
	return c.call(func(ctx context.Context, admin *client.Admin) error {
		ctx, cancel := context.WithTimeout(ctx, killTimeout)
		defer cancel()
		workers, err := admin.Workers(ctx)
		if err != nil {
			return err
		}
		for _, w := range workers.Workers {
			if w.ID == c.ID && w.RequestID != "" && !c.Yes && !agreed("The worker serves the request "+printable(w.RequestID)+", which will fail. End it?") {
				return &exitError{exitInterrupted, errNothingDone}
			}
		}
		if err := admin.EndWorker(ctx, c.ID); err != nil {
			return err
		}
		printf("%s is ended\n", printable(c.ID))
		return nil
	})
}
