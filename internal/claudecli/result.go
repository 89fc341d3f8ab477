package claudecli

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
)

// retryAfterUnknown is what callers are told when the upstream refused for
// load: no field of a result carries the upstream's own Retry-After.
const retryAfterUnknown = 5 * time.Second

// maxResultText bounds what of a result's text reaches a caller.
const maxResultText = 1_000

// statusOverloaded is the Anthropic API's own status for overloaded_error.
const statusOverloaded = 529

// resultError maps a result with is_error to the service's categories. The
// subtype isn't looked at: an API failure says "success".
func resultError(l *line) error {
	status := l.APIErrorStatus
	e := &apierror.Error{
		Category: apierror.CLIError, Message: "the Claude Code CLI reported an error",
		Cause: fmt.Errorf("result %s, api status %d: %s %s", l.Subtype, status, l.Result, strings.Join(l.Errors, "; ")),
	}
	if status == 0 {
		return e
	}
	e.Upstream = &apierror.Upstream{Status: status}
	e.Message = fmt.Sprintf("the upstream answered %d", status)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		e.Category, e.Upstream.OurCredential = apierror.AuthError, true
		e.Message = "the upstream refused the service's credential"
	case status == http.StatusNotFound:
		e.Category, e.Code, e.Param = apierror.BadRequest, apierror.CodeModelNotFound, "model"
		e.Message = "the upstream doesn't know the model"
	case status == http.StatusRequestEntityTooLarge:
		e.Category, e.Code = apierror.BadRequest, apierror.CodeTooLarge
		e.Message = "the upstream refused the request as too large"
	case status == http.StatusTooManyRequests:
		e.Category, e.RetryAfter = apierror.RateLimited, retryAfterUnknown
		e.Message = "the upstream's rate limit is reached"
	case status == statusOverloaded || status == http.StatusServiceUnavailable:
		e.Category, e.RetryAfter = apierror.Overloaded, retryAfterUnknown
		e.Message = "the upstream is overloaded"
	case status == http.StatusGatewayTimeout || status == http.StatusRequestTimeout:
		e.Category = apierror.Timeout
	case status >= 500:
		e.Category = apierror.UpstreamError
	case status >= 400:
		// About the caller's own request: it may read why.
		e.Category = apierror.BadRequest
		e.Message = clip(l.Result, maxResultText)
	}
	return e
}

func clip(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
