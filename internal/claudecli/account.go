package claudecli

import (
	"fmt"

	"claude-code-api-service/internal/message"
)

// totals are numbers that add up over the life of a process.
type totals struct {
	usage   message.Usage
	costUSD float64
}

// add gives t with by times the other's numbers added.
func (t totals) add(other totals, by int64) totals {
	return totals{
		usage: message.Usage{
			InputTokens:              t.usage.InputTokens + by*other.usage.InputTokens,
			OutputTokens:             t.usage.OutputTokens + by*other.usage.OutputTokens,
			CacheReadInputTokens:     t.usage.CacheReadInputTokens + by*other.usage.CacheReadInputTokens,
			CacheCreationInputTokens: t.usage.CacheCreationInputTokens + by*other.usage.CacheCreationInputTokens,
		},
		costUSD: t.costUSD + float64(by)*other.costUSD,
	}
}

// below says that a number of t is less than the other's: the CLI has begun to
// count anew, as it does on /clear (2.1.331).
func (t totals) below(other totals) bool {
	return t.usage.InputTokens < other.usage.InputTokens || t.usage.OutputTokens < other.usage.OutputTokens ||
		t.usage.CacheReadInputTokens < other.usage.CacheReadInputTokens ||
		t.usage.CacheCreationInputTokens < other.usage.CacheCreationInputTokens || t.costUSD < other.costUSD
}

// result reads a result line: the turn has ended, and what it cost is added up.
func (c *child) result(l *line) (*resultLine, error) {
	r := &resultLine{}
	if err := decode(l.Raw, r); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	c.running = false
	now := totals{costUSD: r.TotalCostUSD}
	for _, u := range r.ModelUsage {
		now.usage.InputTokens += u.InputTokens
		now.usage.OutputTokens += u.OutputTokens
		now.usage.CacheReadInputTokens += u.CacheReadInputTokens
		now.usage.CacheCreationInputTokens += u.CacheCreationInputTokens
	}
	if now.below(c.counted) {
		c.counted = totals{}
	}
	c.spent = c.spent.add(now, 1).add(c.counted, -1)
	c.counted, c.models = now, r.ModelUsage
	return r, nil
}
