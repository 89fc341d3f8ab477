package main

import (
	"cmp"
	"context"
	"os"
	"slices"
	"strings"

	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/config"
	"claude-code-api-service/internal/usage"
)

type usageCommand struct {
	Summary   usageSummaryCommand   `cmd:"" help:"What was used altogether."`
	ByModel   usageByModelCommand   `cmd:"" help:"What was used of each model, the dearest first."`
	ByProject usageByProjectCommand `cmd:"" help:"What each project has used, the dearest first."`
	ByKey     usageByKeyCommand     `cmd:"" help:"What each key has used, the dearest first."`
	Costs     usageCostsCommand     `cmd:"" help:"What each day has cost."`
	Export    usageExportCommand    `cmd:"" help:"Every request of the ledger, as JSON lines or CSV."`
}

// totalColumns are the columns of totals; those of their name come first.
func totalColumns(names ...column[usage.Named]) []column[usage.Named] {
	return append(names,
		column[usage.Named]{name: "requests", title: "Requests", value: func(t usage.Named) any { return t.Requests }},
		column[usage.Named]{name: "tokens", title: "Tokens", value: func(t usage.Named) any { return t.Usage.Total() }},
		column[usage.Named]{name: "input_tokens", title: "Input", value: func(t usage.Named) any { return t.Usage.InputTokens }},
		column[usage.Named]{name: "output_tokens", title: "Output", value: func(t usage.Named) any { return t.Usage.OutputTokens }},
		column[usage.Named]{name: "cache_read_input_tokens", title: "Cache read", value: func(t usage.Named) any { return t.Usage.CacheReadInputTokens }},
		column[usage.Named]{name: "cache_creation_input_tokens", title: "Cache written", value: func(t usage.Named) any { return t.Usage.CacheCreationInputTokens }},
		column[usage.Named]{name: "cost_usd", title: "USD", value: totalCost},
		column[usage.Named]{name: "unpriced_requests", title: "Unpriced", value: func(t usage.Named) any { return t.Unpriced }},
		column[usage.Named]{name: "charged_usd", title: "Charged", value: charged},
	)
}

// totalCost is nil where no price is known.
func totalCost(t usage.Named) any {
	if t.Requests > 0 && t.Unpriced == t.Requests {
		return nil
	}
	return usd(t.CostMicroUSD)
}

// charged is what budgets were charged for requests of which too little is known.
func charged(t usage.Named) any { return usd(t.Charged.MicroUSD) }

// usageReport is what the reports have in common.
type usageReport struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	usageChoice `embed:""`
}

// sums reads what is chosen, and prints above a table which days those are.
func (c *usageReport) sums(ctx context.Context, s app.Store) ([]usage.Dated, error) {
	sums, days, err := c.usageChoice.sums(ctx, s)
	if err == nil && c.Output == formTable {
		printf("Period: %s\n", days)
	}
	return sums, err
}

// grouped prints the totals of each name, with the columns of the name in front.
func (c *usageReport) grouped(nameOf func(usage.Dated) string, names func(ctx context.Context, s app.Store) ([]column[usage.Named], error)) error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		columns, err := names(ctx, s)
		if err != nil {
			return err
		}
		sums, err := c.sums(ctx, s)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, totalColumns(columns...), usage.Group(sums, nameOf))
	})
}

// called gives the one column of what needs no other name.
func called(name, title string) func(context.Context, app.Store) ([]column[usage.Named], error) {
	return func(context.Context, app.Store) ([]column[usage.Named], error) {
		return []column[usage.Named]{{name: name, title: title, value: func(t usage.Named) any { return t.Name }}}, nil
	}
}

type usageByModelCommand struct {
	usageReport `embed:""`
}

func (c *usageByModelCommand) Run() error {
	return c.grouped(func(s usage.Dated) string { return s.Model }, called("model", "Model"))
}

type usageByProjectCommand struct {
	usageReport `embed:""`
}

func (c *usageByProjectCommand) Run() error {
	return c.grouped(func(s usage.Dated) string { return s.ProjectID }, called("project_id", "Project"))
}

type usageByKeyCommand struct {
	usageReport `embed:""`
}

func (c *usageByKeyCommand) Run() error {
	return c.grouped(func(s usage.Dated) string { return s.KeyID }, func(ctx context.Context, s app.Store) ([]column[usage.Named], error) {
		list, err := newKeys(s).List(ctx)
		if err != nil {
			return nil, err
		}
		names := make(map[string]string, len(list))
		for _, key := range list {
			names[key.ID] = key.Name
		}
		return []column[usage.Named]{
			{name: "key_id", title: "Key", value: func(t usage.Named) any { return t.Name }},
			{name: "name", title: "Name", value: func(t usage.Named) any { return names[t.Name] }},
		}, nil
	})
}

type usageSummaryCommand struct {
	usageReport `embed:""`
}

func (c *usageSummaryCommand) Run() error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		sums, err := c.sums(ctx, s)
		if err != nil {
			return err
		}
		all := usage.Named{Name: cmp.Or(c.ProjectID, "all")}
		for _, s := range sums {
			all.Add(&s.Sum)
		}
		project := column[usage.Named]{name: "project_id", title: "Project", value: func(usage.Named) any {
			if c.ProjectID == "" {
				return nil
			}
			return c.ProjectID
		}}
		return printOne(os.Stdout, c.Output, totalColumns(project), all)
	})
}

type usageCostsCommand struct {
	usageReport `embed:""`
}

// Run prints the days in their order, which is how money is read, and in a table what
// they are together.
func (c *usageCostsCommand) Run() error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		sums, err := c.sums(ctx, s)
		if err != nil {
			return err
		}
		days := usage.Group(sums, func(s usage.Dated) string { return s.Date })
		slices.SortFunc(days, func(a, b usage.Named) int { return strings.Compare(a.Name, b.Name) })
		if c.Output == formTable && len(days) > 0 {
			all := usage.Named{Name: "total"}
			for _, s := range sums {
				all.Add(&s.Sum)
			}
			days = append(days, all)
		}
		return printList(os.Stdout, c.Output, []column[usage.Named]{
			{name: "day", title: "Day", value: func(t usage.Named) any { return t.Name }},
			{name: "requests", title: "Requests", value: func(t usage.Named) any { return t.Requests }},
			{name: "tokens", title: "Tokens", value: func(t usage.Named) any { return t.Usage.Total() }},
			{name: "cost_usd", title: "USD", value: totalCost},
			{name: "unpriced_requests", title: "Unpriced", value: func(t usage.Named) any { return t.Unpriced }},
			{name: "charged_usd", title: "Charged", value: charged},
		}, days)
	})
}
