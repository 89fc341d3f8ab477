package gateway

import (
	"context"

	"claude-code-api-service/internal/latency"
	"claude-code-api-service/internal/trace"
)

// OpenFor starts the walk of a request that somebody else than the holder of the caller's
// key asks for: whoever administers the service, who was authenticated before. The caller's
// limits and budgets hold all the same, and its ledger has the row. An error is that of a
// key that generates nothing; the call is there beside it, as with Open.
func (g *Gateway) OpenFor(ctx context.Context, requestID, endpoint string, caller *Caller, address string) (*Call, error) {
	call := &Call{RequestID: requestID, Endpoint: endpoint, Address: address, Strict: g.Strict, Trace: trace.From(ctx), Clock: latency.Start()}
	call.Clock.Mark(latency.Auth)
	return call, call.belongsTo(caller)
}
