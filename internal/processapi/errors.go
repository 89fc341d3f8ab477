package processapi

import (
	"context"
	"errors"
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// writeError writes an error in the family's envelope: detail for its former
// clients, error beside it.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	header := w.Header()
	protocol.SetHeader(header, call)
	protocol.Log(r.Context(), h.log, header.Get(protocol.HeaderRequestID), err)
	e := apierror.From(err)
	status := e.Status()
	if protocol.BudgetSpent(e) {
		status = http.StatusForbidden
	}
	protocol.SetErrorHeader(header, e)
	_ = protocol.WriteJSON(w, status, append(appendError([]byte{'{'}, e), '}')) // a caller who left isn't told
}

// appendError appends the members that tell of an error, without braces.
func appendError(dst []byte, e *apierror.Error) []byte {
	code := string(e.Code)
	if code == "" {
		code = string(e.Category)
	}
	dst = protocol.AppendText(append(dst, `"detail":`...), e.Message)
	dst = protocol.AppendText(append(dst, `,"error":{"message":`...), e.Message)
	dst = protocol.AppendText(append(dst, `,"type":`...), string(e.Category))
	dst = protocol.AppendTextOrNull(append(dst, `,"param":`...), e.Param)
	dst = protocol.AppendText(append(dst, `,"code":`...), code)
	return append(dst, '}')
}

// gone says why the context of a request has ended: what its cause says, else
// that the caller left.
func gone(ctx context.Context) error {
	var cause *apierror.Error
	if errors.As(context.Cause(ctx), &cause) {
		return cause
	}
	return apierror.Wrap(apierror.ClientClosed, "the caller left", ctx.Err())
}

// notFound says that what a path names isn't there.
func notFound(param, message string) error {
	return &apierror.Error{Category: apierror.BadRequest, Code: apierror.CodeNotFound, Param: param, Message: message}
}
