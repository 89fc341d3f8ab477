package claudecli

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"claude-code-api-service/internal/apierror"
)

// maxResultText bounds what of a result's text reaches a caller.
const maxResultText = 1_000

// notLoggedIn is the CLI's name for a credential that is missing or refused.
const notLoggedIn = "authentication_failed"

// tooLong is the terminal_reason of a prompt that the CLI itself finds too long
// for the model, without asking the upstream.
const tooLong = "blocking_limit"

// brokeOff is what callers read of an answer that the upstream didn't end.
const brokeOff = "the upstream's answer broke off, or makes no sense"

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
		switch {
		case unreachable(text):
			e.Category, e.Message = apierror.ConnectionError, "the connection to the upstream failed"
		case strings.HasPrefix(text, "API Error: "):
			// It got something, but no whole answer.
			e.Category, e.Message = apierror.UpstreamError, brokeOff
		}
		return e
	}
	// The CLI puts words of its own in front of the upstream's, or in their place
	// where it has an advice for its user.
	text = strings.TrimPrefix(text, fmt.Sprintf("API Error: %d ", status))
	if status == http.StatusNotFound || status == http.StatusRequestEntityTooLarge {
		text = ""
	}
	refused := apierror.FromUpstream(status, clip(text, maxResultText))
	refused.Cause = e.Cause
	if refused.Code == apierror.CodeModelNotFound {
		refused.Param = "model"
	}
	return refused
}

// rateLimit notes when a limit ends by which the CLI's upstream has refused a request.
// The CLI says so only when it changes.
func (c *child) rateLimit(l *line) error {
	var e struct {
		Info struct {
			Status   string  `json:"status"`
			ResetsAt float64 `json:"resetsAt"` // seconds since 1970
		} `json:"rate_limit_info"`
	}
	if err := decode(l.Raw, &e); err != nil {
		return fmt.Errorf("decode rate limit: %w", err)
	}
	c.limited = time.Time{}
	if e.Info.Status == "rejected" && e.Info.ResetsAt > 0 {
		c.limited = time.Unix(int64(e.Info.ResetsAt), 0)
	}
	return nil
}

// maxWait bounds what callers are told to wait for a limit: the longest limits of a
// subscription are a week's.
const maxWait = 7 * 24 * time.Hour

// waiting adds to a refusal by a rate limit when that ends, where the CLI has said so.
func waiting(err error, until time.Time) error {
	var e *apierror.Error
	if wait := time.Until(until); errors.As(err, &e) && e.Category == apierror.RateLimited && wait > 0 {
		e.RetryAfter = min(wait, maxWait)
	}
	return err
}

// unreachable says that the CLI's words are about its connection to the upstream.
func unreachable(text string) bool {
	for _, word := range [...]string{"ECONNREFUSED", "ECONNRESET", "ENOTFOUND", "EHOSTUNREACH", "ETIMEDOUT", "Unable to connect", "Connection error"} {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

func clip(s string, limit int) string {
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "…"
	}
	return s
}
