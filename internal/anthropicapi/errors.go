package anthropicapi

import (
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol"
)

// writeError writes an error in the Messages API's envelope. An error answer of
// the upstream goes on unchanged, as Claude Code and the SDKs need it, except
// one about the service's own credential.
func (h *Handler) writeError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	e, id := h.beginError(w, r, call, err)
	if up := e.Upstream; up != nil && !up.OurCredential && up.Status >= http.StatusBadRequest && len(up.Body) > 0 {
		header := w.Header()
		header.Set("Content-Type", "application/json")
		for name, values := range up.Header {
			header[name] = values
		}
		header.Del("Content-Length") // net/http counts the body itself
		w.WriteHeader(up.Status)
		_, _ = w.Write(up.Body) // a caller who left isn't told
		return
	}
	_ = protocol.WriteJSON(w, status(e), appendError(nil, e, id))
}

// writeModelsError writes an envelope that both families read: the list of
// models has one address for both.
func (h *Handler) writeModelsError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
	e, id := h.beginError(w, r, call, err)
	body := appendKind(nil, e)
	body = append(body, `,"param":null,"code":`...)
	if e.Code != "" {
		body = appendText(body, string(e.Code))
	} else {
		body = append(body, "null"...)
	}
	_ = protocol.WriteJSON(w, status(e), appendID(body, id))
}

func (h *Handler) beginError(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) (e *apierror.Error, id string) {
	header := w.Header()
	h.setHeader(header, call)
	id = header.Get(protocol.HeaderRequestID)
	protocol.Log(r.Context(), h.log, id, err)
	e = apierror.From(err)
	header["Request-Id"] = []string{id}
	protocol.SetErrorHeader(header, e)
	return e, id
}

// status is the contract's status; a spent budget is 402 in this family.
func status(e *apierror.Error) int {
	if protocol.BudgetSpent(e) {
		return http.StatusPaymentRequired
	}
	return e.Status()
}

// errorType gives the Messages API's name for a failure
// (platform.claude.com/docs, "Errors").
func errorType(e *apierror.Error) string {
	switch status(e) {
	case http.StatusBadRequest, http.StatusMethodNotAllowed, http.StatusConflict, http.StatusUnprocessableEntity:
		return "invalid_request_error"
	case http.StatusUnauthorized:
		return "authentication_error"
	case http.StatusPaymentRequired:
		return "billing_error"
	case http.StatusForbidden:
		return "permission_error"
	case http.StatusNotFound:
		return "not_found_error"
	case http.StatusRequestEntityTooLarge:
		return "request_too_large"
	case http.StatusTooManyRequests:
		return "rate_limit_error"
	case http.StatusServiceUnavailable:
		return "overloaded_error"
	case http.StatusGatewayTimeout:
		return "timeout_error"
	}
	return "api_error"
}

// appendError appends the envelope.
func appendError(dst []byte, e *apierror.Error, id string) []byte {
	return appendID(appendKind(dst, e), id)
}

func appendKind(dst []byte, e *apierror.Error) []byte {
	dst = append(dst, `{"type":"error","error":{"type":"`...)
	dst = append(append(dst, errorType(e)...), `","message":`...)
	dst = appendText(dst, e.Message)
	if e.Code == apierror.CodeThread {
		// By this the SDKs know that they must send the whole history.
		dst = append(dst, `,"details":{"error_code":"thread_unsupported_request","unsupported":["cli_backend"]}`...)
	}
	return dst
}

func appendID(dst []byte, id string) []byte {
	return append(appendText(append(dst, `},"request_id":`...), id), '}')
}

// appendText appends a JSON string. Invalid UTF-8 becomes U+FFFD.
func appendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
