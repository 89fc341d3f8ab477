package protocol

import (
	"net/http"
	"strconv"
	"time"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// maxWarnings bounds the X-Claude-Warnings header, in bytes: proxies commonly
// refuse a header of more than 4 to 8 KiB in all.
const maxWarnings = 1_024

// SetHeader sets what an answer's header says of its call: the upstream's
// headers that may be passed on, the backend, the stages known so far, and what
// couldn't be honoured. Our own names win over the upstream's.
func SetHeader(h http.Header, call *gateway.Call) {
	for name, values := range call.UpstreamHeader {
		h[name] = values
	}
	if call.Backend != "" {
		h[HeaderBackend] = []string{call.Backend}
	}
	if fallback := call.Fallback(); fallback != "" {
		h[HeaderFallback] = []string{fallback}
	}
	h[HeaderServerTiming] = []string{serverTiming(call)}
	if len(call.Warnings) > 0 {
		h[HeaderWarnings] = []string{warningLine(call.Warnings)}
	}
}

func serverTiming(call *gateway.Call) string {
	return string(call.Clock.AppendServerTiming(make([]byte, 0, 224)))
}

// warningLine writes warnings as one header value. What a header can't carry
// becomes a question mark; warnings may quote the caller's own words.
func warningLine(warnings []string) string {
	line := make([]byte, 0, 128)
	for i, text := range warnings {
		if i > 0 {
			line = append(line, "; "...)
		}
		for _, r := range text {
			if r < ' ' || r > '~' {
				r = '?'
			}
			line = append(line, byte(r))
		}
	}
	if len(line) > maxWarnings {
		line = append(line[:maxWarnings-3], "..."...)
	}
	return string(line)
}

// SetErrorHeader sets what every family says of a failure beside its envelope:
// X-Error-Category; X-Upstream-Status when the upstream answered; Retry-After in
// whole seconds, rounded up and at least 1; and x-should-retry: false when a
// budget is spent, because both families' SDKs retry a 429 otherwise; when the
// key is wrong: Claude Code asks seven times in a minute otherwise; when the
// fault is the service's own, because the answer may have been paid for and would be
// lost again (the ledger's disk is full); and when an Idempotency-Key has nothing
// else to give.
func SetErrorHeader(h http.Header, e *apierror.Error) {
	h.Set(HeaderErrorCategory, string(e.Category))
	if e.Upstream != nil && e.Upstream.Status != 0 {
		h.Set(HeaderUpstream, strconv.Itoa(e.Upstream.Status))
	}
	if e.RetryAfter > 0 {
		h.Set(HeaderRetryAfter, strconv.FormatInt(wholeSeconds(e.RetryAfter), 10))
	}
	if BudgetSpent(e) || e.Category == apierror.AuthError && e.Upstream == nil || e.Category == apierror.Internal ||
		e.Code == apierror.CodeIdempotencyMismatch || e.Code == apierror.CodeIdempotencyTooLarge {
		h.Set(HeaderShouldRetry, "false")
	}
}

// BudgetSpent tells a budget that is spent from one that is only held by
// requests in flight: the latter says when to try again.
func BudgetSpent(e *apierror.Error) bool {
	return e.Category == apierror.BudgetExceeded && e.RetryAfter == 0
}

func wholeSeconds(d time.Duration) int64 {
	return max(1, int64((d+time.Second-1)/time.Second))
}
