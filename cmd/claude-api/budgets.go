package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/config"
)

type budgetsCommand struct {
	List   listBudgetsCommand  `cmd:"" help:"List budgets, with what is spent and what is left of them."`
	Set    setBudgetCommand    `cmd:"" help:"Set the budget of a key or a project for a period, in place of the one there is."`
	Remove removeBudgetCommand `cmd:"" help:"Remove a budget."`
}

// budgetFlags are the budgets of a key or a project, where it is made or set.
type budgetFlags struct {
	BudgetTokensDay   *int64 `help:"The most tokens (input and output) a day." placeholder:"N" group:"budgets"`
	BudgetTokensWeek  *int64 `help:"The same a week, from Monday on." placeholder:"N" group:"budgets"`
	BudgetTokensMonth *int64 `help:"The same a month." placeholder:"N" group:"budgets"`
	BudgetTokensTotal *int64 `help:"The same for ever." placeholder:"N" group:"budgets"`
	BudgetUSDDay      *usd   `name:"budget-usd-day" help:"The most US dollars a day, such as 12.50." placeholder:"AMOUNT" group:"budgets"`
	BudgetUSDWeek     *usd   `name:"budget-usd-week" help:"The same a week." placeholder:"AMOUNT" group:"budgets"`
	BudgetUSDMonth    *usd   `name:"budget-usd-month" help:"The same a month." placeholder:"AMOUNT" group:"budgets"`
	BudgetUSDTotal    *usd   `name:"budget-usd-total" help:"The same for ever." placeholder:"AMOUNT" group:"budgets"`
	SoftBudgetPercent int    `help:"Tell of each of these budgets when so much of it is spent." placeholder:"PERCENT" group:"budgets"`
}

// budgets gives those that were set, also to 0, which is none, without an owner.
func (f *budgetFlags) budgets() ([]budget.Limit, error) {
	var list []budget.Limit
	add := func(period budget.Period, tokens *int64, money *usd) {
		if tokens != nil {
			list = append(list, budget.Limit{Period: period, Unit: budget.Tokens, Hard: *tokens, Soft: percent(*tokens, f.SoftBudgetPercent)})
		}
		if money != nil {
			list = append(list, budget.Limit{Period: period, Unit: budget.USD, Hard: int64(*money), Soft: percent(int64(*money), f.SoftBudgetPercent)})
		}
	}
	add(budget.Day, f.BudgetTokensDay, f.BudgetUSDDay)
	add(budget.Week, f.BudgetTokensWeek, f.BudgetUSDWeek)
	add(budget.Month, f.BudgetTokensMonth, f.BudgetUSDMonth)
	add(budget.Total, f.BudgetTokensTotal, f.BudgetUSDTotal)
	switch {
	case f.SoftBudgetPercent < 0 || f.SoftBudgetPercent > 100:
		return nil, errors.New("--soft-budget-percent: must be between 1 and 100")
	case f.SoftBudgetPercent > 0 && len(list) == 0:
		return nil, errors.New("--soft-budget-percent: is of the budgets that are set beside it, and none is")
	}
	return list, nil
}

// percent gives so much of n, at least 1 of what isn't nothing: 0 is no limit.
func percent(n int64, percent int) int64 {
	if n <= 0 || percent == 0 {
		return 0
	}
	p := int64(percent)
	return max(1, n/100*p+n%100*p/100)
}

// budgetOwner names a key or a project.
type budgetOwner struct {
	Key       string `help:"The key, its id or its visible beginning; \"-\" reads it from standard input." xor:"owner"`
	ProjectID string `help:"The project." xor:"owner"`
}

func (o *budgetOwner) named() bool { return o.Key != "" || o.ProjectID != "" }

// owner finds the one who is named.
func (o *budgetOwner) owner(ctx context.Context, keys *apikey.Keys) (budget.Owner, error) {
	if o.Key == "" {
		return budget.Owner{Kind: budget.Project, ID: o.ProjectID}, apikey.CheckProjectID(o.ProjectID)
	}
	ref, err := keyArgument{o.Key}.ref()
	if err != nil {
		return budget.Owner{}, err
	}
	account, err := keys.Find(ctx, ref)
	return budget.Owner{Kind: budget.Key, ID: account.Key.ID}, err
}

var errNoOwner = errors.New("name the owner: --key or --project-id")

// balance is a budget with what is spent of it.
type balance struct {
	budget.Limit
	spent int64
	ends  time.Time // of its present period; zero: never
}

// amount gives an amount of the budget's unit; nil for 0, which is none.
func (b balance) amount(n int64) any {
	if n == 0 {
		return nil
	}
	return b.counted(n)
}

func (b balance) counted(n int64) any {
	if b.Unit == budget.USD {
		return usd(n)
	}
	return n
}

func (b balance) left() any {
	if b.Hard == 0 {
		return nil
	}
	return b.counted(max(0, b.Hard-b.spent))
}

func balanceColumns() []column[balance] {
	return []column[balance]{
		{name: "owner", title: "Owner", value: func(b balance) any { return string(b.Owner.Kind) }},
		{name: "owner_id", title: "ID", value: func(b balance) any { return b.Owner.ID }},
		{name: "period", title: "Period", value: func(b balance) any { return string(b.Period) }},
		{name: "unit", title: "Unit", value: func(b balance) any { return string(b.Unit) }},
		{name: "hard", title: "Hard", value: func(b balance) any { return b.amount(b.Hard) }},
		{name: "soft", title: "Soft", value: func(b balance) any { return b.amount(b.Soft) }},
		{name: "spent", title: "Spent", value: func(b balance) any { return b.counted(b.spent) }},
		{name: "left", title: "Left", value: func(b balance) any { return b.left() }},
		{name: "ends_at", title: "Until", value: func(b balance) any { return b.ends }},
	}
}

// balances reads what is spent of budgets in their present periods.
func balances(ctx context.Context, s app.Store, budgets []budget.Limit) ([]balance, error) {
	keys, now := newKeys(s), time.Now()
	zones := map[budget.Owner]*time.Location{}
	list := make([]balance, 0, len(budgets))
	for _, b := range budgets {
		zone, known := zones[b.Owner]
		if !known {
			var err error
			if zone, err = ownersZone(ctx, keys, b.Owner); err != nil {
				return nil, err
			}
			zones[b.Owner] = zone
		}
		present := now.In(zone)
		spent, err := s.Spent(ctx, b.Owner, b.Period, b.Period.Start(present))
		if err != nil {
			return nil, err
		}
		ends, _ := b.Period.End(present)
		list = append(list, balance{b, spent.In(b.Unit), ends})
	}
	return list, nil
}

func ownersZone(ctx context.Context, keys *apikey.Keys, owner budget.Owner) (*time.Location, error) {
	if owner.Kind == budget.Key {
		account, err := keys.Find(ctx, owner.ID)
		if err != nil {
			return nil, err
		}
		return zoneOf(account.Project)
	}
	project, err := keys.Project(ctx, owner.ID)
	if err != nil {
		return nil, err
	}
	return zoneOf(project)
}

type listBudgetsCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	budgetOwner `embed:""`
}

func (c *listBudgetsCommand) Run() error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		keys := newKeys(s)
		list := keys.ListBudgets
		if c.named() {
			owner, err := c.owner(ctx, keys)
			if err != nil {
				return err
			}
			list = func(ctx context.Context) ([]budget.Limit, error) { return keys.Budgets(ctx, owner) }
		}
		return printBalances(ctx, s, c.Output, list)
	})
}

func printBalances(ctx context.Context, s app.Store, form string, list func(ctx context.Context) ([]budget.Limit, error)) error {
	budgets, err := list(ctx)
	if err != nil {
		return err
	}
	all, err := balances(ctx, s, budgets)
	if err != nil {
		return err
	}
	return printList(os.Stdout, form, balanceColumns(), all)
}

type setBudgetCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	budgetOwner `embed:""`
	Period      string `required:"" help:"day, week, month or total." enum:"day,week,month,total"`
	Tokens      int64  `help:"The most tokens, input and output."`
	SoftTokens  int64  `help:"Tell when so many are spent."`
	USD         usd    `name:"usd" help:"The most US dollars, such as 12.50."`
	SoftUSD     usd    `name:"soft-usd" help:"Tell when so many are spent."`
}

func (c *setBudgetCommand) Run() error {
	if !c.named() {
		return errNoOwner
	}
	tokens := budget.Limit{Period: budget.Period(c.Period), Unit: budget.Tokens, Hard: c.Tokens, Soft: c.SoftTokens}
	money := budget.Limit{Period: budget.Period(c.Period), Unit: budget.USD, Hard: int64(c.USD), Soft: int64(c.SoftUSD)}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		keys := newKeys(s)
		owner, err := c.owner(ctx, keys)
		if err != nil {
			return err
		}
		var set []budget.Limit
		for _, limit := range []budget.Limit{tokens, money} {
			if limit.Hard != 0 || limit.Soft != 0 {
				limit.Owner = owner
				set = append(set, limit)
			}
		}
		if len(set) == 0 {
			return errors.New("name an amount: --tokens, --soft-tokens, --usd or --soft-usd")
		}
		for _, limit := range set {
			if err := keys.SetBudget(ctx, limit); err != nil {
				return err
			}
		}
		return printBalances(ctx, s, c.Output, func(context.Context) ([]budget.Limit, error) { return set, nil })
	})
}

type removeBudgetCommand struct {
	config.Data `embed:""`
	budgetOwner `embed:""`
	Period      string `required:"" help:"day, week, month or total." enum:"day,week,month,total"`
	Unit        string `required:"" help:"tokens or usd." enum:"tokens,usd"`
}

func (c *removeBudgetCommand) Run() error {
	if !c.named() {
		return errNoOwner
	}
	return withKeys(&c.Data, func(ctx context.Context, keys *apikey.Keys) error {
		owner, err := c.owner(ctx, keys)
		if err != nil {
			return err
		}
		budgets, err := keys.Budgets(ctx, owner)
		if err != nil {
			return err
		}
		for _, b := range budgets {
			if string(b.Period) == c.Period && string(b.Unit) == c.Unit {
				b.Hard, b.Soft = 0, 0
				if err := keys.SetBudget(ctx, b); err != nil {
					return err
				}
				printf("Removed the budget in %s for the period %s of %s %s.\n", c.Unit, c.Period, owner.Kind, owner.ID)
				return nil
			}
		}
		return fmt.Errorf("%s %s has no budget in %s for the period %s", owner.Kind, owner.ID, c.Unit, c.Period)
	})
}
