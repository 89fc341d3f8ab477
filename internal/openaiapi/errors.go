package openaiapi

import (
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// setHeader sets what an answer says of its call in this family. A reset is a
// duration here, in whole seconds: 1s, 6m0s.
func setHeader(header http.Header, call *gateway.Call) {
	protocol.SetHeader(header, call)
	limits := call.Limits
	if limits.RequestsLimit == 0 {
		return
	}
	reset := (limits.RequestsReset + time.Second - 1).Truncate(time.Second)
	header["X-Ratelimit-Limit-Requests"] = []string{strconv.Itoa(limits.RequestsLimit)}
	header["X-Ratelimit-Remaining-Requests"] = []string{strconv.Itoa(limits.RequestsRemaining)}
	header["X-Ratelimit-Reset-Requests"] = []string{reset.String()}
}

// writeError writes an error in the Chat Completions API's envelope.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	header := w.Header()
	setHeader(header, call)
	protocol.Log(r.Context(), h.log, header.Get(protocol.HeaderRequestID), err)
	e := apierror.From(err)
	protocol.SetErrorHeader(header, e)
	_ = protocol.WriteJSON(w, e.Status(), appendError(nil, e)) // a caller who left isn't told
}

// errorNames gives the API's type and code for a failure; the code may be "".
func errorNames(e *apierror.Error) (kind, code string) {
	switch {
	case protocol.BudgetSpent(e):
		return "insufficient_quota", "insufficient_quota"
	case e.Category == apierror.RateLimited, e.Category == apierror.BudgetExceeded:
		return "requests", "rate_limit_exceeded"
	case e.Code != "":
		return "invalid_request_error", string(e.Code)
	case e.Category == apierror.BadRequest:
		return "invalid_request_error", ""
	case e.Category == apierror.AuthError && e.Upstream == nil:
		return "invalid_request_error", string(apierror.CodeInvalidKey)
	case e.Category == apierror.AuthError:
		return "server_error", string(apierror.UpstreamError)
	case e.Category == apierror.Permission:
		return "permission_error", "permission_denied"
	}
	return "server_error", string(e.Category)
}

// appendError appends the envelope.
func appendError(dst []byte, e *apierror.Error) []byte {
	kind, code := errorNames(e)
	dst = append(dst, `{"error":{"message":`...)
	dst = appendText(dst, e.Message)
	dst = appendText(append(dst, `,"type":`...), kind)
	dst = appendTextOrNull(append(dst, `,"param":`...), e.Param)
	dst = appendTextOrNull(append(dst, `,"code":`...), code)
	return append(dst, "}}"...)
}

func appendTextOrNull(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, "null"...)
	}
	return appendText(dst, text)
}

// appendText appends a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
