package main

import (
	"cmp"
	"context"
	"errors"
	"os"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

type projectsCommand struct {
	List listProjectsCommand `cmd:"" help:"List the projects that have keys or settings."`
	Set  setProjectCommand   `cmd:"" help:"Set a project's time zone, limits or budgets, which hold for all its keys together."`
}

func projectColumns() []column[apikey.Project] {
	return append([]column[apikey.Project]{
		{name: "id", title: "ID", value: func(p apikey.Project) any { return p.ID }},
		{name: "time_zone", title: "Time zone", value: func(p apikey.Project) any { return zoneName(p) }},
	}, of(limitColumns(), func(p apikey.Project) gateway.RateLimits { return p.Limits })...)
}

func zoneName(p apikey.Project) string { return cmp.Or(p.TimeZone, "UTC") }

func limitColumns() []column[gateway.RateLimits] {
	return []column[gateway.RateLimits]{
		{name: "requests_per_minute", title: "Requests/min", value: func(l gateway.RateLimits) any { return limit(l.RequestsPerMinute) }},
		{name: "tokens_per_minute", title: "Tokens/min", value: func(l gateway.RateLimits) any { return limit(l.TokensPerMinute) }},
		{name: "concurrent_requests", title: "At once", value: func(l gateway.RateLimits) any { return limit(l.ConcurrentRequests) }},
	}
}

type listProjectsCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
}

func (c *listProjectsCommand) Run() error {
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		list, err := keys.Projects(ctx)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, projectColumns(), list)
	})
}

type setProjectCommand struct {
	config.Data        `embed:""`
	listOutput         `embed:""`
	ID                 string  `arg:"" help:"The project."`
	TimeZone           *string `help:"In which the days, weeks and months of its budgets begin, such as Europe/Berlin; only before it has spent anything."`
	RateLimit          *int    `help:"Requests per minute; 0: no limit."`
	TokensPerMinute    *int    `help:"Tokens per minute; 0: no limit."`
	ConcurrentRequests *int    `help:"Requests at the same time; 0: no limit."`
	budgetFlags        `embed:""`
}

func (c *setProjectCommand) Run() error {
	budgets, err := c.budgets()
	if err != nil {
		return err
	}
	changed := c.TimeZone != nil || c.RateLimit != nil || c.TokensPerMinute != nil || c.ConcurrentRequests != nil
	if !changed && len(budgets) == 0 {
		return errNothing
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		keys := newKeys(s)
		project, err := keys.KnownProject(ctx, c.ID)
		if errors.Is(err, apikey.ErrNotFound) {
			project, changed, err = apikey.Project{ID: c.ID}, true, nil // this makes it
		}
		if err != nil {
			return named(err, map[string]string{"project_id": "ID"})
		}
		set(&project.TimeZone, c.TimeZone)
		set(&project.Limits.RequestsPerMinute, c.RateLimit)
		set(&project.Limits.TokensPerMinute, c.TokensPerMinute)
		set(&project.Limits.ConcurrentRequests, c.ConcurrentRequests)
		if changed {
			if err := keys.SetProject(ctx, project); err != nil {
				return err
			}
		}
		owner := budget.Owner{Kind: budget.Project, ID: c.ID}
		if err := setBudgets(ctx, keys, owner, budgets); err != nil {
			return err
		}
		return printWithBudgets(ctx, s, c.Output, projectColumns(), project, owner)
	})
}

// knownProject is an error for a project that isn't there; "" chooses none.
func knownProject(ctx context.Context, keys *apikey.Keys, id string) error {
	if id == "" {
		return nil
	}
	_, err := keys.KnownProject(ctx, id)
	return err
}

func set[T any](field *T, wish *T) {
	if wish != nil {
		*field = *wish
	}
}
