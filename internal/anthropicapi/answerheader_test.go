package anthropicapi_test

import (
	"testing"
	"time"

	"claude-code-api-service/internal/anthropicapi"
	"claude-code-api-service/internal/apierror"
	"claude-code-api-service/internal/gateway"
	"claude-code-api-service/internal/protocol/protocoltest"
)

func TestHeadersAreDocumented(t *testing.T) {
	limits := gateway.Limits{RequestsLimit: 100, RequestsRemaining: 9, RequestsReset: time.Second, TokensLimit: 500, TokensRemaining: 4, TokensReset: time.Second}
	operation := protocoltest.Document(t, anthropicapi.New(anthropicapi.Options{}).Operations(), "").Paths.Value("/v1/messages").Post
	for _, err := range []error{nil, &apierror.Error{Category: apierror.RateLimited, RetryAfter: time.Second}} {
		rooms := &protocoltest.Rooms{Message: []byte(whole), Limits: limits, Err: err}
		answer := protocoltest.Post(t, serve(t, rooms)+"/v1/messages", plain)
		protocoltest.DocumentsHeaders(t, operation, answer)
	}
	for status, name := range map[int]string{200: "Idempotent-Replayed", 409: "Retry-After", 429: "x-should-retry", 503: "Retry-After"} {
		if _, told := operation.Responses.Status(status).Value.Headers[name]; !told {
			t.Errorf("%d: %s isn't documented", status, name)
		}
	}
}
