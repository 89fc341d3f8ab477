package main

import (
	"context"
	"os"
	"slices"
	"time"

	"claude-code-api-service/internal/apikey"
	"claude-code-api-service/internal/app"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/usage"
)

// balance is a budget with what is spent of it.
type balance struct {
	usage.Balance
	name string // the key's
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
	left, limited := b.Left()
	if !limited {
		return nil
	}
	return b.counted(left)
}

func balanceColumns() []column[balance] {
	return []column[balance]{
		{name: "owner", title: "Owner", value: func(b balance) any { return string(b.Owner.Kind) }},
		{name: "owner_id", title: "ID", value: func(b balance) any { return b.Owner.ID }},
		{name: "name", title: "Name", value: func(b balance) any { return b.name }},
		{name: "period", title: "Period", value: func(b balance) any { return string(b.Period) }},
		{name: "unit", title: "Unit", value: func(b balance) any { return string(b.Unit) }},
		{name: "hard", title: "Hard", value: func(b balance) any { return b.amount(b.Hard) }},
		{name: "soft", title: "Soft", value: func(b balance) any { return b.amount(b.Soft) }},
		{name: "spent", title: "Spent", value: func(b balance) any { return b.counted(b.Spent) }},
		{name: "left", title: "Left", value: func(b balance) any { return b.left() }},
		{name: "ends_at", title: "Until", value: func(b balance) any { return b.Ends }},
	}
}

// balances reads what is spent of budgets in their present periods.
func balances(ctx context.Context, s app.Store, budgets []budget.Limit) ([]balance, error) {
	keys := newKeys(s)
	names, err := keyNames(ctx, keys, budgets)
	if err != nil {
		return nil, err
	}
	spent, err := usage.NewReports(usage.ReportsOptions{Store: s}).Balances(ctx, budgets, func(owner budget.Owner) (*time.Location, error) {
		return ownersZone(ctx, keys, owner)
	})
	if err != nil {
		return nil, err
	}
	list := make([]balance, len(spent))
	for i, b := range spent {
		list[i] = balance{b, names[b.Owner]}
	}
	return list, nil
}

// keyNames gives the names of the keys among the owners of budgets.
func keyNames(ctx context.Context, keys *apikey.Keys, budgets []budget.Limit) (map[budget.Owner]string, error) {
	if !slices.ContainsFunc(budgets, func(b budget.Limit) bool { return b.Owner.Kind == budget.Key }) {
		return nil, nil
	}
	list, err := keys.List(ctx)
	if err != nil {
		return nil, err
	}
	names := make(map[budget.Owner]string, len(list))
	for _, key := range list {
		names[budget.Owner{Kind: budget.Key, ID: key.ID}] = key.Name
	}
	return names, nil
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

// printWithBudgets prints a key or a project and its budgets: a table of them below a
// table, a list inside of JSON. CSV has no room for a list in a list; budgets list
// has them.
func printWithBudgets[T any](ctx context.Context, s app.Store, form string, columns []column[T], record T, owner budget.Owner) error {
	budgets, err := newKeys(s).Budgets(ctx, owner)
	if err != nil {
		return err
	}
	list, err := balances(ctx, s, budgets)
	if err != nil {
		return err
	}
	columns = append(columns, column[T]{name: "budgets", nested: true, value: func(T) any { return records[balance]{balanceColumns(), list} }})
	if err := printOne(os.Stdout, form, columns, record); err != nil {
		return err
	}
	return printBelow(form, list)
}

// printBelow prints a table of budgets below another one, if there are any.
func printBelow(form string, list []balance) error {
	if form != formTable || len(list) == 0 {
		return nil
	}
	printf("\n")
	return printList(os.Stdout, formTable, balanceColumns(), list)
}
