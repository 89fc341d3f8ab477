package idempotency

import (
	"context"
	"encoding/hex"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// claimTimeout bounds making and releasing a claim.
const claimTimeout = 5 * time.Second

// Nodes are those that share the archive: a cluster.Member.
type Nodes interface {
	// Claim takes a name for this node, until Release or the node's death. When another
	// node has it, held is false, and others is the note that it has left, "" when it
	// has just released it.
	Claim(ctx context.Context, kind, keyID, id, note string) (held bool, others string, err error)
	Release(ctx context.Context, kind, keyID, id string) error
}

// claim refuses a request that another node serves. The note is the request's
// fingerprint, so that one that isn't the same is told so.
func (q *request) claim(ctx context.Context) error {
	if q.keeper.nodes == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, claimTimeout)
	defer cancel()
	sum := hex.EncodeToString(q.sum[:])
	held, others, err := q.keeper.nodes.Claim(ctx, kind, q.name.owner, q.id(), sum)
	switch {
	case err != nil:
		return &apierror.Error{
			Category: apierror.Overloaded, Message: "it isn't known whether another node serves the request, so one with an Idempotency-Key can't be served",
			RetryAfter: time.Second, Cause: err,
		}
	case held:
		return nil
	case others != "" && others != sum:
		return errMismatch()
	}
	return errInProgress()
}

// release lets other nodes have the name. It doesn't end with ctx.
func (q *request) release(ctx context.Context) {
	if q.keeper.nodes == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), claimTimeout)
	defer cancel()
	if err := q.keeper.nodes.Release(ctx, kind, q.name.owner, q.id()); err != nil {
		protocol.Log(ctx, q.keeper.log, q.call.RequestID, err)
	}
}
