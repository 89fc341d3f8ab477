package protocol

import (
	"cmp"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
)

// SetOpenAIHeader sets what an answer of OpenAI's APIs says of its call: what
// SetHeader does, and the rate limits. A reset is a duration there, in whole
// seconds: 1s, 6m0s.
func SetOpenAIHeader(header http.Header, call *gateway.Call) {
	SetHeader(header, call)
	reset := func(d time.Duration) []string {
		return []string{(d + time.Second - 1).Truncate(time.Second).String()}
	}
	limits := &call.Limits
	if limits.RequestsLimit > 0 {
		header["X-Ratelimit-Limit-Requests"] = []string{strconv.Itoa(limits.RequestsLimit)}
		header["X-Ratelimit-Remaining-Requests"] = []string{strconv.Itoa(limits.RequestsRemaining)}
		header["X-Ratelimit-Reset-Requests"] = reset(limits.RequestsReset)
	}
	if limits.TokensLimit > 0 {
		header["X-Ratelimit-Limit-Tokens"] = []string{strconv.Itoa(limits.TokensLimit)}
		header["X-Ratelimit-Remaining-Tokens"] = []string{strconv.Itoa(limits.TokensRemaining)}
		header["X-Ratelimit-Reset-Tokens"] = reset(limits.TokensReset)
	}
}

// OpenAIErrorWriter makes the ErrorWriter of OpenAI's APIs. A nil logger is
// silent.
func OpenAIErrorWriter(log *slog.Logger) ErrorWriter {
	return func(w http.ResponseWriter, r *http.Request, call *gateway.Call, err error) {
		header := w.Header()
		SetOpenAIHeader(header, call)
		Log(r.Context(), log, header.Get(HeaderRequestID), err)
		e := apierror.From(err)
		SetErrorHeader(header, e)
		_ = WriteJSON(w, e.Status(), AppendOpenAIError(nil, e)) // a caller who left isn't told
	}
}

// OpenAIErrorNames gives OpenAI's type and code for a failure; the code may be
// "".
func OpenAIErrorNames(e *apierror.Error) (kind, code string) {
	switch {
	case BudgetSpent(e):
		return "insufficient_quota", "insufficient_quota"
	case e.Category == apierror.RateLimited, e.Category == apierror.BudgetExceeded:
		return "requests", "rate_limit_exceeded"
	case e.Category == apierror.Permission:
		return "permission_error", cmp.Or(string(e.Code), "permission_denied")
	case e.Code != "":
		return "invalid_request_error", string(e.Code)
	case e.Category == apierror.BadRequest:
		return "invalid_request_error", ""
	case e.Category == apierror.AuthError && e.Upstream == nil:
		return "invalid_request_error", string(apierror.CodeInvalidKey)
	case e.Category == apierror.AuthError:
		return "server_error", string(apierror.UpstreamError)
	}
	return "server_error", string(e.Category)
}

// AppendOpenAIError appends the envelope of an error in OpenAI's APIs.
func AppendOpenAIError(dst []byte, e *apierror.Error) []byte {
	kind, code := OpenAIErrorNames(e)
	dst = append(dst, `{"error":{"message":`...)
	dst = AppendText(dst, e.Message)
	dst = AppendText(append(dst, `,"type":`...), kind)
	dst = AppendTextOrNull(append(dst, `,"param":`...), e.Param)
	dst = AppendTextOrNull(append(dst, `,"code":`...), code)
	return append(dst, "}}"...)
}

// AppendTextOrNull appends a JSON string, or null for "".
func AppendTextOrNull(dst []byte, text string) []byte {
	if text == "" {
		return append(dst, "null"...)
	}
	return AppendText(dst, text)
}

// AppendText appends a JSON string. Invalid UTF-8 becomes U+FFFD.
func AppendText(dst []byte, text string) []byte {
	dst, _ = jsontext.AppendQuote(dst, text)
	return dst
}
