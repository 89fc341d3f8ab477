package apikey

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
)

// Find gives the account of the key that ref names: the whole key, also a former
// text, its id, or its visible prefix where only one key has it. A ref that names
// none or several is an apierror.BadRequest around ErrNotFound or ErrAmbiguous.
func (k *Keys) Find(ctx context.Context, ref string) (Account, error) {
	if WellFormed(ref) {
		return k.byText(ctx, ref)
	}
	key, err := k.find(ctx, ref)
	if err != nil {
		return Account{}, err
	}
	account := Account{Key: key}
	if account.Project, err = k.Project(ctx, key.ProjectID); err != nil {
		return Account{}, err
	}
	if account.Profile, err = k.Profile(ctx, key.Profile); err != nil && !errors.Is(err, ErrNotFound) {
		return Account{}, err
	}
	for _, owner := range [...]budget.Owner{{Kind: budget.Key, ID: key.ID}, {Kind: budget.Project, ID: key.ProjectID}} {
		budgets, err := k.Budgets(ctx, owner)
		if err != nil {
			return Account{}, err
		}
		account.Budgets = append(account.Budgets, budgets...)
	}
	account.complete()
	return account, nil
}

// Check says whether a key's text would be taken now: nil, or the apierror that a
// caller gets. The account beside an error is that of an expired, revoked or
// replaced key. Nothing is counted or remembered of it.
func (k *Keys) Check(ctx context.Context, text string) (Account, error) {
	if err := checkForm(text); err != nil {
		return Account{}, err
	}
	account, err := k.byText(ctx, text)
	if errors.Is(err, ErrNotFound) {
		return Account{}, refuseUnknown()
	}
	if err != nil {
		return Account{}, err
	}
	return account, account.refusal(k.now())
}

func (k *Keys) byText(ctx context.Context, text string) (Account, error) {
	account, err := k.store.AccountByHash(ctx, HashOf(text))
	if errors.Is(err, ErrNotFound) {
		return Account{}, noSuchKey()
	}
	if err != nil {
		return Account{}, fmt.Errorf("find key: %w", err)
	}
	account.complete()
	sortBudgets(account.Budgets)
	return account, nil
}

func (k *Keys) find(ctx context.Context, ref string) (Key, error) {
	if WellFormed(ref) {
		account, err := k.byText(ctx, ref)
		return account.Key, err
	}
	keys, err := k.store.KeysByRef(ctx, ref)
	if err != nil {
		return Key{}, fmt.Errorf("find key: %w", err)
	}
	switch len(keys) {
	case 0:
		return Key{}, noSuchKey()
	case 1:
		return keys[0], nil
	}
	return Key{}, &apierror.Error{
		Category: apierror.BadRequest, Param: "key", Message: "several keys have this prefix: name the key by its id", Cause: ErrAmbiguous,
	}
}

// usable finds a key that can still be changed.
func (k *Keys) usable(ctx context.Context, ref string) (Key, error) {
	key, err := k.find(ctx, ref)
	if err == nil && key.RevokedAt != nil {
		return Key{}, apierror.Invalid("key", "key: %s is revoked and can't be changed", key.ID)
	}
	return key, err
}

// noSuchKey never repeats what was asked for: it may be a whole key.
func noSuchKey() error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: "key", Message: "no such key", Cause: ErrNotFound}
}

// sortBudgets orders budgets for people: those of keys before those of projects,
// by owner, the shortest period first.
func sortBudgets(budgets []budget.Limit) {
	slices.SortFunc(budgets, func(a, b budget.Limit) int {
		return cmp.Or(
			cmp.Compare(a.Owner.Kind, b.Owner.Kind), cmp.Compare(a.Owner.ID, b.Owner.ID),
			cmp.Compare(slices.Index(budget.Periods[:], a.Period), slices.Index(budget.Periods[:], b.Period)), cmp.Compare(a.Unit, b.Unit),
		)
	})
}
