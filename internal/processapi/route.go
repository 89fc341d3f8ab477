package processapi

import (
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/openapi"
	"claude-code-api-service/internal/protocol"
)

// routeRequest asks which model suits a prompt.
type routeRequest struct {
	prompt      jsontext.Value
	contextSize int64 // tokens
	warnings
}

// routeObject is the table of its members. It is never changed.
var routeObject = protocol.NewObject(
	openapi.Schema{Name: "RouteRequest"},
	func(q *routeRequest, s *protocol.Scanner, name string) error {
		value, err := s.Value()
		if err == nil && !protocol.AsksNothing(value) {
			q.warn(name, "has no effect here")
		}
		return err
	},
	protocol.Field[routeRequest]{Name: "prompt", Required: true, Schema: openapi.Text(""), Read: protocol.ReadText(func(q *routeRequest) *jsontext.Value { return &q.prompt })},
	protocol.Field[routeRequest]{Name: "context_size", Schema: openapi.Nullable(&openapi.Schema{Type: openapi.Integer, Minimum: 0, Default: 0, Description: "The size of the whole context in tokens."}), Read: protocol.ReadCount(0, func(q *routeRequest) *int64 { return &q.contextSize })},
)

func decodeRoute(s *protocol.Scanner) (*routeRequest, error) {
	q := &routeRequest{}
	return q, routeObject.Document(s, q)
}

// serveRoute says which model the automatic choice takes for a prompt. Nothing
// is generated, and nothing counts against the caller's limits.
func (h *Handler) serveRoute(w http.ResponseWriter, r *http.Request, call *gateway.Call) error {
	request, _, err := read(h, w, r, decodeRoute)
	if err != nil {
		return err
	}
	limit, remaining, err := h.options.Budget(r.Context(), call.Caller)
	if err != nil {
		return err
	}
	model, reasoning := h.options.Recommend(protocol.Unquote(request.prompt), int(request.contextSize), remaining)
	call.Warnings = request.warnings
	if err := call.Honoured(); err != nil {
		return err
	}
	dst := protocol.AppendText([]byte(`{"recommended_model":`), model)
	dst = protocol.AppendText(append(dst, `,"reasoning":`...), reasoning)
	dst = appendLimit(append(dst, `,"budget_status":{"limit":`...), limit)
	dst = appendLimit(append(dst, `,"remaining":`...), remaining)
	dst = protocol.AppendText(append(dst, `,"status":`...), budgetStatus(remaining))
	protocol.SetHeader(w.Header(), call)
	return protocol.WriteJSON(w, http.StatusOK, append(dst, "}}"...))
}

// lowBudget is from how many tokens left on the choice of a model spares them,
// by the contract's rules.
const lowBudget = 5_000

// The states of a budget.
const (
	budgetUnlimited = "unlimited"
	budgetOK        = "ok"
	budgetLow       = "low"
	budgetSpent     = "spent"
)

func budgetStatus(remaining *int64) string {
	switch {
	case remaining == nil:
		return budgetUnlimited
	case *remaining <= 0:
		return budgetSpent
	case *remaining < lowBudget:
		return budgetLow
	}
	return budgetOK
}

// appendLimit appends a number of tokens, null for no limit.
func appendLimit(dst []byte, tokens *int64) []byte {
	if tokens == nil {
		return append(dst, "null"...)
	}
	return strconv.AppendInt(dst, *tokens, 10)
}
