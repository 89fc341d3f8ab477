package clipool

import (
	"slices"

	"claude-code-api-service/internal/gateway"
)

// Suits says whether the CLI can serve a call as it is meant, for a router that
// has another backend too. What is only named in a warning (temperature and
// the like) doesn't count; what Generate would refuse, what only an estimate
// could answer, and features that the caller asks for by anthropic-beta do. It
// reads none of the messages.
func (p *Pool) Suits(call *gateway.Call) bool {
	r, f := call.Request, p.features.Load()
	switch {
	case call.CountOnly, len(call.Forward["Anthropic-Beta"]) > 0, slices.ContainsFunc(r.Others(), onlyDirect):
		return false
	case r.HasTools && (f == nil || !f.ClientTools || r.HasServerTools()):
		return false
	}
	return !r.HasFormat() || f != nil && f.ExtraBody
}
