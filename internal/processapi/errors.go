package processapi

import (
	"errors"
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// unavailableError refuses what this endpoint doesn't do. It is 501, as the
// service's former clients know it.
type unavailableError struct{ cause *apierror.Error }

func (e unavailableError) Error() string { return e.cause.Error() }

func (e unavailableError) Unwrap() error { return e.cause }

func unavailable(param, what string) error {
	return unavailableError{apierror.Invalid(param, "%s isn't available on this endpoint", what)}
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
	var refused unavailableError
	switch {
	case errors.As(err, &refused):
		status, code = http.StatusNotImplemented, "not_implemented"
	case protocol.BudgetSpent(e):
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
