package processapi

import (
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// unavailable refuses what this endpoint doesn't do. It is 501, as the service's
// former clients know it.
func unavailable(param, what string) error {
	return &apierror.Error{
		Category: apierror.BadRequest, Code: apierror.CodeNotImplemented, Param: param,
		Message: what + " isn't available on this endpoint",
	}
}

// writeError writes an error in the endpoint's envelope: detail for its former
// clients, error beside it.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	header := w.Header()
	protocol.SetHeader(header, call)
	protocol.Log(r.Context(), h.log, header.Get(protocol.HeaderRequestID), err)
	e := apierror.From(err)
	status, code := e.Status(), string(e.Code)
	if code == "" {
		code = string(e.Category)
	}
	if protocol.BudgetSpent(e) {
		status = http.StatusForbidden
	}
	protocol.SetErrorHeader(header, e)

	body := appendText([]byte(`{"detail":`), e.Message)
	body = appendText(append(body, `,"error":{"message":`...), e.Message)
	body = appendText(append(body, `,"type":`...), string(e.Category))
	body = append(body, `,"param":`...)
	if e.Param == "" {
		body = append(body, "null"...)
	} else {
		body = appendText(body, e.Param)
	}
	body = appendText(append(body, `,"code":`...), code)
	_ = protocol.WriteJSON(w, status, append(body, "}}"...)) // a caller who left isn't told
}
