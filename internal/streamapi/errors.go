package streamapi

import (
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

// appendError appends an error message. The id is the client's, of the message
// that it answers; the request's id is that of the log and the ledger. Either may
// be "".
func appendError(dst []byte, id, requestID string, e *apierror.Error) []byte {
	dst = append(appendType(dst, "error", id), ',')
	dst = protocol.AppendFlatError(dst, e)
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
