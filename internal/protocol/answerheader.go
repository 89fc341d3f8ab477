package protocol

import (
	"net/http"

	"claude-code-api-service/internal/openapi"
)

// OpenAILimits document the headers of SetOpenAIHeader.
func OpenAILimits() []openapi.Header {
	const reset = "In how long all of it may be used again, such as 6m0s."
	return []openapi.Header{
		{Name: "x-ratelimit-limit-requests", Description: "Requests a minute of the key or of its project, whichever leaves less; absent without such a limit."},
		{Name: "x-ratelimit-remaining-requests", Description: "How many of them are left."},
		{Name: "x-ratelimit-reset-requests", Description: reset},
		{Name: "x-ratelimit-limit-tokens", Description: "Tokens a minute of the key or of its project, whichever leaves less; absent without such a limit."},
		{Name: "x-ratelimit-remaining-tokens", Description: "How many of them are left."},
		{Name: "x-ratelimit-reset-tokens", Description: reset},
	}
}

// WithHeaders documents the headers of an endpoint's answers: limits are those that
// its family tells of rate limits, once says that it takes an Idempotency-Key.
func WithHeaders(once bool, limits []openapi.Header, answers []openapi.Response) []openapi.Response {
	later := openapi.Header{Name: HeaderRetryAfter, Description: "After how many seconds to try again; absent where trying again is of no use."}
	never := openapi.Header{Name: "x-should-retry", Description: "false where trying again is of no use: a budget is spent, a key isn't valid."}
	for i := range answers {
		answer := &answers[i]
		var headers []openapi.Header
		switch answer.Status {
		case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusUnprocessableEntity, http.StatusInternalServerError:
			headers = append(headers, never)
		case http.StatusConflict, http.StatusTooManyRequests:
			headers = append(headers, later, never)
		case http.StatusBadGateway, http.StatusServiceUnavailable:
			headers = append(headers, later)
		}
		if answer.Status < http.StatusMultipleChoices || answer.Status == http.StatusTooManyRequests {
			headers = append(headers, limits...)
		}
		if once && answer.Status < http.StatusMultipleChoices {
			headers = append(headers, openapi.Header{Name: HeaderReplayed, Description: "true where the answer is the one to an earlier request with the same `Idempotency-Key`."})
		}
		answer.Headers = headers
	}
	return answers
}

// What the statuses mean that budgets have a part in, in all families.
const (
	Forbidden     = "The key or its profile doesn't allow it, or a budget in US dollars can't be kept because a price isn't known."
	Limited       = "A limit is reached, or requests that run hold the rest of a budget: `Retry-After` says for how long."
	BudgetIsSpent = "A budget of the key or of its project is spent, or leaves no room for an answer (`x-should-retry: false`)."
)
