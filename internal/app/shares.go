package app

import (
	"context"

	"claude-code-api-service/internal/admission"
)

// lending is a database whose nodes share limits and budgets: a *postgres.DB.
type lending interface {
	Shares(node func() string) admission.Shares
}

// makeAdmitter makes what holds callers to their limits, together with the other nodes
// of the database, if it has any.
func (a *App) makeAdmitter() *admission.Admitter {
	options := admission.Options{
		Store: a.store, OutputCap: a.config.BudgetOutputCap, Models: dearest{a.catalogue}, Crossed: a.crossed(a.store),
	}
	if db, shared := a.store.Store.(lending); shared {
		options.Shares, options.Member = db.Shares(a.member.ID), a.member
	}
	return admission.New(options)
}

// returnShares gives the other nodes what this one leases of limits, once no request
// runs any more.
func (a *App) returnShares(ctx context.Context) error {
	if a.lasting.admitter != nil {
		a.lasting.admitter.Stop(ctx)
	}
	return nil
}
