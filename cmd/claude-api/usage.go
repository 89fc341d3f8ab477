package main

import (
	"cmp"
	"context"
	"maps"
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

// total is what was used of what name names.
type total struct {
	name string
	usage.Total
}

// totalColumns are the columns of totals; those of their name come first.
func totalColumns(names ...column[total]) []column[total] {
	return append(names,
		column[total]{name: "requests", title: "Requests", value: func(t total) any { return t.Requests }},
		column[total]{name: "tokens", title: "Tokens", value: func(t total) any { return t.Usage.Total() }},
		column[total]{name: "input_tokens", title: "Input", value: func(t total) any { return t.Usage.InputTokens }},
		column[total]{name: "output_tokens", title: "Output", value: func(t total) any { return t.Usage.OutputTokens }},
		column[total]{name: "cache_read_input_tokens", title: "Cache read", value: func(t total) any { return t.Usage.CacheReadInputTokens }},
		column[total]{name: "cache_creation_input_tokens", title: "Cache written", value: func(t total) any { return t.Usage.CacheCreationInputTokens }},
		column[total]{name: "cost_usd", title: "USD", value: totalCost},
		column[total]{name: "unpriced_requests", title: "Unpriced", value: func(t total) any { return t.Unpriced }},
		column[total]{name: "charged_usd", title: "Charged", value: charged},
	)
}

// totalCost is nil where no price is known.
func totalCost(t total) any {
	if t.Requests > 0 && t.Unpriced == t.Requests {
		return nil
	}
	return usd(t.CostMicroUSD)
}

// charged is what budgets were charged for requests of which too little is known.
func charged(t total) any { return usd(t.Charged.MicroUSD) }

// grouped adds up the sums of each name, the dearest first.
func grouped(sums []sum, nameOf func(sum) string) []total {
	groups := map[string]usage.Total{}
	for _, s := range sums {
		group := groups[nameOf(s)]
		group.Add(&s.Sum)
		groups[nameOf(s)] = group
	}
	list := make([]total, 0, len(groups))
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		list = append(list, total{name, groups[name]})
	}
	slices.SortStableFunc(list, func(a, b total) int {
		return cmp.Or(cmp.Compare(b.CostMicroUSD, a.CostMicroUSD), cmp.Compare(b.Usage.Total(), a.Usage.Total()))
	})
	return list
}

// usageReport is what the reports have in common.
type usageReport struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	usageChoice `embed:""`
}

// sums reads what is chosen, and prints above a table which days those are.
func (c *usageReport) sums(ctx context.Context, s app.Store) ([]sum, error) {
	sums, days, err := c.usageChoice.sums(ctx, s)
	if err == nil && c.Output == formTable {
		printf("Period: %s\n", days)
	}
	return sums, err
}

// grouped prints the totals of each name, with the columns of the name in front.
func (c *usageReport) grouped(nameOf func(sum) string, names func(ctx context.Context, s app.Store) ([]column[total], error)) error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		columns, err := names(ctx, s)
		if err != nil {
			return err
		}
		sums, err := c.sums(ctx, s)
		if err != nil {
			return err
		}
		return printList(os.Stdout, c.Output, totalColumns(columns...), grouped(sums, nameOf))
	})
}

// called gives the one column of what needs no other name.
func called(name, title string) func(context.Context, app.Store) ([]column[total], error) {
	return func(context.Context, app.Store) ([]column[total], error) {
		return []column[total]{{name: name, title: title, value: func(t total) any { return t.name }}}, nil
	}
}

type usageByModelCommand struct {
	usageReport `embed:""`
}

func (c *usageByModelCommand) Run() error {
	return c.grouped(func(s sum) string { return s.Model }, called("model", "Model"))
}

type usageByProjectCommand struct {
	usageReport `embed:""`
}

func (c *usageByProjectCommand) Run() error {
	return c.grouped(func(s sum) string { return s.ProjectID }, called("project_id", "Project"))
}

type usageByKeyCommand struct {
	usageReport `embed:""`
}

func (c *usageByKeyCommand) Run() error {
	return c.grouped(func(s sum) string { return s.KeyID }, func(ctx context.Context, s app.Store) ([]column[total], error) {
		list, err := newKeys(s).List(ctx)
		if err != nil {
			return nil, err
		}
		names := make(map[string]string, len(list))
		for _, key := range list {
			names[key.ID] = key.Name
		}
		return []column[total]{
			{name: "key_id", title: "Key", value: func(t total) any { return t.name }},
			{name: "name", title: "Name", value: func(t total) any { return names[t.name] }},
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
		all := total{name: cmp.Or(c.ProjectID, "all")}
		for _, s := range sums {
			all.Add(&s.Sum)
		}
		project := column[total]{name: "project_id", title: "Project", value: func(total) any {
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
		days := grouped(sums, func(s sum) string { return s.date })
		slices.SortFunc(days, func(a, b total) int { return strings.Compare(a.name, b.name) })
		if c.Output == formTable && len(days) > 0 {
			all := total{name: "total"}
			for _, s := range sums {
				all.Add(&s.Sum)
			}
			days = append(days, all)
		}
		return printList(os.Stdout, c.Output, []column[total]{
			{name: "day", title: "Day", value: func(t total) any { return t.name }},
			{name: "requests", title: "Requests", value: func(t total) any { return t.Requests }},
			{name: "tokens", title: "Tokens", value: func(t total) any { return t.Usage.Total() }},
			{name: "cost_usd", title: "USD", value: totalCost},
			{name: "unpriced_requests", title: "Unpriced", value: func(t total) any { return t.Unpriced }},
			{name: "charged_usd", title: "Charged", value: charged},
		}, days)
	})
}
