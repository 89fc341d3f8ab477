package agent

import (
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// Reply is a Handler that answers a call with what a run says: its texts, in order, as
// one answer of the Messages API. One goroutine uses it.
type Reply struct{ *answer }

// NewReply makes one for the run with this id. thinks says that the caller has asked to
// see what the model thinks.
func NewReply(call *gateway.Call, out gateway.EventWriter, runID string, thinks bool) *Reply {
	return &Reply{&answer{call: call, out: out, id: "msg_" + runID, thinks: thinks}}
}

// End writes what is left of the answer, unless the run has failed, and gives what is
// known of it.
func (r *Reply) End(outcome Outcome, failed error) (gateway.Result, error) {
	result := gateway.Result{
		Summary:      message.Summary{ID: r.id, Model: outcome.Model, StopReason: message.StopEndTurn, Usage: outcome.Usage},
		CostMicroUSD: outcome.CostMicroUSD,
	}
	if failed == nil {
		failed = r.end(&result, outcome.End)
	}
	return result, failed
}
