package clipool

import (
	"cmp"

	"claude-code-api-service/internal/claudecli"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/message"
)

// spent is what several requests came to.
type spent struct {
	usage    message.Usage
	microUSD int64 // millionths of a US dollar
}

// account says what a request came to. earlier is what those before it in the same
// turn did: the CLI adds up a turn at its end.
//
// The CLI's own figure for the cost holds where the CLI says that it rests on its
// list of prices. One that it calls a guess doesn't hold, and one of which it
// doesn't say (2.1.197 takes a model that it doesn't know for one of the dearest)
// only where the service has no price of its own.
func (p *Pool) account(call *gateway.Call, answer *answered, earlier spent) {
	turn := answer.Turn
	answer.used, answer.spent = answer.Usage, earlier
	if turn != nil {
		raise := func(to *int64, total, before int64) { *to = max(*to, total-before) }
		raise(&answer.used.InputTokens, turn.Usage.InputTokens, earlier.usage.InputTokens)
		raise(&answer.used.OutputTokens, turn.Usage.OutputTokens, earlier.usage.OutputTokens)
		raise(&answer.used.CacheReadInputTokens, turn.Usage.CacheReadInputTokens, earlier.usage.CacheReadInputTokens)
		raise(&answer.used.CacheCreationInputTokens, turn.Usage.CacheCreationInputTokens, earlier.usage.CacheCreationInputTokens)
	}
	if turn == nil && answer.ID == "" {
		return // nothing was asked of the upstream, or nothing came back
	}
	cost, known := p.options.Price(cmp.Or(answer.Model, call.Model), call.Clock.StartTime(), answer.used)
	if turn != nil && (turn.Basis == claudecli.BasisList || turn.Basis == claudecli.BasisNotSaid && !known) {
		cost, known = max(0, turn.CostMicroUSD-earlier.microUSD), true
	}
	if known {
		answer.cost = &cost
		answer.spent.microUSD += cost
	}
	answer.spent.usage.InputTokens += answer.used.InputTokens
	answer.spent.usage.OutputTokens += answer.used.OutputTokens
	answer.spent.usage.CacheReadInputTokens += answer.used.CacheReadInputTokens
	answer.spent.usage.CacheCreationInputTokens += answer.used.CacheCreationInputTokens
}
