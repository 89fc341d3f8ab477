package protocoltest

import (
	"net/http"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
)

// DocumentsHeaders checks that every header of an answer which tells of limits, or
// of whether to try again, is documented for its status, and the limits that the
// document names are told.
func DocumentsHeaders(t testing.TB, operation *openapi3.Operation, answer Answer) {
	t.Helper()
	response := operation.Responses.Status(answer.Status)
	if response == nil {
		t.Fatalf("the status %d isn't documented", answer.Status)
	}
	documented := map[string]bool{}
	for name := range response.Value.Headers {
		name = http.CanonicalHeaderKey(name)
		documented[name] = true
		if strings.Contains(name, "Ratelimit") && answer.Header.Get(name) == "" {
			t.Errorf("%d: %s is documented and isn't there", answer.Status, name)
		}
	}
	for name := range answer.Header {
		told := strings.Contains(name, "Ratelimit") || name == "Retry-After" || name == "X-Should-Retry" || name == "Idempotent-Replayed"
		if told && !documented[name] {
			t.Errorf("%d: %s isn't documented", answer.Status, name)
		}
	}
}
