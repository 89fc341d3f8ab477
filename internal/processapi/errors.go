package processapi

import (
	"context"
	"errors"
	"net/http"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// writeError writes an error in the family's envelope.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	protocol.SetHeader(w.Header(), call)
	protocol.WriteFlatError(w, r, h.log, 0, err)
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
