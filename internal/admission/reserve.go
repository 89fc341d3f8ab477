package admission

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"math/bits"
	"net/http"
	"slices"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/gateway"
)

// What a request's input is at most, in tokens. A token is at least one byte of
// text, so a text has no more tokens than bytes; what the API adds for tools is
// under a thousand (platform.claude.com/docs, "Tool use": 290 to 810 by model and
// tool_choice), and the CLI adds about 280 of its own. An image has a bound, however few
// bytes it has. A PDF, which is compressed, and what isn't in the request (by its
// address, or found by a tool that runs at the API) is at most what the model reads.
const (
	addedByAPI = 1_000
	addedByCLI = 4_000
	// countMargin is the part of a count that is added to it.
	countMargin = 20
	// imageTokens is for an image: the largest cost less (platform.claude.com/docs,
	// "Vision").
	imageTokens = 5_000
	// unknownWindow is for models of which nothing is known, and the longest that can be
	// asked for.
	unknownWindow = 1_000_000
	// maxThinking and maxSearches are far above what any upstream takes. They keep
	// what is added up a number.
	maxThinking = 1 << 32
	maxSearches = 1_000_000
)

// estimateBytes is the rough size of a token, for the tokens a minute: they guard
// the upstream's limits, not money.
const estimateBytes = 4

// Reserve implements gateway.Admitter.
func (a *Admitter) Reserve(ctx context.Context, call *gateway.Call) error {
	r, ok := call.Reservation.(*reservation)
	if !ok || call.CountOnly {
		return nil
	}
	s := a.shard(call.Caller)
	limits := call.Caller.Budgets
	if len(limits) > 0 && a.lender == nil {
		if err := a.learn(ctx, s, limits, r.arrived, 1); err != nil {
			return &apierror.Error{
				Category: apierror.Overloaded, Message: "the budget can't be checked at the moment", RetryAfter: heldRetry, Cause: err,
			}
		}
	}
	need, err := a.need(call, limits)
	if err != nil {
		return err
	}
	if a.lender != nil {
		err = a.reserveShared(ctx, call, r, need)
	} else {
		s.mu.Lock()
		crossed := s.crossed(limits, call.Caller.ProjectID, r.arrived)
		err = a.reserve(s, call, r, need)
		s.mu.Unlock()
		a.tell(crossed)
	}
	if asked := call.Request.MaxTokens; err == nil && call.MaxTokens > 0 && call.MaxTokens < asked {
		call.Tell(fmt.Sprintf("max_tokens: lowered from %d to %d, which is what a budget holds for the answer", asked, call.MaxTokens))
	}
	return err
}

// reserve holds what the call needs, in place of what it holds, or else nothing more.
// Tokens a minute are held once: another model makes no difference to them. The
// shard's lock is held.
func (a *Admitter) reserve(s *shard, call *gateway.Call, r *reservation, need need) (err error) {
	limits := call.Caller.Budgets
	now := a.now()
	scopes := s.scopes(call.Caller)
	if a.lender != nil {
		shared := scopes
		defer func() { a.fillShared(&call.Limits, shared, now) }()
		for i := range scopes {
			scopes[i].limits = scopes[i].leased()
		}
	} else {
		defer func() { fill(&call.Limits, scopes, now) }()
	}
	r.hold(s, -1)
	defer func() {
		if err != nil {
			r.hold(s, 1)
		}
	}()
	output, err := need.fit(s, limits, r.arrived)
	if err != nil {
		return err
	}
	tokens := int(min(need.estimate+output, math.MaxInt32))
	for i, scope := range scopes {
		if limit := scope.limits.TokensPerMinute; limit > 0 && r.tokens[i].n == 0 {
			if wait := scope.account.tokens.wait(tokens, limit, now); wait > 0 {
				return limited(wait, "the %s's limit of %d tokens per minute is used up", scope.name, limit)
			}
		}
	}
	for i, scope := range scopes {
		if limit := scope.limits.TokensPerMinute; limit > 0 && r.tokens[i].n == 0 {
			scope.account.tokens.hold(&r.tokens[i], min(tokens, limit), limit, now)
		}
	}
	if len(limits) > 0 {
		again := r.limits != nil
		r.limits, r.held = limits, need.amount(output)
		r.hold(s, 1)
		if !again {
			for _, run := range r.runs(s) {
				run.running++
			}
		}
		if limited := slices.ContainsFunc(limits, func(l budget.Limit) bool { return l.Hard > 0 }); limited {
			call.MaxTokens = output
		}
		for _, l := range limits {
			if l.Unit == budget.USD {
				call.Held.MicroUSD = r.held.MicroUSD
			} else {
				call.Held.Tokens = r.held.Tokens
			}
		}
	}
	return nil
}

// need is what a request may use.
type need struct {
	input    int64         // tokens, at most
	output   int64         // tokens, as asked, capped
	least    int64         // tokens of the output, without which the upstream refuses the request
	estimate int64         // tokens of the input, roughly
	already  budget.Amount // what failed attempts have used
	// The prices are in millionths of a US dollar for a million tokens.
	inputPrice, outputPrice int64
	searches                int64 // what all web searches cost, in millionths of a US dollar
}

func (a *Admitter) need(call *gateway.Call, limits []budget.Limit) (need, error) {
	size := int64(len(call.Request.Body()))
	n := need{input: size + addedByAPI, output: call.Request.MaxTokens, estimate: size / estimateBytes, already: call.Spent}
	// The direct path sends the thinking as it was asked for: the cap is for the rest,
	// and max_tokens must exceed it. The CLI thinks no more than max_tokens allows.
	var thinking int64
	if call.Backend != gateway.BackendCLI {
		thinking = min(call.Request.ThinkingBudget(), maxThinking)
	}
	if most := a.options.OutputCap + thinking; n.output <= 0 || n.output > most {
		n.output = most
	}
	n.least = min(thinking+1, n.output)
	if len(limits) == 0 {
		return n, nil
	}
	window := a.options.Models.ContextWindow(call.Model)
	if window == 0 || asksForLongContext(call.Forward) {
		window = max(window, unknownWindow)
	}
	if call.Backend == gateway.BackendCLI {
		n.input += addedByCLI
	}
	images, unbounded := call.Request.Elsewhere()
	n.input = min(n.input+imageTokens*int64(images), window)
	if counted := call.InputTokens; counted > 0 {
		// The API calls its count an estimate, which may differ by a small amount.
		n.input = min(n.input, counted+counted/countMargin+addedByAPI)
	}
	if unbounded {
		n.input = window
	}
	var known bool
	n.inputPrice, n.outputPrice, known = a.options.Models.Price(call.Model, n.input, call.Backend == gateway.BackendCLI || mayCacheForAnHour(call.Request.Body()))
	searches, limited := call.Request.Searches()
	n.searches = priceOf(min(searches, maxSearches), 1_000_000*a.options.Models.SearchPrice())
	inUSD := slices.ContainsFunc(limits, func(l budget.Limit) bool { return l.Unit == budget.USD && l.Hard > 0 })
	switch {
	case inUSD && !known:
		return n, &apierror.Error{
			Category: apierror.Permission, Param: "model",
			Message: fmt.Sprintf("model: the price of %s isn't known, so a budget in USD can't be kept", call.Model),
		}
	case inUSD && !limited:
		return n, &apierror.Error{
			Category: apierror.Permission, Param: "tools",
			Message: "tools: a web search needs max_uses, so that a budget in USD can be kept",
		}
	case inUSD && call.Request.Speed() != "" && !a.options.Models.PricedSpeed(call.Request.Speed()):
		return n, &apierror.Error{
			Category: apierror.Permission, Param: "speed",
			Message: "speed: the price of this speed isn't known, so a budget in USD can't be kept",
		}
	}
	return n, nil
}

// asksForLongContext says whether a header asks for a context of a million tokens, which
// some models read only then (anthropic-beta: context-1m-2025-08-07).
func asksForLongContext(header http.Header) bool {
	return slices.ContainsFunc(header["Anthropic-Beta"], func(value string) bool { return strings.Contains(value, "context-1m") })
}

// mayCacheForAnHour says whether a body may ask for a cache entry that lives an hour:
// {"cache_control": {"type": "ephemeral", "ttl": "1h"}}, each character as it is or
// as an escape. It may say so of a body that only has the text elsewhere.
func mayCacheForAnHour(body []byte) bool {
	for _, text := range [...]string{`1h"`, `\u0031`, `\u0068`} {
		if bytes.Contains(body, []byte(text)) {
			return true
		}
	}
	return false
}

// amount is what the request uses at most with so many output tokens.
func (n need) amount(output int64) budget.Amount {
	return budget.Amount{
		Tokens:   n.already.Tokens + n.input + output,
		MicroUSD: n.already.MicroUSD + priceOf(n.input, n.inputPrice) + priceOf(output, n.outputPrice) + n.searches,
	}
}

// priceOf rounds up.
func priceOf(tokens, price int64) int64 {
	hi, lo := bits.Mul64(uint64(max(tokens, 0)), uint64(max(price, 0)))
	if hi >= 1_000_000 {
		return math.MaxInt64 / 4
	}
	quotient, rest := bits.Div64(hi, lo, 1_000_000)
	if rest > 0 {
		quotient++
	}
	return int64(min(quotient, math.MaxInt64/4))
}

// fit gives the output tokens that all budgets leave, at least those without which
// the upstream refuses the request.
func (n need) fit(s *shard, limits []budget.Limit, arrived time.Time) (int64, error) {
	output := n.output
	for _, l := range limits {
		if l.Hard == 0 {
			continue
		}
		spending := s.account(l.Owner).at(l.Period, l.Period.Start(arrived))
		unspent, free := spending.room(l)
		affordable := n.affordable(l.Unit, free)
		if affordable < n.least {
			if n.affordable(l.Unit, unspent) < n.least {
				return 0, n.tooLittle(l, unspent)
			}
			return 0, held(l)
		}
		output = min(output, affordable)
	}
	return output, nil
}

// affordable gives the output tokens that so much of a unit pays beside the
// input.
func (n need) affordable(u budget.Unit, left int64) int64 {
	left -= n.already.In(u)
	if u == budget.Tokens {
		return left - n.input
	}
	left -= priceOf(n.input, n.inputPrice) + n.searches
	if left <= 0 || n.outputPrice <= 0 {
		return left
	}
	hi, lo := bits.Mul64(uint64(left), 1_000_000)
	if hi >= uint64(n.outputPrice) {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(hi, lo, uint64(n.outputPrice))
	return int64(min(quotient, math.MaxInt64))
}

// hold adds what the call holds to the spending of each of its budgets, once
// where two are of one owner and period; -1 takes it back.
func (r *reservation) hold(s *shard, sign int64) {
	amount := budget.Amount{Tokens: sign * r.held.Tokens, MicroUSD: sign * r.held.MicroUSD}
	for i, l := range r.limits {
		same := func(former budget.Limit) bool { return former.Owner == l.Owner && former.Period == l.Period }
		if slices.ContainsFunc(r.limits[:i], same) {
			continue
		}
		spending := s.account(l.Owner).at(l.Period, l.Period.Start(r.arrived))
		spending.held = spending.held.Add(amount)
	}
}

// settle turns what was held into what was spent.
func (r *reservation) settle(s *shard, amount budget.Amount, now time.Duration) {
	r.hold(s, -1)
	r.key.spend(amount, r.arrived)
	r.project.spend(amount, r.arrived)
	for _, run := range r.runs(s) {
		run.spend(amount, r.arrived)
		run.running--
		run.usedAt = now
	}
}

// spend counts what a call has spent that arrived then.
func (a *account) spend(amount budget.Amount, arrived time.Time) {
	for period := range a.periods {
		spending := a.at(period, period.Start(arrived))
		spending.spent = spending.spent.Add(amount)
		for _, l := range spending.leases {
			if l != nil {
				l.used += amount.In(l.about.Unit)
			}
		}
	}
}

// settled reads again, with the next call, what may have been counted twice.
func (a *account) settled() {
	if a.running > 0 {
		return
	}
	for _, w := range a.periods {
		for _, s := range w.kept {
			if s.doubtful {
				*s = spending{start: s.start, leases: s.leases}
			}
		}
	}
}
