package main

import (
	"context"
	"errors"
	"fmt"

	"claude-code-api-service/internal/admission"
	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/budget"
)

// budgetFlags are the budgets of a key or a project, where it is made or set.
type budgetFlags struct {
	BudgetTokensDay   *int64 `help:"The most tokens (input and output) a day." placeholder:"N" group:"budgets"`
	BudgetTokensWeek  *int64 `help:"The same a week, from Monday on." placeholder:"N" group:"budgets"`
	BudgetTokensMonth *int64 `help:"The same a month." placeholder:"N" group:"budgets"`
	BudgetTokensTotal *int64 `help:"The same for ever." placeholder:"N" group:"budgets"`
	BudgetUSDDay      *usd   `name:"budget-usd-day" help:"The most US dollars a day, such as 12.50; 0 of any of these: none." placeholder:"AMOUNT" group:"budgets"`
	BudgetUSDWeek     *usd   `name:"budget-usd-week" help:"The same a week." placeholder:"AMOUNT" group:"budgets"`
	BudgetUSDMonth    *usd   `name:"budget-usd-month" help:"The same a month." placeholder:"AMOUNT" group:"budgets"`
	BudgetUSDTotal    *usd   `name:"budget-usd-total" help:"The same for ever." placeholder:"AMOUNT" group:"budgets"`
	SoftBudgetPercent *int   `help:"Tell of each of these budgets when so much of it is spent." placeholder:"PERCENT" group:"budgets"`
}

// budgets gives those that were set, also to 0, which is none, without an owner.
func (f *budgetFlags) budgets() ([]budget.Limit, error) {
	part := f.SoftBudgetPercent
	if part != nil && (*part < 1 || *part > 100) {
		return nil, errors.New("--soft-budget-percent: must be between 1 and 100")
	}
	var list []budget.Limit
	for _, flags := range [...]struct {
		period budget.Period
		tokens *int64
		money  *usd
	}{
		{budget.Day, f.BudgetTokensDay, f.BudgetUSDDay}, {budget.Week, f.BudgetTokensWeek, f.BudgetUSDWeek},
		{budget.Month, f.BudgetTokensMonth, f.BudgetUSDMonth}, {budget.Total, f.BudgetTokensTotal, f.BudgetUSDTotal},
	} {
		for _, flag := range [...]struct {
			unit  budget.Unit
			value *int64
		}{{budget.Tokens, flags.tokens}, {budget.USD, (*int64)(flags.money)}} {
			if flag.value == nil {
				continue
			}
			if err := checkAmount(fmt.Sprintf("--budget-%s-%s", flag.unit, flags.period), flag.unit, *flag.value, 0); err != nil {
				return nil, err
			}
			limit := budget.Limit{Period: flags.period, Unit: flag.unit, Hard: *flag.value}
			if part != nil {
				limit.Soft = budget.Percent(limit.Hard, *part)
			}
			list = append(list, limit)
		}
	}
	if part != nil && len(list) == 0 {
		return nil, errors.New("--soft-budget-percent: is of the budgets that are set beside it, and none is")
	}
	return list, nil
}

// checkAmount says what is wrong with an amount of a flag, at least so much of its
// unit.
func checkAmount(flag string, unit budget.Unit, amount, least int64) error {
	switch {
	case amount >= least && amount <= apikey.MaxBudget:
		return nil
	case unit == budget.USD:
		return fmt.Errorf("%s: must be between %s and %s US dollars", flag, usd(least).short(), usd(apikey.MaxBudget).short())
	}
	return fmt.Errorf("%s: must be between %d and %d tokens", flag, least, int64(apikey.MaxBudget))
}

// setBudgets sets budgets of one owner, and warns of those that serve nothing.
func setBudgets(ctx context.Context, keys *apikey.Keys, owner budget.Owner, budgets []budget.Limit) error {
	for i := range budgets {
		budgets[i].Owner = owner
		if err := keys.SetBudget(ctx, budgets[i]); err != nil {
			return err
		}
	}
	warnOfSmall(budgets)
	return nil
}

// warnOfSmall warns of budgets in tokens that are too small for any request.
func warnOfSmall(budgets []budget.Limit) {
	for _, b := range budgets {
		if b.Unit != budget.Tokens || b.Hard == 0 || b.Hard > admission.LeastCLI {
			continue
		}
		where := ""
		if b.Hard > admission.LeastDirect {
			where = " on the CLI path"
		}
		warn("a budget of %d tokens (%s) serves nothing%s: a request reserves its body and %d tokens more, and on the CLI path %d",
			b.Hard, b.Period, where, admission.LeastDirect, admission.LeastCLI)
	}
}
