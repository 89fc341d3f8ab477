// Package apierror holds the one error type that crosses the rooms of the
// service: what category a failure has, what the caller may read about it, and
// what only the log may read.
package apierror

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Category says what kind of failure an error is. The names appear in the
// X-Error-Category header and as a metric label.
type Category string

// The categories of the service contract.
const (
	BadRequest      Category = "bad_request"
	AuthError       Category = "auth_error"
	Permission      Category = "permission"
	BudgetExceeded  Category = "budget_exceeded"
	RateLimited     Category = "rate_limited"
	Overloaded      Category = "overloaded"
	UpstreamError   Category = "upstream_error"
	ConnectionError Category = "connection_error"
	CLIError        Category = "cli_error"
	Timeout         Category = "timeout"
	ClientClosed    Category = "client_closed"
	Internal        Category = "internal"
)

// StatusClientClosed is the status under which a request whose caller left is
// logged and counted. A caller that closed only its own side reads it too.
const StatusClientClosed = 499

// Code names the exact reason inside a category where protocols tell them
// apart.
type Code string

// The codes that protocol packages translate.
const (
	CodeModelNotFound Code = "model_not_found"
	CodeNotFound      Code = "not_found"
	CodeTooLarge      Code = "request_too_large"
	CodeInvalidKey    Code = "invalid_api_key"
	CodeMethod        Code = "method_not_allowed"
	// CodeAdminKey refuses a key that administers the service where a caller's key
	// is needed.
	CodeAdminKey Code = "admin_key"
	// CodeNotImplemented is for what an endpoint's former service knew and this
	// one doesn't do there.
	CodeNotImplemented Code = "not_implemented"
	// CodeThread refuses a conversation that the Messages API would hold itself (its
	// beta message-threads). The SDKs then send the whole history instead.
	CodeThread Code = "thread_unsupported_request"
	// CodeIdempotencyInProgress is for a request whose Idempotency-Key another one
	// has that still runs: it may be tried again soon.
	CodeIdempotencyInProgress Code = "idempotency_in_progress"
	// CodeIdempotencyMismatch is for an Idempotency-Key that stands for another
	// request.
	CodeIdempotencyMismatch Code = "idempotency_mismatch"
	// CodeIdempotencyTooLarge is for an Idempotency-Key whose answer was too large
	// to be kept.
	CodeIdempotencyTooLarge Code = "idempotency_answer_too_large"
	// CodeSessionBusy is for a message to a session that answers another one: it may be
	// sent again soon.
	CodeSessionBusy Code = "session_busy"
)

// Error is a failure with two texts: Message may be shown to the caller, Cause
// is for the log only. An Error is immutable once returned.
type Error struct {
	Category Category
	Code     Code   // optional
	Message  string // safe for the caller: no secret, no path, no internal address
	Param    string // the request field at fault, "" when none is
	// RetryAfter is how long the caller should wait before it tries again; zero
	// means that nothing is said about it.
	RetryAfter time.Duration
	// Upstream is set when the failure is an answer of the upstream.
	Upstream *Upstream
	Cause    error
}

// Upstream is an upstream's own error answer, kept whole so that a protocol
// that speaks the upstream's language can pass it on unchanged.
type Upstream struct {
	Status int
	Header http.Header // only what may be passed on
	Body   []byte
	// OurCredential says that the upstream refused the service's credential, not
	// the caller's: the answer must not be shown.
	OurCredential bool
}

func (e *Error) Error() string {
	text := string(e.Category) + ": " + e.Message
	if e.Param != "" {
		text += " (" + e.Param + ")"
	}
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap gives the cause, for errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Status is the HTTP status that the contract gives the error. Families of
// endpoints that differ (a spent budget) override it.
func (e *Error) Status() int {
	switch e.Code {
	case CodeModelNotFound, CodeNotFound:
		return http.StatusNotFound
	case CodeTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeMethod:
		return http.StatusMethodNotAllowed
	case CodeNotImplemented:
		return http.StatusNotImplemented
	case CodeIdempotencyInProgress, CodeIdempotencyTooLarge, CodeSessionBusy:
		return http.StatusConflict
	case CodeIdempotencyMismatch:
		return http.StatusUnprocessableEntity
	}
	switch e.Category {
	case BadRequest:
		return http.StatusBadRequest
	case AuthError:
		if e.Upstream != nil {
			return http.StatusBadGateway
		}
		return http.StatusUnauthorized
	case Permission:
		return http.StatusForbidden
	case BudgetExceeded, RateLimited:
		return http.StatusTooManyRequests
	case Overloaded:
		return http.StatusServiceUnavailable
	case UpstreamError, ConnectionError, CLIError:
		return http.StatusBadGateway
	case Timeout:
		return http.StatusGatewayTimeout
	case ClientClosed:
		return StatusClientClosed
	}
	return http.StatusInternalServerError
}

// MayPass says that the failure is none of the request's and may pass by itself:
// what is worth another attempt, and what circuit breakers count.
func (e *Error) MayPass() bool {
	if e.Upstream != nil && e.Upstream.Status != 0 {
		return RetryableStatus(e.Upstream.Status)
	}
	switch e.Category {
	case RateLimited, Overloaded, UpstreamError, ConnectionError, CLIError, Timeout:
		return true
	}
	return false
}

// New makes an error whose message the caller may read.
func New(category Category, message string) *Error {
	return &Error{Category: category, Message: message}
}

// Invalid says that a field of the request is at fault.
func Invalid(param, format string, args ...any) *Error {
	return &Error{Category: BadRequest, Param: param, Message: fmt.Sprintf(format, args...)}
}

// Wrap makes an error with a text for the caller and a cause for the log.
func Wrap(category Category, message string, cause error) *Error {
	return &Error{Category: category, Message: message, Cause: cause}
}

// From finds the Error in err's chain. Anything else becomes a plain internal
// error that tells the caller nothing and the log everything. From(nil) is nil.
func From(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Category: Internal, Message: "internal error", Cause: err}
}
