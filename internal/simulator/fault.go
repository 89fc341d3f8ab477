package simulator

import (
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// fault is an answer that is an error.
type fault struct {
	status     int
	message    string
	retryAfter int    // seconds; negative when there is no such header
	details    string // of the error, JSON; "" for none
}

// statusOverloaded is the status that the API uses when it has no capacity left.
const statusOverloaded = 529

func newFault(status int, format string, args ...any) *fault {
	return &fault{status: status, message: fmt.Sprintf(format, args...), retryAfter: -1}
}

func invalid(format string, args ...any) *fault {
	return newFault(http.StatusBadRequest, format, args...)
}

// errorType gives the error type of a status, as the documentation of the
// API's errors lists them.
func errorType(status int) string {
	switch status {
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
	case http.StatusGatewayTimeout:
		return "timeout_error"
	case statusOverloaded:
		return "overloaded_error"
	}
	if status >= http.StatusInternalServerError {
		return "api_error"
	}
	return "invalid_request_error"
}

// errorText gives the text for an error that a directive asked for.
func errorText(status int) string {
	switch status {
	case http.StatusBadRequest:
		return "Simulated invalid request"
	case http.StatusUnauthorized:
		return "invalid x-api-key"
	case http.StatusPaymentRequired:
		return "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."
	case http.StatusForbidden:
		return "Your API key does not have permission to use the specified resource."
	case http.StatusNotFound:
		return "Not found"
	case http.StatusRequestEntityTooLarge:
		return "Request exceeds the maximum size"
	case http.StatusTooManyRequests:
		return "This request would exceed your organization's rate limit. Please try again later."
	case http.StatusInternalServerError:
		return "Internal server error"
	case http.StatusGatewayTimeout:
		return "The request timed out while processing."
	case statusOverloaded:
		return "Overloaded"
	}
	return "Simulated error " + strconv.Itoa(status)
}

// unsupportedThread refuses a conversation that the API would hold (its beta
// message-threads), as the API refuses one that it can't hold. The SDKs then send
// the whole history.
func unsupportedThread() *fault {
	f := invalid("thread: this request can't be part of a message thread")
	f.details = `{"error_code":"thread_unsupported_request","unsupported":["simulator"]}`
	return f
}

// appendError appends the error envelope of the API. The details are JSON, or "".
func appendError(dst []byte, kind, text, details, requestID string) []byte {
	dst = append(dst, `{"type":"error","error":{"type":"`...)
	dst = append(dst, kind...)
	dst = append(dst, `","message":`...)
	dst = appendQuote(dst, text)
	if details != "" {
		dst = append(append(dst, `,"details":`...), details...)
	}
	dst = append(dst, `},"request_id":"`...)
	dst = append(dst, requestID...)
	return append(dst, `"}`...)
}

// appendQuote appends text as a JSON string. Bytes that aren't UTF-8 become
// U+FFFD.
func appendQuote[Bytes ~[]byte | ~string](dst []byte, text Bytes) []byte {
	dst, _ = jsontext.AppendQuote(dst, text) // its only error is about bytes that aren't UTF-8, replaced already
	return dst
}
