package anthropic

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"claude-code-api-service/internal/apierror"
)

// failure is why an attempt failed, and whether another may be made.
type failure struct {
	err   error
	retry bool
	// wait is what the upstream asks for before another attempt, if waitKnown.
	wait      time.Duration
	waitKnown bool
}

// errSilent is the cause of an attempt that was ended because the upstream sent
// nothing for too long.
var errSilent = errors.New("the upstream sent nothing for too long")

// broken gives the meaning of an error of the connection: the caller left, the
// upstream was silent, or the connection failed. Only the last is retried: a
// call that ran into a timeout has used up the caller's patience.
func broken(ctx, attempt context.Context, err error) *failure {
	switch {
	case ctx.Err() != nil:
		return &failure{err: ctx.Err()}
	case errors.Is(context.Cause(attempt), errSilent):
		return &failure{err: apierror.Wrap(apierror.Timeout, errSilent.Error(), err)}
	}
	return &failure{
		err:   apierror.Wrap(apierror.ConnectionError, "the connection to the upstream failed", err),
		retry: true,
	}
}

// errorBody is the Messages API's error answer; the error event of a stream has
// the same shape.
type errorBody struct {
	Error struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	} `json:"error"`
}

// refused gives the meaning of an upstream's error answer.
func refused(status int, header http.Header, body []byte) *failure {
	var answer errorBody
	// The body of a proxy in between may be anything; the status says enough.
	_ = json.Unmarshal(body, &answer)

	e := apierror.FromUpstream(status, answer.Error.Message)
	e.Upstream.Header, e.Upstream.Body = passable(header), body
	e.Cause = fmt.Errorf("upstream status %d %s: %.500s", status, answer.Error.Type, answer.Error.Message)
	f := &failure{err: e, retry: retryable(status, header)}
	f.wait, f.waitKnown = retryAfter(header)

	if f.waitKnown && retryable(status, nil) {
		e.RetryAfter = f.wait
	}
	return f
}

// statusOf gives the status that the Messages API documents for a type of
// error: inside a stream the status line has long been sent.
func statusOf(errorType string) int {
	switch errorType {
	case "invalid_request_error":
		return http.StatusBadRequest
	case "authentication_error":
		return http.StatusUnauthorized
	case "billing_error":
		return http.StatusPaymentRequired
	case "permission_error":
		return http.StatusForbidden
	case "not_found_error":
		return http.StatusNotFound
	case "request_too_large":
		return http.StatusRequestEntityTooLarge
	case "rate_limit_error":
		return http.StatusTooManyRequests
	case "timeout_error":
		return http.StatusGatewayTimeout
	case "overloaded_error":
		return apierror.StatusOverloaded
	}
	return http.StatusInternalServerError
}

// retryable follows the official SDKs: the statuses that may pass, unless the
// upstream says otherwise with x-should-retry.
func retryable(status int, header http.Header) bool {
	switch header.Get("X-Should-Retry") {
	case "true":
		return true
	case "false":
		return false
	}
	return apierror.RetryableStatus(status)
}

// retryAfter reads how long the upstream asks to wait: retry-after-ms, or
// retry-after in seconds or as an HTTP date.
func retryAfter(header http.Header) (time.Duration, bool) {
	if ms, err := strconv.ParseFloat(header.Get("Retry-After-Ms"), 64); err == nil {
		return seconds(ms / 1000)
	}
	value := header.Get("Retry-After")
	if s, err := strconv.ParseFloat(value, 64); err == nil {
		return seconds(s)
	}
	if at, err := http.ParseTime(value); err == nil {
		return seconds(max(0, time.Until(at).Seconds()))
	}
	return 0, false
}

// seconds refuses what is no sensible duration; a day is longer than any wait
// that makes sense here.
func seconds(s float64) (time.Duration, bool) {
	if !(s >= 0 && s <= 86_400) { // also NaN
		return 0, false
	}
	return time.Duration(s * float64(time.Second)), true
}

// passable picks what of an error answer's header may reach the caller.
func passable(header http.Header) http.Header {
	picked := make(http.Header)
	for name, values := range header {
		switch {
		case name == "Retry-After", name == "Retry-After-Ms", name == "Request-Id",
			name == "X-Should-Retry", name == "Content-Type", strings.HasPrefix(name, "Anthropic-Ratelimit-"):
			picked[name] = values
		}
	}
	return picked
}
