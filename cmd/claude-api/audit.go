package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/audit"
	"claude-code-api-service/internal/config"
)

type auditCommand struct {
	List   auditListCommand   `cmd:"" help:"The newest events: changes of keys, projects, profiles and budgets, and refused requests."`
	Export auditExportCommand `cmd:"" help:"Every event, as JSON lines or CSV."`
}

// auditChoice chooses events.
type auditChoice struct {
	Since     string `help:"The first day, such as 2026-03-01, in UTC, or the first moment, such as 2026-03-01T12:00:00+02:00." placeholder:"TIME"`
	Action    string `help:"Only this action, such as key.revoked or request.refused."`
	Actor     string `help:"Only what was done by this one: a key's id, cli for these commands, program for one that has the service in it."`
	ProjectID string `help:"Only this project."`
	Key       string `help:"Only what was done by this key or to it: the key, its id or its visible beginning."`
}

func (c *auditChoice) filter(ctx context.Context, s app.Store) (audit.Filter, error) {
	since, err := moment("since", c.Since, 0)
	if err != nil {
		return audit.Filter{}, err
	}
	if known := app.AuditActions(); c.Action != "" && !slices.Contains(known, c.Action) {
		return audit.Filter{}, fmt.Errorf("--action: must be one of %s", strings.Join(known, ", "))
	}
	filter := audit.Filter{Since: since, Action: c.Action, Actor: c.Actor, Project: c.ProjectID}
	keys := newKeys(s)
	if err := knownProject(ctx, keys, c.ProjectID); err != nil {
		return audit.Filter{}, err
	}
	if c.Key != "" {
		account, err := keys.Find(ctx, c.Key)
		if err != nil {
			return audit.Filter{}, err
		}
		filter.Key = account.Key.ID
	}
	return filter, nil
}

func eventColumns() []column[audit.Event] {
	return []column[audit.Event]{
		{name: "id", value: func(e audit.Event) any { return e.ID }},
		{name: "time", value: func(e audit.Event) any { return e.Time }},
		{title: "Time", value: func(e audit.Event) any { return e.Time.Local().Format(time.DateTime) }},
		{name: "actor", title: "Actor", value: func(e audit.Event) any { return e.Actor }},
		{name: "address", title: "Address", value: func(e audit.Event) any { return e.Address }},
		{name: "action", title: "Action", value: func(e audit.Event) any { return e.Action }},
		{name: "target", title: "Target", value: func(e audit.Event) any { return e.Target }},
		{name: "project_id", title: "Project", value: func(e audit.Event) any { return e.Project }},
		{name: "detail", title: "Detail", value: func(e audit.Event) any { return e.Detail }},
		{name: "request_id", value: func(e audit.Event) any { return e.RequestID }},
	}
}

type auditListCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	auditChoice `embed:""`
	Limit       int `help:"The most events." default:"50"`
}

// Run prints the newest events, the newest last.
func (c *auditListCommand) Run() error {
	if c.Limit < 1 || c.Limit > 100_000 {
		return errors.New("--limit: must be between 1 and 100000")
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		filter, err := c.filter(ctx, s)
		if err != nil {
			return err
		}
		newest, err := s.NewestAudit(ctx, 0, c.Limit, filter)
		if err != nil {
			return err
		}
		slices.Reverse(newest)
		return printList(os.Stdout, c.Output, eventColumns(), newest)
	})
}

type auditExportCommand struct {
	config.Data `embed:""`
	export      `embed:""`
	auditChoice `embed:""`
}

func (c *auditExportCommand) Run() error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		filter, err := c.filter(ctx, s)
		if err != nil {
			return err
		}
		return pages(c.form(), eventColumns(), func(e audit.Event) int64 { return e.ID }, func(after int64) ([]audit.Event, error) {
			return s.ListAudit(ctx, after, page, filter)
		})
	})
}
