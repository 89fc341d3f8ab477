package admission

import (
	"time"

	"claude-code-api-service/internal/budget"
)

// Commons is the model of Shares, for the test that holds PostgreSQL and the model to each
// other.
type Commons struct{ *commons }

// NewCommons makes an empty one.
func NewCommons() Commons { return Commons{newCommons()} }

// Join has a node live.
func (c Commons) Join(node string) { c.join(node) }

// Die has a node die.
func (c Commons) Die(node string) { c.die(node) }

// Spend is a node's commit of what it has spent.
func (c Commons) Spend(node string, owner budget.Owner, tokens int64) {
	c.spend(node, []budget.Owner{owner}, budget.Amount{Tokens: tokens})
}

// Pass has time pass for all pools.
func (c Commons) Pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.resources {
		r.at = r.at.Add(-d)
	}
}
