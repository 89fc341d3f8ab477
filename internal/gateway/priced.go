package gateway

import "fmt"

// tellBefore tells the caller that the model's price isn't known, while the
// answer's header can still say so. The CLI has prices of its own.
func (g *Gateway) tellBefore(call *Call) {
	if g.Priced(call.Model, call.Clock.StartTime()) {
		return
	}
	text := g.unpriced(call, call.Model)
	if call.Backend == BackendCLI && !call.Metered {
		text += " here: the answer has a cost only where the CLI has a price"
	}
	call.Tell(text)
}

// unpriced says why the answer of a model has no cost.
func (g *Gateway) unpriced(call *Call, model string) string {
	if g.Priced(model, call.Clock.StartTime()) {
		return "the price of this answer isn't known: its usage names what has no price here"
	}
	return fmt.Sprintf("the price of %.128s isn't known", model)
}
