package apikey

import (
	"context"
	"errors"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// Caller gives the caller of the key with an id, for work that outlives the request that asked
// for it. Its errors are Authenticate's. It looks everything up anew each time, in several
// steps: a change that is made meanwhile may be seen in part.
func (a *Authenticator) Caller(ctx context.Context, keyID string) (*gateway.Caller, error) {
	account, err := NewKeys(Options{Store: a.store}).Find(ctx, keyID)
	switch {
	case errors.Is(err, ErrNotFound) || err == nil && account.Key.ID != keyID:
		return nil, refuseUnknown()
	case err != nil && ctx.Err() != nil:
		return nil, apierror.Wrap(apierror.ClientClosed, "the caller left", err)
	case err != nil:
		return nil, unchecked(err)
	}
	if err := account.refusal(a.now()); err != nil {
		return nil, err
	}
	caller, err := callerOf(&account)
	if err != nil {
		return nil, unchecked(err)
	}
	return caller, nil
}
