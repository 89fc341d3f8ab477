package gateway

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/budget"
	"claude-code-api-service/internal/message"
)

// Fallback chooses what serves a call after its backend has failed.
type Fallback interface {
	// Next gives the backend that may serve a call instead, and fills call.Backend and
	// call.Model; nil when none may. failed is why the former one didn't: nothing has
	// reached the caller. It is asked again when the next one fails too.
	Next(call *Call, failed error) Backend
}

// Choice is a backend and a model.
type Choice struct{ Backend, Model string }

// Chosen is what the Router chose, before any fallback.
func (c *Call) Chosen() Choice { return c.chosen }

// Fallback says what serves the call instead of what was chosen, as the answer's
// header tells it: a backend, model=ID, or both; "" when nothing does.
func (c *Call) Fallback() string {
	text := ""
	if c.chosen == (Choice{}) {
		return text
	}
	if c.Backend != c.chosen.Backend {
		text = c.Backend
	}
	if c.Model != c.chosen.Model {
		if text != "" {
			text += ", "
		}
		text += "model=" + c.Model
	}
	return text
}

// Notes are what was noted on a call for its caller.
type Notes struct{ warnings, told []string }

// Notes gives what is noted now.
func (c *Call) Notes() Notes { return Notes{slices.Clip(c.Warnings), slices.Clip(c.told)} }

// Restore takes back what a backend has noted since, which has failed: another
// attempt begins.
func (c *Call) Restore(n Notes) {
	c.Warnings, c.told, c.UpstreamHeader = n.warnings, n.told, nil
}

// generate routes and generates, and goes on with what may serve the call instead
// where a backend failed and nothing has reached the caller. A panic becomes an error,
// so that the request is recorded all the same.
func (g *Gateway) generate(ctx context.Context, call *Call, out EventWriter) (result Result, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
			call.Charge(Result{}, paid(call, Result{}, err))
		}
	}()
	backend, err := g.Router.Route(call)
	notes := call.Notes()
	if err == nil {
		g.routed(call)
	}
	if err == nil && call.Routed != nil {
		err = call.Routed()
	}
	if err == nil {
		err = g.reserve(ctx, call)
	}
	if err == nil && call.Admitted != nil {
		err = call.Admitted()
	}
	if err != nil {
		return Result{}, err
	}
	call.chosen = Choice{call.Backend, call.Model}
	if g.Fallback == nil || call.CountOnly || call.Metered {
		return g.ask(ctx, call, backend, out)
	}
	began := &beginning{EventWriter: out}
	result, err = g.ask(ctx, call, backend, began)
	for err != nil && !began.seen && ctx.Err() == nil {
		failed, former := err, call.standing()
		// A later attempt may cost nothing, and this one may have.
		call.paidBefore = call.paidBefore || paid(call, result, failed)
		next := g.Fallback.Next(call, failed)
		if next == nil {
			return result, failed
		}
		g.routed(call)
		err = g.fallBack(ctx, call, former, notes, result, failed)
		refused := err != nil
		if !refused {
			var further Result
			further, err = g.ask(ctx, call, next, began)
			result = sum(result, further)
			refused = err != nil && !began.seen && !apierror.From(err).MayPass()
		}
		if refused && ctx.Err() == nil {
			// That it was refused there isn't why the call failed.
			call.stand(former)
			g.routed(call)
			return result, errors.Join(failed, err)
		}
	}
	return result, err
}

// routed tells whoever watches what serves the call.
func (g *Gateway) routed(call *Call) {
	if g.Watcher != nil {
		g.Watcher.Routed(call)
	}
}

// fallBack prepares a call, which stood so when it failed, for what serves it
// instead. What it has spent is held beside what it may spend further.
func (g *Gateway) fallBack(ctx context.Context, call *Call, former standing, notes Notes, result Result, failed error) error {
	call.Spent = call.Charged(result).Add(budget.Amount{Tokens: result.Usage.Total()})
	if result.CostMicroUSD != nil {
		call.Spent.MicroUSD += *result.CostMicroUSD
	}
	call.Restore(notes)
	call.MaxTokens = 0
	call.Tell(fmt.Sprintf("fallback: the %s backend failed with %s (%s), so %s serves the request",
		former.Backend, former.Model, apierror.From(failed).Category, call.Fallback()))
	if call.Rerouted != nil {
		if err := call.Rerouted(); err != nil {
			return err
		}
	}
	return g.reserve(ctx, call)
}

// standing is what an attempt leaves on a call.
type standing struct {
	Choice
	Notes
	header    http.Header
	maxTokens int64
}

func (c *Call) standing() standing {
	return standing{Choice{c.Backend, c.Model}, c.Notes(), c.UpstreamHeader, c.MaxTokens}
}

func (c *Call) stand(s standing) {
	c.Restore(s.Notes)
	c.Backend, c.Model, c.UpstreamHeader, c.MaxTokens = s.Backend, s.Model, s.header, s.maxTokens
}

// reserve judges what was chosen and holds what it may use.
func (g *Gateway) reserve(ctx context.Context, call *Call) error {
	if err := call.Honoured(); err != nil || call.Metered {
		return err
	}
	return g.Admitter.Reserve(ctx, call)
}

// ask has a backend generate.
func (g *Gateway) ask(ctx context.Context, call *Call, backend Backend, out EventWriter) (Result, error) {
	call.asked = true
	if g.Priced != nil && !call.CountOnly {
		g.tellBefore(call)
	}
	result, err := backend.Generate(ctx, call, out)
	result = bounded(result)
	call.Charge(result, paid(call, result, withContext(ctx, err)))
	if g.Priced != nil && !call.CountOnly && err == nil && result.CostMicroUSD == nil {
		call.Tell(g.unpriced(call, cmp.Or(result.Model, call.Model)))
	}
	return result, err
}

// sum adds what an earlier attempt has spent to a result. A cost is known where both
// are.
func sum(earlier, result Result) Result {
	if earlier.Usage == (message.Usage{}) {
		return result
	}
	if result.Usage != (message.Usage{}) || result.CostMicroUSD != nil {
		earlier.CostMicroUSD = sumOf(earlier.CostMicroUSD, result.CostMicroUSD)
	}
	result.CostMicroUSD = earlier.CostMicroUSD
	result.Usage.Add(earlier.Usage)
	return result
}

func sumOf(a, b *int64) *int64 {
	if a == nil || b == nil {
		return nil
	}
	total := *a + *b
	return &total
}

// beginning notes that an answer has begun.
type beginning struct {
	EventWriter
	seen bool
}

// Event implements EventWriter.
func (b *beginning) Event(e message.Event) error {
	b.seen = true
	return b.EventWriter.Event(e)
}

// Message implements EventWriter.
func (b *beginning) Message(body []byte) error {
	b.seen = true
	return b.EventWriter.Message(body)
}
