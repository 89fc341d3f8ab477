package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/budget"
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

// usageChoice chooses days of projects. They are days of each project's own time
// zone, as its budgets count them.
type usageChoice struct {
	Period    string `help:"The current day, week or month; month when neither this nor --since nor --until is set."`
	Since     string `help:"The first day, such as 2026-03-01." placeholder:"DATE"`
	Until     string `help:"The last day." placeholder:"DATE"`
	ProjectID string `help:"Only this project."`
	Key       string `help:"Only this key: the key, its id or its visible beginning."`
}

// filter gives what is chosen of a project whose time zone is zone.
func (c *usageChoice) filter(now time.Time, zone *time.Location) (usage.Filter, error) {
	var f usage.Filter
	period := budget.Period(cmp.Or(c.Period, string(budget.Month)))
	if !period.Known() || period == budget.Total {
		return f, errors.New("--period: must be day, week or month")
	}
	if c.Since == "" && c.Until == "" {
		f.Since = period.Start(now.In(zone))
		return f, nil
	}
	if c.Period != "" {
		return f, errors.New("--period can't be set beside --since and --until")
	}
	var err error
	if c.Since != "" {
		if f.Since, err = day("since", c.Since, zone); err != nil {
			return f, err
		}
	}
	if c.Until != "" {
		last, err := day("until", c.Until, zone)
		if err != nil {
			return f, err
		}
		f.Until = last.AddDate(0, 0, 1)
		if !f.Until.After(f.Since) {
			return f, errors.New("--until: is before --since")
		}
	}
	return f, nil
}

// day reads the first moment of a day.
func day(flag, text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(time.DateOnly, text, zone)
	if err != nil {
		return t, fmt.Errorf("--%s: %q isn't a date such as 2026-03-01", flag, text)
	}
	return t, nil
}

// sum is a usage.Sum with the date of its day.
type sum struct {
	usage.Sum
	date string
}

// sums reads what is chosen.
func (c *usageChoice) sums(ctx context.Context, s app.Store) ([]sum, error) {
	keys := apikey.NewKeys(apikey.Options{Store: s})
	now := time.Now()
	keyID := ""
	if c.Key != "" {
		account, err := keys.Find(ctx, c.Key)
		if err != nil {
			return nil, err
		}
		keyID = account.Key.ID
	}
	projects, err := c.projects(ctx, keys)
	if err != nil {
		return nil, err
	}
	var list []sum
	for _, p := range projects {
		zone, err := zoneOf(p)
		if err != nil {
			return nil, err
		}
		filter, err := c.filter(now, zone)
		if err != nil {
			return nil, err
		}
		filter.ProjectID, filter.KeyID = p.ID, keyID
		found, err := s.SumUsage(ctx, filter)
		if err != nil {
			return nil, err
		}
		for _, s := range found {
			list = append(list, sum{s, s.Day.In(zone).Format(time.DateOnly)})
		}
	}
	return list, nil
}

// projects are those that are chosen. Every project that has used something has a
// key: keys are never removed.
func (c *usageChoice) projects(ctx context.Context, keys *apikey.Keys) ([]apikey.Project, error) {
	if c.ProjectID == "" {
		return keys.Projects(ctx)
	}
	if err := apikey.CheckProjectID(c.ProjectID); err != nil {
		return nil, err
	}
	project, err := keys.Project(ctx, c.ProjectID)
	return []apikey.Project{project}, err
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

// charged is what requests without a known price were charged to budgets.
func charged(t total) any { return usd(t.ChargedMicroUSD) }

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

func (c *usageReport) grouped(name, title string, nameOf func(sum) string) error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		sums, err := c.sums(ctx, s)
		if err != nil {
			return err
		}
		columns := totalColumns(column[total]{name: name, title: title, value: func(t total) any { return t.name }})
		return printList(os.Stdout, c.Output, columns, grouped(sums, nameOf))
	})
}

type usageByModelCommand struct {
	usageReport `embed:""`
}

func (c *usageByModelCommand) Run() error {
	return c.grouped("model", "Model", func(s sum) string { return s.Model })
}

type usageByProjectCommand struct {
	usageReport `embed:""`
}

func (c *usageByProjectCommand) Run() error {
	return c.grouped("project_id", "Project", func(s sum) string { return s.ProjectID })
}

type usageByKeyCommand struct {
	usageReport `embed:""`
}

func (c *usageByKeyCommand) Run() error {
	return c.grouped("key_id", "Key", func(s sum) string { return s.KeyID })
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

// Run prints the days in their order, which is how money is read.
func (c *usageCostsCommand) Run() error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		sums, err := c.sums(ctx, s)
		if err != nil {
			return err
		}
		days := grouped(sums, func(s sum) string { return s.date })
		slices.SortFunc(days, func(a, b total) int { return strings.Compare(a.name, b.name) })
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
