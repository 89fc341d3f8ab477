package main

import (
	"context"
	"os"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/gateway"
)

type permissionsKeyCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	keyArgument `embed:""`
}

// holding is all that holds for a key.
type holding struct {
	apikey.Account
	budgets []balance
}

func (c *permissionsKeyCommand) Run() error {
	ref, err := c.ref()
	if err != nil {
		return err
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		account, err := newKeys(s).Find(ctx, ref)
		if err != nil {
			return err
		}
		budgets, err := balances(ctx, s, account.Budgets)
		if err != nil {
			return err
		}
		if err := printOne(os.Stdout, c.Output, holdingFields(), holding{account, budgets}); err != nil {
			return err
		}
		return printBelow(c.Output, budgets)
	})
}

// holdingFields leave the budgets out of CSV, which has no room for a list in a
// list; budgets list has them.
func holdingFields() []column[holding] {
	fields := of(keyFields(), func(h holding) apikey.Key { return h.Key })
	titles := map[string]string{
		"allowed_tools": "Tools", "blocked_tools": "Blocked tools", "allowed_agents": "Agents", "allowed_skills": "Skills",
		"max_cost_per_task": "USD a task", "max_timeout": "Longest task", "working_directories": "Directories",
		"requests_per_minute": "Requests a minute of the project", "tokens_per_minute": "Tokens a minute of the project",
		"concurrent_requests": "Requests at once of the project",
	}
	for _, f := range of(permissionFields(), func(h holding) gateway.Permissions { return h.Profile.Permissions }) {
		f.title = titles[f.name]
		fields = append(fields, f)
	}
	for _, f := range of(limitColumns(), func(h holding) gateway.RateLimits { return h.Project.Limits }) {
		f.title, f.name = titles[f.name], "project_"+f.name
		fields = append(fields, f)
	}
	return append(fields,
		column[holding]{name: "project_time_zone", title: "Time zone of the project", value: func(h holding) any {
			return zoneName(h.Project)
		}},
		column[holding]{name: "budgets", nested: true, value: func(h holding) any { return records[balance]{balanceColumns(), h.budgets} }},
	)
}
