package apierror

import (
	"fmt"
	"net/http"
	"time"
)

// StatusOverloaded is the Messages API's own status for "overloaded"
// (platform.claude.com/docs, "Errors").
const StatusOverloaded = 529

// UnknownRetryAfter is what callers are told when the upstream refused for load
// and didn't say for how long.
const UnknownRetryAfter = 5 * time.Second

// RetryableStatus says whether an upstream's failure may pass by itself: the statuses
// that the official SDKs retry.
func RetryableStatus(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusConflict ||
		status == http.StatusTooManyRequests || status >= http.StatusInternalServerError
}

// FromUpstream makes the error for a status with which the upstream refused a
// request: the same whichever backend asked. said are the upstream's own words,
// which reach the caller where they are about the caller's request.
func FromUpstream(status int, said string) *Error {
	e := &Error{Upstream: &Upstream{Status: status}}
	words := func(otherwise string) string {
		if said != "" {
			return said
		}
		return otherwise
	}
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		// The upstream knows no credential but ours.
		e.Category, e.Message = AuthError, "the upstream refused the service's credential"
		e.Upstream.OurCredential = true
	case http.StatusTooManyRequests:
		e.Category, e.Message = RateLimited, "the upstream's rate limit is reached"
		e.RetryAfter = UnknownRetryAfter
	case StatusOverloaded:
		e.Category, e.Message = Overloaded, "the upstream is overloaded"
		e.RetryAfter = UnknownRetryAfter
	case http.StatusRequestTimeout:
		e.Category, e.Message = Timeout, "the upstream timed out"
	case http.StatusNotFound:
		e.Category, e.Code, e.Message = BadRequest, CodeModelNotFound, words("the upstream doesn't know the model")
	case http.StatusRequestEntityTooLarge:
		e.Category, e.Code, e.Message = BadRequest, CodeTooLarge, words("the request is too large for the upstream")
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		e.Category, e.Message = BadRequest, words("the upstream refused the request")
	default:
		e.Category, e.Message = UpstreamError, fmt.Sprintf("the upstream answered with status %d", status)
	}
	return e
}
