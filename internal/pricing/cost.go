package pricing

import (
	"math"
	"math/bits"
	"time"

	"claude-code-api-service/internal/message"
)

// Prices are in millionths of a US dollar for a million tokens: 5,000,000 is
// 5 USD for a million tokens.
type Prices struct {
	Input        int64
	Output       int64
	CacheRead    int64
	CacheWrite5m int64 // writing a cache entry that lives five minutes
	CacheWrite1h int64 // one that lives an hour
}

// Tariff is what a model costs from a moment on, until the next one holds.
type Tariff struct {
	From       time.Time // midnight in UTC; zero: since ever
	Prices               // of an ordinary request
	LongPrompt *LongPrompt
}

// LongPrompt is what a request costs whose prompt is long.
type LongPrompt struct {
	// AboveTokens is the longest prompt, cached parts included, to which the
	// ordinary prices apply.
	AboveTokens int64
	// Prices apply to the whole request, not only to what is above.
	Prices
}

// surcharge is what else the price of an answer depends on, for all models.
type surcharge struct {
	webSearch int64 // millionths of a US dollar for one search
	// The percentages of the tokens' price, by what the usage says.
	tier, geo, speed map[string]int64
}

// The bounds of what a file may say keep the sums of Cost within 128 bits: five
// counts below 2^63 by prices below 2^30 by three percentages below 2^10 stay
// below 2^126 together, and so does a count of searches by a price of at most 2^20 and by
// divisor.
const (
	maxPrice     = 1_000_000_000 // 1,000 USD for a million tokens
	maxWebSearch = 1_000_000     // 1 USD for a search
	maxPercent   = 1_000

	// divisor is what tokens times prices times percentages are to be divided by:
	// prices are for a million tokens, and there are three percentages.
	divisor = 1_000_000 * 100 * 100 * 100
)

// tariff gives the prices that hold at a moment; nil before the first ones.
func (m *Model) tariff(at time.Time) *Tariff {
	for i := len(m.Prices) - 1; i >= 0; i-- {
		if !m.Prices[i].From.After(at) {
			return &m.Prices[i]
		}
	}
	return nil
}

// Priced says whether the price of a model is known at a moment.
func (c *Catalogue) Priced(model string, at time.Time) bool {
	m := c.find(model)
	return m != nil && m.tariff(at) != nil
}

// Cost gives what the answer to a request that arrived at a moment costs at list
// price, in millionths of a US dollar, rounded to the nearest, halves up: tokens,
// by tier, place and speed, and web searches. It isn't known (0, false) for an
// unknown model, before a model's first price, and where the usage names
// something that has no price here. A cost beyond int64 is given as the largest
// int64.
func (c *Catalogue) Cost(model string, at time.Time, u message.Usage) (microUSD int64, ok bool) {
	m := c.find(model)
	if m == nil || u.Apart {
		return 0, false
	}
	t := m.tariff(at)
	tier, tierOK := percent(c.surcharge.tier, u.ServiceTier)
	geo, geoOK := percent(c.surcharge.geo, u.InferenceGeo)
	speed, speedOK := percent(c.surcharge.speed, u.Speed)
	write5m, write1h, splitOK := u.CacheWrites()
	if t == nil || !tierOK || !geoOK || !speedOK || !splitOK {
		return 0, false
	}
	p := &t.Prices
	if t.LongPrompt != nil && u.Prompt() > t.LongPrompt.AboveTokens {
		p = &t.LongPrompt.Prices
	}
	var sum wide
	sum.add(u.InputTokens, p.Input)
	sum.add(u.OutputTokens, p.Output)
	sum.add(u.CacheReadInputTokens, p.CacheRead)
	sum.add(write5m, p.CacheWrite5m)
	sum.add(write1h, p.CacheWrite1h)
	sum.times(tier)
	sum.times(geo * speed)
	sum.add(u.ServerToolUse.WebSearchRequests, c.surcharge.webSearch*divisor)
	return sum.dividedBy(divisor), true
}

// percent gives the percentage of a word of the usage. What an upstream doesn't
// say is ordinary.
func percent(of map[string]int64, word string) (int64, bool) {
	if word == "" {
		return 100, true
	}
	p, ok := of[word]
	return p, ok
}

// wide is an unsigned number of 128 bits, because the tokens are what somebody
// else says they are.
type wide struct{ high, low uint64 }

// add adds a product; a negative count is none.
func (w *wide) add(count, by int64) {
	h, l := bits.Mul64(uint64(max(count, 0)), uint64(by))
	var carry uint64
	w.low, carry = bits.Add64(w.low, l, 0)
	w.high, _ = bits.Add64(w.high, h, carry)
}

func (w *wide) times(factor int64) {
	h, l := bits.Mul64(w.low, uint64(factor))
	w.high, w.low = w.high*uint64(factor)+h, l
}

// dividedBy rounds halves up and saturates.
func (w wide) dividedBy(divisor uint64) int64 {
	w.add(1, int64(divisor/2))
	if w.high >= divisor {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(w.high, w.low, divisor)
	return int64(min(quotient, math.MaxInt64))
}

// arriving is how long before its reservation a request may have arrived, at the
// prices of that moment: its body takes a while.
const arriving = time.Hour

// SearchPrice is what one web search costs, in millionths of a US dollar.
func (c *Catalogue) SearchPrice() int64 { return c.surcharge.webSearch }

// PricedSpeed says whether answers at a speed have a price.
func (c *Catalogue) PricedSpeed(speed string) bool {
	_, ok := c.surcharge.speed[speed]
	return ok
}

// Dearest gives the most that a token of a model's input and of its output costs,
// in millionths of a US dollar for a million tokens, in any request of at most so
// many tokens that arrived shortly before a moment or arrives later, in the place
// where it costs most. hour says that the prompt may be written to the cache for an
// hour. Web searches come on top. false: the price isn't known.
func (c *Catalogue) Dearest(model string, at time.Time, prompt int64, hour bool) (input, output int64, ok bool) {
	m := c.find(model)
	if m == nil || m.tariff(at) == nil {
		return 0, 0, false
	}
	for i := range m.Prices {
		if i+1 < len(m.Prices) && !m.Prices[i+1].From.After(at.Add(-arriving)) {
			continue // over
		}
		prices := [...]*Prices{&m.Prices[i].Prices, nil}
		if long := m.Prices[i].LongPrompt; long != nil && prompt > long.AboveTokens {
			prices[1] = &long.Prices
		}
		for _, p := range prices {
			if p != nil {
				input = max(input, p.Input, p.CacheRead, p.CacheWrite5m)
				if hour {
					input = max(input, p.CacheWrite1h)
				}
				output = max(output, p.Output)
			}
		}
	}
	for _, percents := range [...]map[string]int64{c.surcharge.tier, c.surcharge.geo, c.surcharge.speed} {
		most := int64(100)
		for _, p := range percents {
			most = max(most, p)
		}
		input, output = (input*most+99)/100, (output*most+99)/100
	}
	return input, output, true
}
