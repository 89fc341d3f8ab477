package clipool

import "claude-code-api-service/internal/gateway"

// Suits says whether the CLI can serve a call as it is meant, for a router that
// has another backend too. What is only named in a warning (temperature and
// the like) doesn't count; what Generate would refuse, what only an estimate
// could answer, and features that the caller asks for by anthropic-beta do. It
// reads none of the messages.
func (p *Pool) Suits(call *gateway.Call) bool {
	r := call.Request
	if call.CountOnly || r.HasTools || r.HasFormat() || len(call.Forward["Anthropic-Beta"]) > 0 {
		return false
	}
	for _, name := range r.Others() {
		switch name {
		case "output_format", "mcp_servers", "container":
			return false
		}
	}
	return true
}
