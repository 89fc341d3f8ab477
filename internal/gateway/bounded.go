package gateway

// The bounds of what one answer may be said to have used: far above what any model
// reads and writes in an agent's longest run, and so low that the sums of nine
// million such answers fit into int64.
const (
	maxCount    = 1_000_000_000
	maxMicroUSD = 1_000_000_000_000 // a million US dollars
)

// bounded takes what an upstream says of itself within bounds: a number that is
// negative gives budgets nothing back, and one beyond all sense spoils no sum.
func bounded(r Result) Result {
	u := &r.Usage
	for _, count := range [...]*int64{
		&u.InputTokens, &u.OutputTokens, &u.CacheReadInputTokens, &u.CacheCreationInputTokens,
		&u.CacheCreation.Ephemeral5mInputTokens, &u.CacheCreation.Ephemeral1hInputTokens,
		&u.ServerToolUse.WebSearchRequests, &u.ServerToolUse.WebFetchRequests,
	} {
		*count = min(max(*count, 0), maxCount)
	}
	if c := r.CostMicroUSD; c != nil && (*c < 0 || *c > maxMicroUSD) {
		cost := min(max(*c, 0), maxMicroUSD)
		r.CostMicroUSD = &cost
	}
	return r
}
