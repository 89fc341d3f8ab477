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

// notLoggedIn is the CLI's name for a credential that is missing or refused.
const notLoggedIn = "authentication_failed"

// tooLong is the terminal_reason of a prompt that the CLI itself finds too long
// for the model, without asking the upstream.
const tooLong = "blocking_limit"

// statusOverloaded is the Anthropic API's own status for overloaded_error.
const statusOverloaded = 529

// resultError maps a result with is_error to the service's categories. The
// subtype isn't looked at: an API failure says "success".
func resultError(l *resultLine, reason string) error {
	status := l.APIErrorStatus
	var text string
	if l.Result.Kind() == '"' {
		if err := decode(l.Result, &text); err != nil {
			return fmt.Errorf("decode result: %w", err)
		}
	}
	if l.TerminalReason == tooLong {
		return apierror.New(apierror.BadRequest, "the prompt is too long for the model")
	}
	e := &apierror.Error{
		Category: apierror.CLIError, Message: "the Claude Code CLI reported an error",
		Cause: fmt.Errorf("result %s, api status %d: %s %s", l.Subtype, status, text, strings.Join(l.Errors, "; ")),
	}
	if reason == notLoggedIn {
		e.Category, e.Upstream = apierror.AuthError, &apierror.Upstream{Status: status, OurCredential: true}
		e.Message = "the service's Claude Code CLI has no valid credential; its operator sets ANTHROPIC_API_KEY or CLAUDE_API_CLAUDE_HOME"
		return e
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
		e.Message = clip(text, maxResultText)
	}
	return e
}

func clip(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
