package main

import (
	"context"
	"errors"
	"fmt"

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

type listBudgetsCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	budgetOwner `embed:""`
}

func (c *listBudgetsCommand) Run() error {
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		keys := newKeys(s)
		if err := knownProject(ctx, keys, c.ProjectID); err != nil {
			return err
		}
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

type setBudgetCommand struct {
	config.Data `embed:""`
	listOutput  `embed:""`
	budgetOwner `embed:""`
	Period      string `required:"" help:"day, week, month or total." enum:"day,week,month,total"`
	Tokens      *int64 `help:"The most tokens, input and output."`
	SoftTokens  *int64 `help:"Tell when so many are spent."`
	USD         *usd   `name:"usd" help:"The most US dollars, such as 12.50." placeholder:"AMOUNT"`
	SoftUSD     *usd   `name:"soft-usd" help:"Tell when so many are spent." placeholder:"AMOUNT"`
}

// limits gives what shall be set, without an owner.
func (c *setBudgetCommand) limits() ([]budget.Limit, error) {
	var set []budget.Limit
	for _, flags := range [...]struct {
		unit       budget.Unit
		hard, soft *int64
	}{{budget.Tokens, c.Tokens, c.SoftTokens}, {budget.USD, (*int64)(c.USD), (*int64)(c.SoftUSD)}} {
		if flags.hard == nil && flags.soft == nil {
			continue
		}
		limit := budget.Limit{Period: budget.Period(c.Period), Unit: flags.unit}
		hard, soft := "--"+string(flags.unit), "--soft-"+string(flags.unit)
		for _, flag := range [...]struct {
			name  string
			value *int64
			field *int64
		}{{hard, flags.hard, &limit.Hard}, {soft, flags.soft, &limit.Soft}} {
			if flag.value == nil {
				continue
			}
			if *flag.value == 0 {
				return nil, fmt.Errorf("%s: must be more than 0; budgets remove takes a budget away", flag.name)
			}
			if err := checkAmount(flag.name, flags.unit, *flag.value, 1); err != nil {
				return nil, err
			}
			*flag.field = *flag.value
		}
		if limit.Hard > 0 && limit.Soft > limit.Hard {
			return nil, fmt.Errorf("%s: must not be above %s", soft, hard)
		}
		set = append(set, limit)
	}
	if len(set) == 0 {
		return nil, errors.New("name an amount: --tokens, --soft-tokens, --usd or --soft-usd")
	}
	return set, nil
}

func (c *setBudgetCommand) Run() error {
	if !c.named() {
		return errNoOwner
	}
	set, err := c.limits()
	if err != nil {
		return err
	}
	return withStore(&c.Data, func(ctx context.Context, s app.Store) error {
		keys := newKeys(s)
		owner, err := c.owner(ctx, keys)
		if err != nil {
			return err
		}
		if err := setBudgets(ctx, keys, owner, set); err != nil {
			return err
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
