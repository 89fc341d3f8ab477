package streamapi

import (
	"net/http"
	"strconv"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/protocol"
)

// The codes that only this endpoint has.
const (
	codeBusy      apierror.Code = "busy"
	codeCancelled apierror.Code = "cancelled"
	codeBinary    apierror.Code = "binary_message"
)

// writeError answers a request that wasn't upgraded.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, err error) {
	header := w.Header()
	e := apierror.From(err)
	protocol.Log(r.Context(), h.log, header.Get(protocol.HeaderRequestID), err)
	protocol.SetErrorHeader(header, e)
	_ = protocol.WriteJSON(w, e.Status(), appendEnvelope(nil, e)) // a caller who left isn't told
}

// appendEnvelope appends the body of an error answer: detail for the service's
// former clients, error beside it.
func appendEnvelope(dst []byte, e *apierror.Error) []byte {
	return append(appendErrorMembers(append(dst, '{'), e), '}')
}

// appendErrorMembers appends the members detail and error.
func appendErrorMembers(dst []byte, e *apierror.Error) []byte {
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

// appendError appends an error message. The id is the client's, of the message
// that it answers; the request's id is that of the log and the ledger. Either may
// be "".
func appendError(dst []byte, id, requestID string, e *apierror.Error) []byte {
	dst = append(appendType(dst, "error", id), ',')
	dst = appendErrorMembers(dst, e)
	if e.RetryAfter > 0 {
		seconds := (e.RetryAfter + time.Second - 1) / time.Second
		dst = strconv.AppendInt(append(dst, `,"retry_after":`...), int64(seconds), 10)
	}
	if requestID != "" {
		dst = protocol.AppendText(append(dst, `,"request_id":`...), requestID)
	}
	return append(dst, '}')
}

// appendType begins a message.
func appendType(dst []byte, kind, id string) []byte {
	dst = append(append(append(dst, `{"type":"`...), kind...), '"')
	if id != "" {
		dst = protocol.AppendText(append(dst, `,"id":`...), id)
	}
	return dst
}
