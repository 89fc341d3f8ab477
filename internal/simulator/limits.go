package simulator

import (
	"net/http"
	"time"
)

// rateLimits holds the header values that never change, made once: header
// values are slices, and sharing them saves an allocation each. Nobody may
// write to them.
type rateLimits struct {
	json, eventStream, noCache, chunked, organization         []string
	requests, requestsLeft, input, inputLeft, output, outLeft []string
	total, totalLeft                                          []string
}

// newRateLimits makes the limits of an invented organization of the API's
// highest standard tier. They don't count down: the simulator never refuses by
// itself.
func newRateLimits() rateLimits {
	return rateLimits{
		json: []string{"application/json"}, eventStream: []string{eventStream},
		noCache: []string{"no-cache"}, chunked: []string{"chunked"},
		organization: []string{"5109e0f0-0000-4000-8000-000000000000"},
		requests:     []string{"4000"}, requestsLeft: []string{"3999"},
		input: []string{"2000000"}, inputLeft: []string{"2000000"},
		output: []string{"400000"}, outLeft: []string{"400000"},
		total: []string{"2400000"}, totalLeft: []string{"2400000"},
	}
}

// set puts the headers of every answer; the keys are in canonical form.
func (l *rateLimits) set(h http.Header, requestID string, now time.Time) {
	reset := []string{now.UTC().Truncate(time.Second).Add(time.Second).Format(time.RFC3339)}
	h["Request-Id"] = []string{requestID}
	h["Anthropic-Organization-Id"] = l.organization
	h["Anthropic-Ratelimit-Requests-Limit"] = l.requests
	h["Anthropic-Ratelimit-Requests-Remaining"] = l.requestsLeft
	h["Anthropic-Ratelimit-Requests-Reset"] = reset
	h["Anthropic-Ratelimit-Input-Tokens-Limit"] = l.input
	h["Anthropic-Ratelimit-Input-Tokens-Remaining"] = l.inputLeft
	h["Anthropic-Ratelimit-Input-Tokens-Reset"] = reset
	h["Anthropic-Ratelimit-Output-Tokens-Limit"] = l.output
	h["Anthropic-Ratelimit-Output-Tokens-Remaining"] = l.outLeft
	h["Anthropic-Ratelimit-Output-Tokens-Reset"] = reset
	h["Anthropic-Ratelimit-Tokens-Limit"] = l.total
	h["Anthropic-Ratelimit-Tokens-Remaining"] = l.totalLeft
	h["Anthropic-Ratelimit-Tokens-Reset"] = reset
}
